"""Whether a write may be done, and what it does: conditions, idempotency keys, and the earlier writes of its batch.

Transactions are judged beside it, in `hanas_core.state.transacting`.

Conditions, idempotency keys and the numbers of forwarded writes are evaluated against the committed state plus every
earlier write that is in flight; since a batch begins only after the one before it has ended, those are the earlier
writes of the same batch (docs/protocol.md, sections 2 and 3).
"""

from enum import Enum
from functools import cached_property
from typing import ClassVar, assert_never

import msgspec
import xxhash

from hanas_core.log import records
from hanas_core.log.cells import PART_BYTES, checksum_of, sums_of, tags_size
from hanas_core.log.positions import Version
from hanas_core.state.entries import successor_in
from hanas_core.state.index import Index
from hanas_core.state.keytexts import is_text, text_or_bytes
from hanas_core.state.leases import Checkpoint, Grant, LeaseOverlay, LeaseRequest, Revoke
from hanas_core.state.overlay import MOST_LOOKS, Left, Overlay, TooManyLooks
from hanas_core.state.remembered import Done
from hanas_core.state.reports import Report
from hanas_core.state.sessions import Change, Session, in_window
from hanas_core.state.transacting import Lack, Lacking, Scene, TooManyDeletes, ValuesNeeded, transact
from hanas_core.state.transactions import Transact
from hanas_core.volume.encryption import TAG_BYTES

ANY = "*"
RECORD_OVERHEAD_BYTES = 96
"""What a record takes in a batch beside texts and value, at most."""
_FORWARDED_BYTES = 40
"""What `records.Forwarded` takes in a record, at most."""


class Write(msgspec.Struct, frozen=True):
    """A write as a client asked for it. ``value`` None deletes."""

    key: bytes
    value: bytes | None
    content_type: str = ""
    if_match: tuple[str, ...] | None = None
    """Versions of which the present one must be one; ``("*",)``: the key must be there."""
    if_none_match: tuple[str, ...] | None = None
    """Versions of which the present one must be none; ``("*",)``: the key must not be there."""
    idempotency_key: str | None = None
    lease: int = 0
    """The key goes with this lease; 0: with none."""

    @property
    def size(self) -> int:
        """Upper bound of what the write takes in a batch, bytes."""
        texts = len(self.content_type) + len(self.idempotency_key or "")
        front = len(self.key) + 4 * texts + RECORD_OVERHEAD_BYTES
        if self.value is None:
            return front
        size = len(self.value)  # with tags, as in an encrypted segment: sums take less
        return front + size + (TAG_BYTES if size <= PART_BYTES else tags_size(size))

    def holds(self, version: Version | None) -> bool:
        """Return whether the conditions hold for a key with this version (None: not there)."""
        required = _matches(self.if_match, version, default=True)
        return required and not _matches(self.if_none_match, version, default=False)

    def digest(self) -> bytes:
        """Return a hash of every field that distinguishes two requests."""
        parts = (text_or_bytes(self.key), self.value, self.content_type, self.if_match, self.if_none_match)
        return xxhash.xxh3_128_digest(msgspec.msgpack.encode((*parts, self.lease) if self.lease else parts))


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


class Restored(msgspec.Struct, frozen=True):
    """A key of a store that is restored: what it was there, but for the revision that wrote it last."""

    write: Write
    create: int
    generation: int

    @property
    def size(self) -> int:
        """See `Write.size`."""
        return self.write.size

    @property
    def value(self) -> bytes | None:
        """That of the write."""
        return self.write.value


class Compaction(msgspec.Struct, frozen=True):
    """A wish to forget what keys held before a revision. One that is compacted, or is to come, changes nothing."""

    revision: int
    goes_on: bool = False
    """One that is to come is made, see `hanas_core.log.records.Compacted`."""
    strict: bool = False
    """One that is compacted, or is to come, is refused."""
    value: ClassVar[None] = None
    """There is none: like a delete, it may use the log's last room."""
    size: ClassVar[int] = RECORD_OVERHEAD_BYTES
    """See `Write.size`."""


