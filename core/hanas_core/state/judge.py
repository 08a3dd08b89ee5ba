"""Whether a write may be done, and what it does: conditions, idempotency keys, and the earlier writes of its batch.

Conditions, idempotency keys and the numbers of forwarded writes are evaluated against the committed state plus every
earlier write that is in flight; since a batch begins only after the one before it has ended, those are the earlier
writes of the same batch (docs/protocol.md, sections 2 and 3).
"""

from enum import Enum
from typing import ClassVar

import msgspec
import xxhash

from hanas_core.log import records
from hanas_core.log.cells import PART_BYTES, checksum_of, sums_of, tags_size
from hanas_core.log.positions import Version
from hanas_core.state.index import Done, Index
from hanas_core.state.sessions import Change, Session, in_window
from hanas_core.volume.encryption import TAG_BYTES

ANY = "*"
RECORD_OVERHEAD_BYTES = 64
"""What a record takes in a batch beside texts and value, at most."""
_FORWARDED_BYTES = 40
"""What `records.Forwarded` takes in a record, at most."""


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
        texts = len(self.key) + len(self.content_type) + len(self.idempotency_key or "")
        if self.value is None:
            return 4 * texts + RECORD_OVERHEAD_BYTES
        size = len(self.value)  # with tags, as in an encrypted segment: sums take less
        return 4 * texts + size + (TAG_BYTES if size <= PART_BYTES else tags_size(size)) + RECORD_OVERHEAD_BYTES

    def holds(self, version: Version | None) -> bool:
        """Return whether the conditions hold for a key with this version (None: not there)."""
        if self.if_match is None and self.if_none_match is None:
            return True
        required = _matches(self.if_match, version, default=True)
        return required and not _matches(self.if_none_match, version, default=False)

    def digest(self) -> bytes:
        """Return a hash of every field that distinguishes two requests."""
        parts = (self.key, self.value, self.content_type, self.if_match, self.if_none_match)
        return xxhash.xxh3_128_digest(msgspec.msgpack.encode(parts))


class ForwardedWrite(msgspec.Struct, frozen=True):
    """A write that a forwarder sends for its client."""

    write: Write
    forwarded: records.Forwarded

    @property
    def size(self) -> int:
        """See `Write.size`."""
        return self.write.size + _FORWARDED_BYTES

    @property
    def value(self) -> bytes | None:
        """That of the write."""
        return self.write.value


class Opening(msgspec.Struct, frozen=True):
    """A member's wish for a session; its id is the version in the outcome."""

    member: str
    value: ClassVar[None] = None
    """There is none: like a delete, it may use the log's last room."""

    @property
    def size(self) -> int:
        """See `Write.size`."""
        return 4 * len(self.member) + RECORD_OVERHEAD_BYTES


Request = Write | ForwardedWrite | Opening | None
"""What the main's queue takes. None: a no-op."""


def _matches(versions: tuple[str, ...] | None, version: Version | None, *, default: bool) -> bool:
    if versions is None:
        return default
    return version is not None and (ANY in versions or str(version) in versions)


class Result(Enum):
    """How a write ended."""

    CREATED = "created"
    REPLACED = "replaced"
    DELETED = "deleted"
    NOT_FOUND = "not found"
    CONDITION_FAILED = "condition failed"
    KEY_REUSED = "idempotency key reused"
    SESSION_OPENED = "session opened"
    SESSION_ENDED = "session ended"
    """A forwarded write's session is not known any more: nothing was done now."""
    NUMBER_OUT_OF_WINDOW = "number out of window"
    """An error of the forwarder: it had said that it asks about this number no more, or has too many numbers in flight.
    Nothing was done now."""
    COMMITTED = "committed"
    """A no-op went through the commit path."""
    TOO_LARGE = "too large"
    """The main takes no forwarded value of this size: its settings differ. Nothing was done."""
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


def recorded(session: Session | None, number: int) -> Outcome | None:
    """Return the outcome of a forwarded write as the log tells it; None if it is not in the log.

    ``session``: of the table; None if it is not there. To be told only when what the table rests on is checked.
    """
    if session is None:
        return Outcome(Result.SESSION_ENDED)
    if number < session.lowest:
        return Outcome(Result.NUMBER_OUT_OF_WINDOW)
    change = session.changes.get(number)
    return None if change is None else _outcome(change)


