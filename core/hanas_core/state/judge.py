"""Whether a write may be done, and what it does: conditions, idempotency keys, and the earlier writes of its batch.

Conditions and idempotency keys are evaluated against the committed state plus every earlier write that is in flight;
since a batch begins only after the one before it has ended, those are the earlier writes of the same batch
(docs/protocol.md, sections 2 and 3).
"""

from enum import Enum

import msgspec
import xxhash

from hanas_core.log import records
from hanas_core.log.cells import PART_BYTES, checksum_of, sums_of, tags_size
from hanas_core.log.positions import Version
from hanas_core.state.index import Done, Index
from hanas_core.volume.encryption import TAG_BYTES

ANY = "*"
RECORD_OVERHEAD_BYTES = 64
"""What a record takes in a batch beside texts and value, at most."""


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


class Judge:
    """Judges the writes of one batch in their order, and changes nothing but itself."""

    def __init__(self, index: Index) -> None:
        """``index`` is the committed state."""
        self._index = index
        self._versions: dict[str, Version | None] = {}
        """What the earlier writes of the batch leave of each key that they change."""
        self._done: dict[str, Done] = {}
        self.cells: list[bytes] = []
        """The cells of the values of the records so far, in pieces."""

    def judge(self, write: Write | None, version: Version) -> tuple[Outcome, records.Record | None]:
        """Return the outcome of the next write (None: a no-op) once its batch is committed, and its record, if any.

        ``version`` is what it makes if it changes something.
        """
        if write is None:
            return Outcome(Result.COMMITTED), None
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
            return Outcome(Result.DELETED, version), records.Delete(key, idempotency)
        sums = sums_of(write.value)
        self.cells += (sums, write.value)
        checksum, kind = checksum_of(write.value, sums), write.content_type
        put = records.Put(key, len(write.value), checksum, kind, idempotency, created=created)
        return Outcome(_CREATED if created else _REPLACED, version), put


def _repeated(done: Done, idempotency: records.Idempotency) -> Outcome:
    if done.request != idempotency.request:
        return Outcome(Result.KEY_REUSED)
    if done.deleted:
        return Outcome(Result.DELETED, done.version)
    return Outcome(Result.CREATED if done.created else Result.REPLACED, done.version)