Request = Write | ForwardedWrite | Opening | Transact | Compaction | Restored | LeaseRequest | None
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
    TRANSACTED = "transacted"
    """A transaction was judged; the report says what it did."""
    VALUES_NEEDED = "values needed"
    """A transaction compares a value that is not at hand: nothing was done. The report names its key."""
    TOO_MANY_DELETES = "too many deletes"
    """A transaction would delete more than fits into a batch: nothing was done."""
    NO_REVISIONS = "no revisions"
    """The log has none yet, so every key is a text, and this one is not: nothing was done."""
    TOO_MANY_KEYS = "too many keys"
    """A transaction would look at more keys than it may: nothing was done."""
    COMPACTED = "compacted"
    """History was forgotten up to the revision, or had been."""
    FORGOTTEN = "forgotten"
    """The revision is compacted: nothing was done."""
    TO_COME = "to come"
    """The revision is above the present one: nothing was done."""
    LEASE_GRANTED = "lease granted"
    LEASE_EXISTS = "lease exists"
    """There is one with this id: nothing was done."""
    LEASE_NOT_FOUND = "lease not found"
    """There is none with this id: nothing was done."""
    LEASE_REVOKED = "lease revoked"
    LEASE_CROWDED = "lease crowded"
    """The lease has so many keys that they would find no room in one record: nothing was done."""
    TOO_MANY_LEASES = "too many leases"
    CHECKPOINTED = "checkpointed"
    """What remains of leases was noted, as far as there still were such."""
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


_LACKS = {
    Lack.FORGOTTEN: Result.FORGOTTEN,
    Lack.TO_COME: Result.TO_COME,
    Lack.KEY: Result.NOT_FOUND,
    Lack.LEASE: Result.LEASE_NOT_FOUND,
}
_CREATED, _REPLACED = Result.CREATED, Result.REPLACED  # a member of an enumeration is slow to look up


class Outcome(msgspec.Struct, frozen=True):
    """How a write ended, and the version that it made or that stood in its way."""

    result: Result
    version: Version | None = None
    revision: int = 0
    """Of the store behind this write, in the order of the log; 0: not told."""
    report: Report | None = None
    """Of a transaction."""


def recorded(session: Session | None, number: int) -> Outcome | None:
    """Return the outcome of a forwarded write as the log tells it; None if it is not in the log.

    ``session``: of the table; None if it is not there. To be told only when what the table rests on is checked.
    """
    if session is None:
        return Outcome(Result.SESSION_ENDED)
    if number < session.lowest:
        return Outcome(Result.NUMBER_OUT_OF_WINDOW)
    change = session.changes.get(number)
    return None if change is None else _outcome(change, change.revision)


class _Forwarder:
    """What the earlier writes of the batch leave of a session."""

    def __init__(self, session: Session) -> None:
        self.lowest = session.lowest
        self.outcomes: dict[int, Outcome] = {}
        """Of all of them, also of those that changed nothing."""