class _Forwarder:
    """What the earlier writes of the batch leave of a session."""

    def __init__(self, session: Session) -> None:
        self.lowest = session.lowest
        self.outcomes: dict[int, Outcome] = {}
        """Of all of them, also of those that changed nothing."""


class Judge:
    """Judges the writes of one batch in their order, and changes nothing but itself."""

    def __init__(self, index: Index) -> None:
        """``index`` is the committed state."""
        self._index = index
        self._versions: dict[str, Version | None] = {}
        """What the earlier writes of the batch leave of each key that they change."""
        self._done: dict[str, Done] = {}
        self._sessions = index.sessions
        """With the changes of the earlier openings of the batch."""
        self._forwarders: dict[Version, _Forwarder] = {}
        self.cells: list[bytes] = []
        """The cells of the values of the records so far, in pieces."""

    def judge(
        self, write: Request, version: Version, forwarded: records.Forwarded | None = None
    ) -> tuple[Outcome, records.Record | None]:
        """Return the outcome of the next write once its batch is committed, and its record, if any.

        ``version`` is what it makes if it changes something. ``forwarded``: what to say in the record of a `Write`.
        """
        if not isinstance(write, Write):
            return self._judge_other(write, version)
        idempotency = None
        if write.idempotency_key is not None:
            idempotency = records.Idempotency(write.idempotency_key, write.digest())
            done = self._done.get(idempotency.key) or self._index.done(idempotency.key)
            if done is not None:
                return _repeated(done, idempotency), None
        key = write.key
        present = self._versions[key] if key in self._versions else self._index.version(key)
        if not write.holds(present):
            return Outcome(Result.CONDITION_FAILED, present), None
        created, deleted = present is None, write.value is None
        if created and deleted:
            return Outcome(Result.NOT_FOUND), None
        self._versions[key] = None if deleted else version
        if idempotency is not None:
            self._done[idempotency.key] = Done(idempotency.request, version, created, deleted)
        if write.value is None:
            if forwarded is None:
                return Outcome(Result.DELETED, version), records.Delete(key, idempotency)
            return Outcome(Result.DELETED, version), records.ForwardedDelete(key, idempotency, forwarded=forwarded)
        sums = sums_of(write.value)
        self.cells += (sums, write.value)
        checksum, kind = checksum_of(write.value, sums), write.content_type
        outcome = Outcome(_CREATED if created else _REPLACED, version)
        if forwarded is None:
            return outcome, records.Put(key, len(write.value), checksum, kind, idempotency, created)
        fields = key, len(write.value), checksum, kind, idempotency, created
        return outcome, records.ForwardedPut(*fields, forwarded=forwarded)

    def _judge_other(
        self, write: ForwardedWrite | Opening | None, version: Version
    ) -> tuple[Outcome, records.Record | None]:
        if isinstance(write, ForwardedWrite):  # cheaper than a match
            return self._judge_forwarded(write.write, write.forwarded, version)
        if write is None:
            return Outcome(Result.COMMITTED), None
        self._sessions = self._sessions.copy()
        self._sessions.open(version, write.member)
        return Outcome(Result.SESSION_OPENED, version), records.Opened(write.member)

    def _judge_forwarded(
        self, write: Write, forwarded: records.Forwarded, version: Version
    ) -> tuple[Outcome, records.Record | None]:
        session, number = self._sessions.get(forwarded.session), forwarded.number
        if session is None:
            return Outcome(Result.SESSION_ENDED), None
        forwarder = self._forwarders.get(forwarded.session)
        if forwarder is None:
            forwarder = self._forwarders[forwarded.session] = _Forwarder(session)
        lowest = max(forwarder.lowest, forwarded.lowest)
        if not in_window(number, lowest):
            return Outcome(Result.NUMBER_OUT_OF_WINDOW), None
        outcome, record = forwarder.outcomes.get(number) or recorded(session, number), None
        if outcome is None:
            outcome, record = self.judge(write, version, forwarded)
            forwarder.outcomes[number] = outcome
            if record is not None:
                forwarder.lowest = lowest
        return outcome, record


def _repeated(done: Done, idempotency: records.Idempotency) -> Outcome:
    return _outcome(done) if done.request == idempotency.request else Outcome(Result.KEY_REUSED)


def _outcome(change: Done | Change) -> Outcome:
    """Return what the write that made a change was answered."""
    if change.deleted:
        return Outcome(Result.DELETED, change.version)
    return Outcome(Result.CREATED if change.created else Result.REPLACED, change.version)
