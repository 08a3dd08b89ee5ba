"""Group commit: what waits forms batches, and is answered when what its answer rests on is committed.

What arrives while one batch is being synced and checked forms the next one; `hanas_core.state.judge` says what each
write does (docs/protocol.md, sections 2 and 3).
"""

from collections import deque
from typing import Generic, TypeVar

from hanas_core.log import records
from hanas_core.log.batches import Batch, size_of
from hanas_core.log.encrypted import ENCRYPTED_HEADER_BYTES, growth, sizes_in
from hanas_core.log.positions import Position, make_version
from hanas_core.state.judge import Judge, Outcome, Request, Result, Write
from hanas_core.state.leases import Revoke
from hanas_core.state.replica import Replica
from hanas_core.state.transactions import Transact

Token = TypeVar("Token")

_EMPTY_BATCH_BYTES = ENCRYPTED_HEADER_BYTES + 32
_MOST_RECORDS = 1024
_MOST_BATCH_BYTES = 4 << 20
_MOST_DELETED_BYTES = 1 << 20
"""What the keys of spans that a transaction deletes may take in its record: they are found on the event loop."""
MOST_WAITING = 8192
"""Writes that wait for a batch: more are refused, so that a slow volume fills no memory."""
MOST_QUEUED_BYTES = 64 << 20
"""What the writes take that wait for a batch or for their answer: more are refused."""

_Waiting = tuple[Request, Token, int]
"""A write, its token, and what it takes in a batch, bytes."""
Answers = list[tuple[Token, Outcome]]


class GroupCommit(Generic[Token]):
    """The main's queue of writes. Tokens are the caller's: they come back with the outcomes."""

    def __init__(
        self,
        replica: Replica,
        epoch: int,
        next_sequence: int,
        most_bytes: int = MOST_QUEUED_BYTES,
        form: int = records.PLAIN,
    ) -> None:
        """Judge writes against ``replica`` and apply them to it; the first write gets ``next_sequence``.

        ``most_bytes``: what writes may take from being queued to being answered; one may always wait. ``form``: of the
        records of a batch; it may be changed between two batches.
        """
        self._replica = replica
        self._epoch = epoch
        self.next_sequence = next_sequence
        self.form = form
        self._waiting: deque[_Waiting[Token]] = deque()
        self._most_bytes = most_bytes
        self._queued_bytes = self._answered_bytes = 0
        """What the writes take that are not answered; and those of them that were judged."""
        self._in_flight: Batch | None = None
        self._records: list[records.Record] = []
        """Those of the batch in flight."""
        self._answers: Answers[Token] = []

    @property
    def waiting(self) -> int:
        """How many writes wait for the next batch."""
        return len(self._waiting)

    def submit(self, write: Request, token: Token) -> bool:
        """Queue a write (None: a no-op, which waits behind nobody); False if it was not queued: too many wait."""
        waiting = self._waiting
        if write is None:
            waiting.appendleft((None, token, 0))
            return True
        size = write.size
        if waiting and (len(waiting) >= MOST_WAITING or self._queued_bytes + size > self._most_bytes):
            return False
        waiting.append((write, token, size))
        self._queued_bytes += size
        return True

    def next_batch(self, room: int, reserve: int = 0) -> Batch | None:
        """Judge what waits and return it as the next batch; None if nothing waits, or what waits finds no room.

        ``room`` is what the log can take, bytes; the last ``reserve`` of it is for deletes and no-ops. A batch may
        carry no record: it commits the check on which its answers rest.
        """
        assert self._in_flight is None, "a batch is in flight"
        judge = Judge(self._replica.index, self.form)
        revision = None if self.form == records.PLAIN else judge.revision
        waiting = self._waiting
        changes = self._records = []
        used = _EMPTY_BATCH_BYTES
        while waiting and len(changes) < _MOST_RECORDS:
            write, token, size = waiting[0]
            plain = type(write) is Write  # most are
            space = size if plain or not isinstance(write, Revoke) else size + judge.cost(write.lease)
            tight = used + space + reserve > room  # seldom, and then it matters what kind of write it is
            if tight and used + _space(write, space, reserve) > room:
                break
            if changes and used + space > _MOST_BATCH_BYTES:
                break
            if not plain and judge.tired:
                break
            if not plain and isinstance(write, Transact) and write.sweeps:
                if changes:
                    break  # how large it is shows when it is judged: it begins a batch
                judge.room = min(room - used - size, _MOST_DELETED_BYTES)
            waiting.popleft()
            self._answered_bytes += size
            outcome, record = judge.judge(write, make_version((self._epoch, self.next_sequence + len(changes))))
            if record is not None:
                changes.append(record)
                used += space
                if judge.used:
                    used, judge.used = used + judge.used, 0
            self._answers.append((token, outcome))
        if not self._answers:
            return None
        payload = records.encode(changes, judge.cells, revision)
        form = self.form if payload else records.PLAIN
        self._in_flight = Batch(self._epoch, self.next_sequence, len(changes), payload, format=form)
        return self._in_flight

    def roll(self, epoch: int) -> None:
        """Go on in a new epoch of the same main, with nothing in flight: what waits is done in that one."""
        assert self._in_flight is None, "a batch is in flight"
        self._epoch = epoch

    def committed(self, position: Position, *, encrypted: bool = False) -> Answers[Token]:
        """Apply the batch in flight, committed up to ``position``; return the answers that rest on it.

        ``encrypted``: it stands so in its segment.
        """
        batch = self._in_flight
        assert batch is not None, "no batch is in flight"
        space = len(batch.payload)
        if encrypted and space:
            space += growth(sizes_in(self._records))
        offset = position.offset - size_of(space)
        batch = batch._replace(epoch=position.epoch, number=position.number, offset=offset, encrypted=encrypted)
        self._replica.apply(batch, self._records)
        self.next_sequence += batch.count
        self._in_flight = None
        self._queued_bytes -= self._answered_bytes
        self._answered_bytes = 0
        answers, self._answers = self._answers, []
        return answers

    def ended(self) -> Answers[Token]:
        """Return the answers for everything in flight (unknown) and waiting (not done): the epoch has ended."""
        in_flight = [(token, Outcome(Result.UNKNOWN)) for token, _ in self._answers]
        waiting = [(token, Outcome(Result.NOT_MAIN)) for _, token, _ in self._waiting]
        self._in_flight, self._answers = None, []
        self._waiting.clear()
        self._queued_bytes = self._answered_bytes = 0
        return in_flight + waiting

    def refuse_for_space(self, room: int, reserve: int) -> Answers[Token]:
        """Return the answers for the writes at the head of the queue that find no space."""
        refused: Answers[Token] = []
        while self._waiting:
            write, token, size = self._waiting[0]
            deleted = self._replica.index.leases.cost(write.lease) if isinstance(write, Revoke) else 0
            if _EMPTY_BATCH_BYTES + _space(write, size + deleted, reserve) <= room:
                break
            self._waiting.popleft()
            self._queued_bytes -= size
            refused.append((token, Outcome(Result.NO_SPACE)))
        return refused


def _space(write: Request, size: int, reserve: int) -> int:
    """Return the room that must be left for a write of this size: the reserve is for deletes and no-ops."""
    return size if write is None or write.value is None else size + reserve
