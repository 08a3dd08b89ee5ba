"""Group commit: writes are judged in the order of the log and answered when what they rest on is committed.

What arrives while one batch is being synced and checked forms the next one. Conditions and idempotency keys are
evaluated against the committed state plus every earlier write that is in flight; since a batch begins only after the
one before it has ended, those are the earlier writes of the same batch (docs/protocol.md, sections 2 and 3).
"""

from collections import deque
from enum import Enum
from typing import Generic, TypeVar

import msgspec
import xxhash

from hanas_core.log import records
from hanas_core.log.batches import HEADER_BYTES, Batch, size_of
from hanas_core.log.cells import cell_size, mark_of, sums_of
from hanas_core.log.positions import Position, Version
from hanas_core.state.index import Done, Index

ANY = "*"
Token = TypeVar("Token")

_RECORD_OVERHEAD_BYTES = 64
_EMPTY_BATCH_BYTES = HEADER_BYTES + _RECORD_OVERHEAD_BYTES
_MOST_RECORDS = 1024
_MOST_BATCH_BYTES = 4 << 20
MOST_WAITING = 8192
MOST_WAITING_BYTES = 64 << 20
"""Writes that wait for a batch, and what they take: more are refused, so that a slow volume fills no memory."""


class Write(msgspec.Struct, frozen=True):
    """A write as a client asked for it. ``value`` None deletes."""

    key: str
    value: bytes | None
    content_type: str = ""
    if_match: tuple[str, ...] | None = None
    """Versions of which the present one must be one; ``("*",)``: the key must be there."""
    if_none_match: tuple[str, ...] | None = None
    """Versions of which the present one must be none; ``("*",)``: the key must not be there."""
    idempotency_key: str | None = None

    @property
    def size(self) -> int:
        """Upper bound of what the write takes in a batch, bytes."""
        texts = len(self.key) + len(self.content_type)
        if self.idempotency_key is not None:
            texts += len(self.idempotency_key)
        cell = 0 if self.value is None else cell_size(len(self.value))
        return 4 * texts + cell + _RECORD_OVERHEAD_BYTES

    def holds(self, version: Version | None) -> bool:
        """Tell whether the conditions hold for a key with this version (None: not there)."""
        if self.if_match is None and self.if_none_match is None:
            return True
        return _matches(self.if_match, version, default=True) and not _matches(
            self.if_none_match, version, default=False
        )

    def digest(self) -> bytes:
        """Return a hash of everything that makes this request another one."""
        parts = (self.key, self.value, self.content_type, self.if_match, self.if_none_match)
        return xxhash.xxh3_128_digest(msgspec.msgpack.encode(parts))


def _matches(wanted: tuple[str, ...] | None, version: Version | None, *, default: bool) -> bool:
    if wanted is None:
        return default
    return version is not None and (ANY in wanted or str(version) in wanted)


class Result(Enum):
    """How a write ended."""

    CREATED = "created"
    REPLACED = "replaced"
    DELETED = "deleted"
    NOT_FOUND = "not found"
    CONDITION_FAILED = "condition failed"
    KEY_REUSED = "idempotency key reused"
    COMMITTED = "committed"
    """A no-op went through the commit path."""
    NO_SPACE = "no space"
    BUSY = "busy"
    """Too many writes wait: it was not done."""
    UNKNOWN = "unknown"
    """The epoch ended while the write was in flight: it may or may not be found later."""
    NOT_MAIN = "not main"
    """The epoch ended before the write was appended: it was not done."""


_CREATED, _REPLACED = Result.CREATED, Result.REPLACED  # a member of an enumeration is slow to look up


class Outcome(msgspec.Struct, frozen=True):
    """How a write ended, and the version that it made or that stood in its way."""

    result: Result
    version: Version | None = None


_Waiting = tuple[Write | None, Token, int]
"""A write, its token, and what it takes in a batch, bytes."""
Answers = list[tuple[Token, Outcome]]