class Judge:
    """Judges the writes of one batch in their order, and changes nothing but itself."""

    def __init__(self, index: Index, form: int = records.PLAIN) -> None:
        """``index`` is the committed state. ``form``: of the records to make."""
        self._index = index
        self._revised = form != records.PLAIN
        self.revision = index.revision if self._revised else 0
        """That of the store behind the writes so far; 0 in a log without revisions."""
        self._compacted = index.compacted
        self._changed: dict[bytes, Left | None] = {}
        """What the earlier writes of the batch leave of each key that they change."""
        self._entries = index.keys.entries
        self._done: dict[str, Done] = {}
        self._sessions = index.sessions
        """With the changes of the earlier openings of the batch."""
        self._forwarders: dict[Version, _Forwarder] = {}
        self.cells: list[bytes] = []
        """The cells of the values of the records so far, in pieces."""
        self.room = 0
        """What the keys of the spans that a transaction deletes may take in its record, bytes."""
        self.used = 0
        """What they take in that of the last transaction, bytes, about."""

    # Most batches need none of these.

    @cached_property
    def _state(self) -> Overlay:
        """The keys, with what the earlier writes of the batch leave of them."""
        return Overlay(self._index, self._changed)

    @cached_property
    def _leases(self) -> LeaseOverlay:
        """The leases, in the same way."""
        return LeaseOverlay(self._index.leases)

    def judge(  # noqa: PLR0911, PLR0912  # the way of every write
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
                return _repeated(done, idempotency, self.revision), None
        key, value, changed = write.key, write.value, self._changed
        create, generation = 0, 1
        if key in changed:
            if (left := changed[key]) is not None:
                create, generation = left[2], left[3] + 1
        elif (packed := self._entries.get(key)) is not None:
            create, generation = successor_in(packed)
        created = generation == 1
        if write.if_match is not None or write.if_none_match is not None:
            present = self._state.get(key)
            stands = None if present is None else present.version
            if not write.holds(stands):
                return Outcome(Result.CONDITION_FAILED, stands, self.revision), None
        if created and value is None:
            return Outcome(Result.NOT_FOUND, None, self.revision), None
        lease = write.lease
        if lease and (refusal := self._attach({lease: [key]})) is not None:
            return Outcome(refusal, None, self.revision), None
        if self._revised:
            self.revision += 1
        elif not is_text(key):
            return Outcome(Result.NO_REVISIONS), None
        if idempotency is not None:
            self._done[idempotency.key] = Done(idempotency.request, *version, created, value is None)
        if value is None:
            changed[key] = None
            outcome = Outcome(Result.DELETED, version, self.revision)
            if forwarded is None:
                return outcome, records.Delete(key, idempotency)
            return outcome, records.ForwardedDelete(key, idempotency, forwarded=forwarded)
        revision = self.revision or version.sequence + 1
        if created or not self._revised:
            create = revision
        changed[key] = version, revision, create, generation, lease, value
        sums = sums_of(value)
        self.cells += (sums, value)
        size, checksum, kind = len(value), checksum_of(value, sums), write.content_type
        outcome = Outcome(_CREATED if created else _REPLACED, version, self.revision)
        if forwarded is not None:
            fields = key, size, checksum, kind, idempotency, created
            return outcome, self._forwarded_put(fields, create, generation, lease, forwarded)
        if (created and not lease) or not self._revised:
            return outcome, records.Put(key, size, checksum, kind, idempotency, created)
        return outcome, records.RevisedPut(key, size, checksum, kind, idempotency, created, create, generation, lease)

    def _forwarded_put(
        self,
        fields: tuple[bytes, int, int, str, records.Idempotency | None, bool],
        create: int,
        generation: int,
        lease: int,
        forwarded: records.Forwarded,
    ) -> records.Put:
        if (generation == 1 and not lease) or not self._revised:
            return records.ForwardedPut(*fields, forwarded=forwarded)
        return records.ForwardedRevisedPut(*fields, create, generation, lease, forwarded=forwarded)

    def _judge_other(  # noqa: PLR0911  # one for each kind
        self, write: ForwardedWrite | Opening | Transact | Compaction | Restored | LeaseRequest | None, version: Version
    ) -> tuple[Outcome, records.Record | None]:
        match write:
            case ForwardedWrite():
                return self._judge_forwarded(write.write, write.forwarded, version)
            case None:
                return Outcome(Result.COMMITTED, None, self.revision), None
            case Opening(member=member):
                self._sessions = self._sessions.copy()
                self._sessions.open(version, member)
                return Outcome(Result.SESSION_OPENED, version, self.revision), records.Opened(member)
            case Compaction():
                return self._judge_compaction(write)
            case Restored():
                return self._judge_restored(write, version)
            case Transact():
                return self._judge_transaction(write, version)
            case Grant():
                return self._judge_grant(write, version)
            case Revoke():
                return self._judge_revoke(write)
            case Checkpoint():
                left = tuple((lease, secs) for lease, granted, secs in write.left if self._is(lease, granted))
                outcome = Outcome(Result.CHECKPOINTED, None, self.revision)
                return outcome, records.Checkpointed(left) if left else None
            case _:
                assert_never(write)

    @property
    def tired(self) -> bool:
        """At so many keys was looked that the batch should end."""
        return self._state.looks.total >= MOST_LOOKS

    def cost(self, lease: int) -> int:
        """Return what the keys of a lease take in the record of its revoke, bytes, at most."""
        return self._leases.cost(lease)

    def _is(self, lease: int, granted: Version) -> bool:
        return self._leases.granted(lease) == granted

    def _attach(self, attached: dict[int, list[bytes]]) -> Result | None:
        """Attach keys to leases; return why they cannot be, and then none is."""
        for lease, keys in attached.items():
            if self._leases.granted(lease) is None:
                return Result.LEASE_NOT_FOUND
            if not self._leases.fits(lease, keys):
                return Result.LEASE_CROWDED
        for lease, keys in attached.items():
            for key in keys:
                self._leases.attach(lease, key)
        return None

    def _judge_grant(self, wish: Grant, version: Version) -> tuple[Outcome, records.Record | None]:
        assert self._revised, "a log without revisions takes no leases"
        if (granted := self._leases.granted(wish.lease)) is not None:
            return Outcome(Result.LEASE_EXISTS, granted, self.revision), None
        if self._leases.full:
            return Outcome(Result.TOO_MANY_LEASES, None, self.revision), None
        self._leases.grant(wish.lease, version)
        return Outcome(Result.LEASE_GRANTED, version, self.revision), records.Granted(wish.lease, wish.ttl)

    def _judge_revoke(self, wish: Revoke) -> tuple[Outcome, records.Record | None]:
        granted = self._leases.granted(wish.lease)
        if granted is None or wish.granted not in {None, granted}:
            return Outcome(Result.LEASE_NOT_FOUND, None, self.revision), None
        keys = tuple(sorted(key for key in self._leases.keys(wish.lease) if self._ends_with(key, wish.lease)))
        self._leases.revoke(wish.lease)
        if keys:
            self.revision += 1
            self._changed.update(dict.fromkeys(keys))
        return Outcome(Result.LEASE_REVOKED, granted, self.revision), records.Revoked(wish.lease, keys)

    def _ends_with(self, key: bytes, lease: int) -> bool:
        """Return whether ``key`` is still attached to ``lease``, behind the earlier writes of the batch."""
        if key not in self._changed:
            return True
        left = self._changed[key]
        return left is not None and left[4] == lease

    def _judge_compaction(self, wish: Compaction) -> tuple[Outcome, records.Record | None]:
        record, revision = None, wish.revision
        if self._revised and self._compacted < revision and (revision <= self.revision or wish.goes_on):
            self._compacted, self.revision = revision, max(self.revision, revision)
            record = records.Compacted(revision)
        elif wish.strict:
            lack = Lack.TO_COME if revision > self.revision else Lack.FORGOTTEN
            return Outcome(_LACKS[lack], None, self.revision), None
        return Outcome(Result.COMPACTED, None, self.revision), record

    def _judge_restored(self, wish: Restored, version: Version) -> tuple[Outcome, records.Record | None]:
        outcome, put = self.judge(wish.write, version)
        if not isinstance(put, records.Put):
            return outcome, put
        fields = put.key, put.size, put.checksum, put.content_type, put.idempotency, put.created
        return outcome, records.RevisedPut(*fields, wish.create, wish.generation, wish.write.lease)

    def _judge_transaction(self, request: Transact, version: Version) -> tuple[Outcome, records.Record | None]:
        assert self._revised, "a log without revisions takes no transactions"
        idempotency = None
        if request.idempotency_key is not None:
            idempotency = records.Idempotency(request.idempotency_key, request.digest())
            done = self._done.get(idempotency.key) or self._index.done(idempotency.key)
            if done is not None:
                return _repeated(done, idempotency, self.revision), None
        try:
            leased = self._leases.granted
            scene = Scene(self._state, self.revision, self._compacted, lambda lease: leased(lease) is not None)
            effect = transact(scene, request, version, self.room)
        except Lacking as lacking:
            return Outcome(_LACKS[lacking.lack], None, self.revision), None
        except ValuesNeeded as needed:
            return Outcome(Result.VALUES_NEEDED, None, self.revision, Report(succeeded=False, needed=needed.key)), None
        except TooManyDeletes:
            return Outcome(Result.TOO_MANY_DELETES, None, self.revision), None
        except TooManyLooks:
            return Outcome(Result.TOO_MANY_KEYS, None, self.revision), None
        if not effect.changes:
            return Outcome(Result.TRANSACTED, None, self.revision, effect.report), None
        if (refusal := self._attach(effect.attached)) is not None:
            return Outcome(refusal, None, self.revision), None
        self.revision += 1
        self._changed.update(effect.changed)
        self.cells += effect.cells
        self.used = effect.deleted_bytes
        held = effect.report.succeeded
        if idempotency is not None:
            done = Done(idempotency.request, *version, created=held, deleted=False, revision=self.revision)
            self._done[idempotency.key] = done
        record = records.Transacted(effect.changes, held, idempotency)
        return Outcome(Result.TRANSACTED, version, self.revision, effect.report), record

    def _judge_forwarded(
        self, write: Write, forwarded: records.Forwarded, version: Version
    ) -> tuple[Outcome, records.Record | None]:
        session, number = self._sessions.get(forwarded.session), forwarded.number
        if session is None:
            return Outcome(Result.SESSION_ENDED, None, self.revision), None
        forwarder = self._forwarders.get(forwarded.session)
        if forwarder is None:
            forwarder = self._forwarders[forwarded.session] = _Forwarder(session)
        lowest = max(forwarder.lowest, forwarded.lowest)
        if not in_window(number, lowest):
            return Outcome(Result.NUMBER_OUT_OF_WINDOW, None, self.revision), None
        outcome, record = forwarder.outcomes.get(number) or recorded(session, number), None
        if outcome is None:
            outcome, record = self.judge(write, version, forwarded)
            forwarder.outcomes[number] = outcome
            if record is not None:
                forwarder.lowest = lowest
        return outcome, record


def _repeated(done: Done, idempotency: records.Idempotency, revision: int) -> Outcome:
    if done.request != idempotency.request:
        return Outcome(Result.KEY_REUSED, None, revision)
    if done.revision:
        report = Report(succeeded=done.created, repeated=True, revision=done.revision)
        return Outcome(Result.TRANSACTED, done.version, revision, report)
    return _outcome(done, revision)


def _outcome(change: Done | Change, revision: int) -> Outcome:
    """Return what the write that made a change was answered; ``revision``: that of the store now, or behind it."""
    if change.deleted:
        return Outcome(Result.DELETED, change.version, revision)
    return Outcome(Result.CREATED if change.created else Result.REPLACED, change.version, revision)
