"""The state that the committed log describes: keys and their history, recent idempotency keys, and sessions.

Values stay on disk; the latest ones are in a cache.
"""

import sys
from collections import Counter
from typing import NamedTuple, assert_never

from hanas_core.log import records
from hanas_core.log.batches import HEADER_BYTES, Batch, Kind
from hanas_core.log.cells import PART_BYTES, sums_size, widening
from hanas_core.log.encrypted import ENCRYPTED_HEADER_BYTES
from hanas_core.log.positions import Facts, Position, Version
from hanas_core.state.entries import Entry, facts_in, lease_in, pack, unpack, version_of
from hanas_core.state.keyspace import KeyPage, KeySpace, Segment
from hanas_core.state.leases import Leases
from hanas_core.state.remembered import Done, Remembered
from hanas_core.state.sessions import Change, Sessions
from hanas_core.state.valuecache import DEFAULT_BYTES, ValueCache
from hanas_core.volume import names
from hanas_core.volume.errors import Corruption


class Known(NamedTuple):
    """What is known of a key that is there, without its place."""

    version: Version
    facts: Facts
    value: bytes | None = None
    """If it is at hand."""


class Index:
    """All keys in memory. Holds committed writes only. Changed by its `Replica` only, on the thread that owns that."""

    def __init__(self, cache_bytes: int = DEFAULT_BYTES) -> None:
        """Begin empty; keep ``cache_bytes`` of values in memory."""
        self.keys = KeySpace()
        self._cache = ValueCache(cache_bytes)
        self.remembered = Remembered(self.keys.live)
        self.sessions = Sessions()
        """Of forwarders. What the log takes for them is so little that it counts as garbage."""
        self.leases = Leases()
        self.sequence = 0
        """Sequence of the last record applied."""
        self.shown = 1
        """The revision that answers tell; 0 if what was applied last was of a log without revisions."""
        self.form = records.PLAIN
        """The newest one of the batches applied."""
        self.revision = 1
        """How often keys were changed, and one more (docs/protocol.md, section 3.11)."""

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    @property
    def compacted(self) -> int:
        """The lowest revision as of which keys can be read."""
        return self.keys.compacted

    @property
    def value_bytes(self) -> int:
        """What the present values take, bytes."""
        return self.keys.value_bytes

    @property
    def live(self) -> Counter[Segment]:
        """What is live of each segment, bytes, about: the rest is garbage."""
        return self.keys.live

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, None if it is not there."""
        packed = self.keys.entries.get(key)  # not by a call: it is in the way of every read
        return None if packed is None else unpack(packed)

    def at(self, key: bytes, revision: int) -> Entry | None:
        """Return what ``key`` held as of ``revision``, which is not below `compacted`; None: it was not there."""
        packed = self.keys.at(key, revision)
        return None if packed is None else unpack(packed)

    def same(self, key: bytes, entry: Entry) -> Entry | None:
        """Return this entry of ``key`` as it is now, maybe with another place; None if it is forgotten."""
        packed = self.keys.at(key, max(entry.facts.revision, self.compacted))
        return None if packed is None or version_of(packed) != entry.version else unpack(packed)

    def version(self, key: bytes) -> Version | None:
        """Return the version of what ``key`` holds, None if it is not there."""
        packed = self.keys.packed(key)
        return None if packed is None else Version._make(version_of(packed))

    def known(self, key: bytes) -> Known | None:
        """Return what is known of ``key``, None if it is not there."""
        packed = self.keys.packed(key)
        return None if packed is None else Known(Version._make(version_of(packed)), facts_in(packed))

    def cached(self, key: bytes) -> bytes | None:
        """Return the value of ``key`` if it is at hand in memory."""
        return self._cache.get(key)

    def cached_of(self, key: bytes, entry: Entry) -> bytes | None:
        """Return the value of an entry of ``key`` if it is at hand in memory: that of the present one may be."""
        return self.cached(key) if self.version(key) == entry.version else None

    def keep(self, key: bytes, entry: Entry, value: bytes) -> None:
        """Keep a value that was read from its place at hand, if it is still what ``key`` holds."""
        packed = self.keys.packed(key)
        if packed is not None and version_of(packed) == entry.version:
            self._cache.put(key, value)

    def done(self, idempotency_key: str) -> Done | None:
        """Return what the write with this idempotency key did, None if it is not known (any more)."""
        return self.remembered.get(idempotency_key)

    def page(self, prefix: bytes, after: bytes, limit: int, revision: int | None = None) -> KeyPage:
        """Return a part of the keys, see `KeySpace.page`."""
        return self.keys.page(prefix, after, limit, revision)

    # ------------------------------------------------------------------ batches

    def apply(self, batch: Batch, changes: list[records.Record] | None = None) -> None:
        """Apply a committed batch, as it stands in its segment; records that were applied before only give their place.

        ``changes``: the records of its payload, if they are at hand. Sequences and revisions have no gaps: Corruption
        if a batch before this one was never applied.
        """
        if batch.kind is Kind.MERGED:
            self._apply_merged(batch, self.sequence)
            return
        if batch.first_sequence > self.sequence + 1:
            raise Corruption(
                f"write {self.sequence + 1} is missing: {names.segment(batch.epoch, batch.number)} goes on with "
                f"{batch.first_sequence} at offset {batch.offset}"
            )
        if not batch.payload:
            return
        revision = self.revision
        if changes is None:
            changes, at = records.decode(batch)
            revision = self._begin(batch)
        else:
            at = records.cells_at(batch.payload)
        place, origin, form = Places(batch, at), batch.origin, batch.format
        sequence, applied, revised = batch.first_sequence - 1, self.sequence, form != records.PLAIN
        if not revised and sequence + len(changes) > applied:
            self._without_history(sequence + len(changes) + 1)
        for record in changes:
            sequence += 1
            new = sequence > applied
            if isinstance(record, records.Put):  # cheaper than a match, for every write that there is
                revision = revision + 1 if revised else sequence + 1
                self._put(record, origin, sequence, revision, place, new)
            else:
                revision = records.revision_behind(record, revision) if revised else sequence + 1
                if isinstance(record, records.Transacted):
                    self._transact(record, Version(origin, sequence), revision, place, new=new)
                elif new:
                    self._apply_valueless(record, Version(origin, sequence), revision)
            if record.idempotency is not None or record.forwarded is not None:
                shown = revision if revised else 0
                self._remember_write(record, Version(origin, sequence), shown, place.segment, new=new)
        if sequence > applied:
            self.sequence, self.revision, self.form = sequence, revision, max(self.form, form)
            self.shown = revision if self.form else 0
        self.keys.live[place.segment] += place.live
        assert place.at == len(batch.payload), "the values of a batch fill the rest of it"

    def _begin(self, batch: Batch) -> int:
        """Return the revision before a batch that was read. Raises Corruption if that is not the one at hand."""
        revision = records.revision_before(batch)
        if batch.format != records.PLAIN and batch.first_sequence == self.sequence + 1 and revision != self.revision:
            raise Corruption(
                f"{names.segment(batch.epoch, batch.number)}: the batch at offset {batch.offset} follows revision "
                f"{revision}, and the one before it ends with {self.revision}"
            )
        return revision

    def _without_history(self, revision: int) -> None:
        """The log has no revisions yet, so each reader may have begun elsewhere: there is no past."""
        self.keys.compact(revision)

    def _put(  # the way of every write
        self,
        put: records.Put,
        origin: int,
        sequence: int,
        revision: int,
        place: "Places",
        new: bool,
    ) -> None:
        key, size, checksum, content_type = put.key, put.size, put.checksum, put.content_type
        (epoch, number), begin = place.segment, place.at
        if size > PART_BYTES or place.encrypted:
            place.make_way(size)
        at = place.at
        place.at = end = at + size
        offset = place.begin + at
        if not new:  # re-logged: the older copy may lie behind the cut of a segment that compaction removes
            self.keys.move(key, revision, Version(origin, sequence), Position(epoch, number, offset))
            return
        create, generation, lease = revision, 1, 0
        if isinstance(put, records.RevisedPut):
            create, generation, lease = put.create, put.generation, put.lease
        packed = pack(
            origin, sequence, epoch, number, offset, size, checksum, content_type, revision, create, generation, lease
        )
        if self.keys.put(key, packed, revision, create, size):
            place.live += len(packed) + len(key) + end - begin
            if lease or self.leases.attached:
                self.leases.attach(key, lease)
        self._cache.put(key, place.payload[at:end])

    def _transact(
        self, record: records.Transacted, version: Version, revision: int, place: "Places", *, new: bool
    ) -> None:
        for change in record.changes:
            if isinstance(change, records.Put):
                self._put(change, *version, revision, place, new)
            elif new:
                self._delete(change.key, revision)

    def _delete(self, key: bytes, revision: int) -> None:
        if self.keys.delete(key, revision):
            self._cache.drop(key)
            if self.leases.attached:
                self.leases.attach(key, 0)

    def _apply_valueless(
        self,
        record: records.Delete
        | records.Opened
        | records.Compacted
        | records.Granted
        | records.Checkpointed
        | records.Revoked,
        version: Version,
        revision: int,
    ) -> None:
        match record:
            case records.Delete(key=key):
                self._delete(key, revision)
            case records.Opened(member=member):
                self.sessions.open(version, member)
            case records.Compacted(revision=compacted):
                self.keys.compact(compacted)
            case records.Granted(lease=lease, ttl=ttl):
                self.leases.grant(lease, ttl, version)
            case records.Checkpointed(left=left):
                self.leases.checkpoint(left, version.sequence)
            case records.Revoked(lease=lease, keys=keys):
                for key in keys:
                    self._delete(key, revision)
                self.leases.revoke(lease)
            case _:
                assert_never(record)

    def _remember_write(
        self, record: records.Record, version: Version, revision: int, segment: Segment, *, new: bool
    ) -> None:
        """Note what a write did for who may repeat it. ``revision``: see `shown`."""
        once, forwarded = record.idempotency, record.forwarded
        if once is not None and new:
            told = revision if isinstance(record, records.Transacted) else 0
            done = Done(once.request, *version, record.created, record.deleted, *segment, told)
            self.remembered.put(once.key, done)
        elif once is not None:
            self.remembered.move(once.key, version, segment)
        if forwarded is not None and new:
            self.sessions.note(forwarded, Change(version, record.created, record.deleted, revision))

    # ------------------------------------------------------------------ merged segments

    def relocate(self, batch: Batch) -> None:
        """Learn from a batch of a merged segment where values are now; whatever else it says is known already."""
        self._apply_merged(batch, sys.maxsize)

    def _apply_merged(self, batch: Batch, applied: int) -> None:
        """Take in what compaction left of older records; of those up to ``applied``, only where they are now."""
        merged, at = records.decode_merged(batch)
        place = Places(batch, at)
        for record in merged:
            if isinstance(record, records.Floor):
                if applied == self.sequence:
                    self.keys.compact(record.revision)
            elif isinstance(record, records.Kept):
                new = record.sequence > applied
                if new and batch.format == records.PLAIN:
                    self._without_history(records.facts_of(record).revision)
                self._keep(record, place, new=new)
            elif record.sequence > applied:
                self._apply_merged_valueless(record, place.segment)
            elif isinstance(record, records.Remembered):
                self.remembered.move(record.idempotency.key, Version(record.origin, record.sequence), place.segment)
        self.live[place.segment] += place.live
        assert place.at == len(batch.payload), "the values of a batch fill the rest of it"

    def _keep(self, record: records.Kept, place: "Places", *, new: bool) -> None:
        version, facts, size = Version(record.origin, record.sequence), records.facts_of(record), record.size
        begin = place.at
        if size > PART_BYTES or place.encrypted:
            place.make_way(size)
        position, at = Position(*place.segment, place.begin + place.at), place.at
        place.at = end = at + size
        if new:
            packed = pack(*version, *position, size, record.checksum, record.content_type, *facts)
            if self.keys.put(record.key, packed, facts.revision, facts.create, size):
                place.live += len(packed) + len(record.key) + end - begin
                self.leases.attach(record.key, facts.lease)
            self._cache.put(record.key, place.payload[at:end])
        else:
            self.keys.move(record.key, facts.revision, version, position)

    def _apply_merged_valueless(
        self,
        record: records.Gone
        | records.Remembered
        | records.Session
        | records.Answered
        | records.Reached
        | records.Lease
        | records.Left
        | records.Ended,
        segment: Segment,
    ) -> None:
        match record:
            case records.Gone(key=key):
                self._delete(key, records.revision_of(record))
            case records.Remembered(origin=origin, sequence=sequence, idempotency=once):
                told = record.revision if isinstance(record, records.RememberedTransaction) else 0
                done = Done(once.request, origin, sequence, record.created, record.deleted, *segment, told)
                self.remembered.put(once.key, done)
            case records.Session(origin=origin, sequence=sequence, member=member):
                self.sessions.open(Version(origin, sequence), member)
            case records.Answered(origin=origin, sequence=sequence, forwarded=forwarded):
                self.sessions.note(forwarded, Change(Version(origin, sequence), record.created, record.deleted))
            case records.Lease(origin=origin, sequence=sequence, lease=lease, ttl=ttl):
                self.leases.grant(lease, ttl, Version(origin, sequence))
            case records.Left(sequence=sequence, lease=lease, remaining=remaining):
                self.leases.checkpoint([(lease, remaining)], sequence)
            case records.Ended(lease=lease):
                self.leases.revoke(lease)
            case records.Reached(sequence=sequence):
                self.sequence = sequence
                self.shown = 0
                if isinstance(record, records.ReachedRevision):
                    self.revision, self.form, self.shown = record.revision, records.REVISED, record.revision
                    self.keys.compact(record.compacted)
                else:
                    self.revision = sequence + 1
                    self._without_history(self.revision)
            case _:
                assert_never(record)

    # ------------------------------------------------------------------ snapshots, and what must hold

    def load(self, keys: list[bytes], entries: list[bytes]) -> None:
        """Take in keys of a snapshot, in order; `loaded` follows."""
        self.keys.load(keys, entries)
        for key, packed in zip(keys, entries, strict=True):
            if lease := lease_in(packed):
                self.leases.attach(key, lease)

    def loaded(self, sequence: int, revision: int, noted: int, compacted: int) -> None:
        """Complete the loading of a snapshot, which holds every write up to ``sequence``; see `KeySpace.loaded`."""
        self.sequence, self.revision = sequence, revision
        self.shown = revision if self.form else 0
        self.keys.loaded(noted, compacted)

    def check_invariants(self) -> None:
        """Assert what must hold between two batches, by counting everything anew."""
        live = self.keys.check_invariants(self.revision)
        self.remembered.check_invariants(live)
        self.sessions.check_invariants()
        self.leases.check_invariants(
            {key: lease for key, packed in self.keys.entries.items() if (lease := lease_in(packed))}
        )
        assert {segment: size for segment, size in self.live.items() if size} == live


class Places:
    """Where the values of a batch lie, one after the other."""

    __slots__ = ("at", "begin", "encrypted", "live", "payload", "segment")

    def __init__(self, batch: Batch, at: int) -> None:
        """Begin at ``at`` of the payload."""
        self.payload = batch.payload
        self.encrypted = batch.encrypted
        self.begin = batch.offset + (ENCRYPTED_HEADER_BYTES if batch.encrypted else HEADER_BYTES)
        """So much further in the segment than in the payload the next value begins."""
        self.segment = (batch.epoch, batch.number)
        self.live = 0
        """What is live of those so far, bytes, see `KeySpace.live`."""
        self.at = at

    def make_way(self, size: int) -> None:
        """Pass by what stands before the next value, of ``size`` bytes."""
        self.at += sums_size(size)
        if self.encrypted:
            self.begin += widening(size)