class GroupCommit(Generic[Token]):
    """The main's queue of writes. Tokens are the caller's: they come back with the outcomes."""

    def __init__(self, index: Index, epoch: int, next_sequence: int) -> None:
        """Judge writes against ``index``; the first write gets ``next_sequence``."""
        self._index = index
        self._epoch = epoch
        self._next_sequence = next_sequence
        self._waiting: deque[_Waiting[Token]] = deque()
        self._waiting_bytes = 0
        self._in_flight: Batch | None = None
        self._found: list[records.Record] = []
        """The records of the batch in flight."""
        self._cells: list[bytes] = []
        """The cells of their values, in pieces."""
        self._answers: Answers[Token] = []

    @property
    def busy(self) -> bool:
        """A batch is in flight."""
        return self._in_flight is not None

    @property
    def waiting(self) -> int:
        """How many writes wait for the next batch."""
        return len(self._waiting)

    def submit(self, write: Write | None, token: Token) -> bool:
        """Queue a write; None is a no-op, which proves that commits work and waits behind nobody.

        False if too many wait already: the write was not queued.
        """
        waiting = self._waiting
        if write is None:
            waiting.appendleft((None, token, 0))
            return True
        size = write.size
        if waiting and (len(waiting) >= MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES):
            return False
        waiting.append((write, token, size))
        self._waiting_bytes += size
        return True

    def next_batch(self, room: int, reserve: int = 0) -> Batch | None:
        """Judge what waits and return it as the next batch; None if nothing waits, or what waits finds no room.

        ``room`` is what the log can take, bytes; the last ``reserve`` of it is for deletes and no-ops. A batch may
        carry no record: it commits the check on which its answers rest.
        """
        if self._in_flight is not None:
            raise ValueError("a batch is in flight")
        overlay = _Overlay(self._index)
        waiting = self._waiting
        found = self._found = []
        cells = self._cells = []
        used = _EMPTY_BATCH_BYTES
        while waiting and len(found) < _MOST_RECORDS:
            write, token, size = waiting[0]
            if used + _space(write, size, reserve) > room or (found and used + size > _MOST_BATCH_BYTES):
                break
            waiting.popleft()
            self._waiting_bytes -= size
            outcome, record = self._judge(write, overlay, Version(self._epoch, self._next_sequence + len(found)))
            if record is not None:
                found.append(record)
                used += size
            self._answers.append((token, outcome))
        if not self._answers:
            return None
        self._in_flight = Batch(self._epoch, self._next_sequence, len(found), records.encode(found, cells))
        return self._in_flight

    def _judge(
        self, write: Write | None, overlay: "_Overlay", version: Version
    ) -> tuple[Outcome, records.Record | None]:
        if write is None:
            return Outcome(Result.COMMITTED), None
        idempotency = None
        if write.idempotency_key is not None:
            idempotency = records.Idempotency(write.idempotency_key, write.digest())
            done = overlay.done(idempotency.key)
            if done is not None:
                return _repeated(done, idempotency), None
        present = overlay.version(write.key)
        if not write.holds(present):
            return Outcome(Result.CONDITION_FAILED, present), None
        if write.value is None:
            if present is None:
                return Outcome(Result.NOT_FOUND), None
            delete = records.Delete(write.key, idempotency)
            overlay.note(delete, version)
            return Outcome(Result.DELETED, version), delete
        sums = sums_of(write.value)
        mark = mark_of(write.value, sums)
        size, kind = len(write.value), write.content_type
        put = records.Put(write.key, size, mark, kind, idempotency, created=present is None)
        self._cells += (sums, write.value)
        overlay.note(put, version)
        return Outcome(_CREATED if present is None else _REPLACED, version), put

    @property
    def next_sequence(self) -> int:
        """Sequence of the next write."""
        return self._next_sequence

    def roll(self, epoch: int) -> None:
        """The same main goes on in a new epoch of its own, with nothing in flight: what waits is done in that one."""
        if self._in_flight is not None:
            raise ValueError("a batch is in flight")
        self._epoch = epoch

    def committed(self, position: Position) -> Answers[Token]:
        """The batch in flight is committed up to ``position``: apply it and return the answers that rest on it."""
        if self._in_flight is None:
            raise ValueError("no batch is in flight")
        self._cells = []
        offset = position.offset - size_of(len(self._in_flight.payload))
        self._index.apply(
            self._in_flight._replace(epoch=position.epoch, number=position.number, offset=offset), self._found
        )
        self._next_sequence += self._in_flight.count
        self._in_flight = None
        answers, self._answers = self._answers, []
        return answers

    def ended(self) -> Answers[Token]:
        """The epoch has ended: return the answers for everything in flight (unknown) and waiting (not done)."""
        in_flight = [(token, Outcome(Result.UNKNOWN)) for token, _ in self._answers]
        waiting = [(token, Outcome(Result.NOT_MAIN)) for _, token, _ in self._waiting]
        self._in_flight, self._answers = None, []
        self._waiting.clear()
        self._waiting_bytes = 0
        return in_flight + waiting

    def refuse_for_space(self, room: int, reserve: int) -> Answers[Token]:
        """There is no space for more: return the answers for the writes at the head of the queue that do not fit."""
        refused: Answers[Token] = []
        while self._waiting:
            write, token, size = self._waiting[0]
            if _EMPTY_BATCH_BYTES + _space(write, size, reserve) <= room:
                break
            self._waiting.popleft()
            self._waiting_bytes -= size
            refused.append((token, Outcome(Result.NO_SPACE)))
        return refused


def _space(write: Write | None, size: int, reserve: int) -> int:
    """Return the room that must be left for a write of this size: the reserve is for deletes and no-ops."""
    return size if write is None or write.value is None else size + reserve


class _Overlay:
    """The committed state plus the earlier writes of the batch that is being formed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._versions: dict[str, Version | None] = {}
        self._done: dict[str, Done] = {}

    def version(self, key: str) -> Version | None:
        versions = self._versions
        return versions[key] if key in versions else self._index.version(key)

    def done(self, idempotency_key: str) -> Done | None:
        return self._done.get(idempotency_key) or self._index.done(idempotency_key)

    def note(self, record: records.Record, version: Version) -> None:
        deleted = isinstance(record, records.Delete)
        self._versions[record.key] = None if deleted else version
        if record.idempotency is not None:
            created = isinstance(record, records.Put) and record.created
            self._done[record.idempotency.key] = Done(record.idempotency.request, version, created, deleted)


def _repeated(done: Done, idempotency: records.Idempotency) -> Outcome:
    if done.request != idempotency.request:
        return Outcome(Result.KEY_REUSED)
    if done.deleted:
        return Outcome(Result.DELETED, done.version)
    return Outcome(Result.CREATED if done.created else Result.REPLACED, done.version)
