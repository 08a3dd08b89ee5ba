"""What a batch carries: changes to keys, or in a merged segment what is left of them.

The payload is the length of what follows (u32, little-endian), the records as one MessagePack array, and behind it the
cells of their values in the same order (hanas_core.log.cells).
So a reader finds the place of every value without touching it.

In a batch of the format `REVISED` the revision that the store had before it stands in front of the array of records.
In one of the format `PLAIN` each record makes a revision, and no key has a history (docs/protocol.md, section 3.11).
Keys are texts there (str of MessagePack), and bytes (bin) in one of the format `REVISED`.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar, assert_never

import msgspec

from hanas_core.log.batches import Batch
from hanas_core.log.positions import Facts, Version, plain
from hanas_core.volume import names
from hanas_core.volume.blocks import UNREADABLE
from hanas_core.volume.errors import Corruption

T = TypeVar("T")

PLAIN, REVISED = 0, 3
"""Formats of the records of a batch: that of folders of the format 2, and that of the format 3."""


class Idempotency(msgspec.Struct, frozen=True, array_like=True):
    """A client's idempotency key and the hash of the request that came with it."""

    key: str
    request: bytes


class Forwarded(msgspec.Struct, frozen=True, array_like=True):
    """Which write of which forwarder this is (docs/protocol.md, section 3.10)."""

    session: Version
    """Version of the record that opened the session."""
    number: int
    """Of the write within its session."""
    lowest: int
    """The lowest number whose outcome the forwarder may still ask for."""


class Put(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A key gets a value."""

    forwarded: ClassVar[Forwarded | None] = None
    deleted: ClassVar[bool] = False
    key: bytes
    size: int
    """Of the value, bytes."""
    checksum: int
    """Checksum of the value (hanas_core.log.cells)."""
    content_type: str
    idempotency: Idempotency | None = None
    created: bool = False
    """The key was not there before: what a repeated request is answered."""


class Delete(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """A key goes."""

    forwarded: ClassVar[Forwarded | None] = None
    created: ClassVar[bool] = False
    deleted: ClassVar[bool] = True
    key: bytes
    idempotency: Idempotency | None = None


class ForwardedPut(Put, frozen=True, array_like=True, kw_only=True, tag="P"):
    """A key gets a value, by a forwarded write."""

    forwarded: Forwarded  # type: ignore[misc]  # a plain one has no such field, which would take a byte


class ForwardedDelete(Delete, frozen=True, array_like=True, kw_only=True, tag="D"):
    """A key goes, by a forwarded write."""

    forwarded: Forwarded  # type: ignore[misc]  # see ForwardedPut


class RevisedPut(Put, frozen=True, array_like=True, tag="u"):
    """A key gets another value, or one with a lease, in a log with revisions."""

    create: int = 0
    generation: int = 0
    lease: int = 0


class ForwardedRevisedPut(RevisedPut, frozen=True, array_like=True, kw_only=True, tag="U"):
    """The same, by a forwarded write."""

    forwarded: Forwarded  # type: ignore[misc]  # see ForwardedPut


class Transacted(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A transaction, as what it changed: whoever reads it judges nothing again."""

    forwarded: ClassVar[None] = None
    deleted: ClassVar[bool] = False
    changes: tuple[Put | RevisedPut | Delete, ...]
    """In order; of each key one at most."""
    created: bool
    """Its compares held: what a repeated request is answered."""
    idempotency: Idempotency | None = None


class Compacted(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """What keys held before this revision is forgotten. One that is to come is made: a store that is restored goes on
    behind what was told of the one that it was copied from.
    """

    idempotency: ClassVar[None] = None
    forwarded: ClassVar[None] = None
    created: ClassVar[bool] = False
    deleted: ClassVar[bool] = False
    revision: int


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """A forwarder gets a session: its id is the version of this record."""

    idempotency: ClassVar[None] = None
    forwarded: ClassVar[None] = None
    created: ClassVar[bool] = False
    deleted: ClassVar[bool] = False
    member: str


class _OfLeases(msgspec.Struct, frozen=True, array_like=True):
    """What a client's own key does not cover."""

    idempotency: ClassVar[None] = None
    forwarded: ClassVar[None] = None
    created: ClassVar[bool] = False
    deleted: ClassVar[bool] = False


class Granted(_OfLeases, frozen=True, array_like=True, tag="l"):
    """A lease begins."""

    lease: int
    ttl: int
    """Seconds."""


class Checkpointed(_OfLeases, frozen=True, array_like=True, tag="m"):
    """What remains of leases: ids and seconds."""

    left: tuple[tuple[int, int], ...]


class Revoked(_OfLeases, frozen=True, array_like=True, tag="v"):
    """A lease ends, and its keys go: whoever reads it looks for none."""

    lease: int
    keys: tuple[bytes, ...]
    """In order."""


Record = Put | Delete | Opened | Transacted | Compacted | Granted | Checkpointed | Revoked


class Kept(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """In a merged segment: a key has this value since the write ``sequence`` of epoch ``origin``."""

    origin: int
    sequence: int
    key: bytes
    size: int
    checksum: int
    content_type: str


class KeptRevised(Kept, frozen=True, array_like=True, kw_only=True, tag="K"):
    """The same, where the facts of the version do not follow from its sequence."""

    revision: int
    create: int
    generation: int
    lease: int


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """In a merged segment: a key that an earlier segment may hold went with this write."""

    origin: int
    sequence: int
    key: bytes


class GoneRevised(Gone, frozen=True, array_like=True, kw_only=True, tag="G"):
    """The same, where the revision of the delete does not follow from its sequence."""

    revision: int


class Remembered(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """In a merged segment: what a write that came with an idempotency key did."""

    origin: int
    sequence: int
    idempotency: Idempotency
    created: bool
    deleted: bool


class RememberedTransaction(Remembered, frozen=True, array_like=True, kw_only=True, tag="t"):
    """In a merged segment: what a transaction that came with an idempotency key did. ``created``: see `Transacted`."""

    revision: int


class Session(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """In a merged segment: a session that this write opened."""

    origin: int
    sequence: int
    member: str


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """In a merged segment: what a forwarded write did whose outcome its forwarder may still ask for."""

    origin: int
    sequence: int
    forwarded: Forwarded
    created: bool
    deleted: bool


class Reached(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """The last record of what was merged together: the state now holds every write up to ``sequence``."""

    sequence: int


class ReachedRevision(Reached, frozen=True, array_like=True, kw_only=True, tag="R"):
    """The same in a log with revisions: the last one, and up to which one history was forgotten."""

    revision: int
    compacted: int


class Floor(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """The first record of what was merged together in a log with revisions: history before this one was forgotten."""

    revision: int


class Lease(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """In a merged segment: a lease that this write granted."""

    origin: int
    sequence: int
    lease: int
    ttl: int


class Left(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """In a merged segment: so many seconds of a lease remained at this write."""

    origin: int
    sequence: int
    lease: int
    remaining: int


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="v"):
    """In a merged segment: a lease that an earlier segment may hold was revoked with this write."""

    origin: int
    sequence: int
    lease: int


Merged = Kept | Gone | Remembered | Session | Answered | Reached | Floor | Lease | Left | Ended


class _TextPut(Put, frozen=True, array_like=True, tag="p"):
    key: str  # type: ignore[assignment]  # of a batch of the format `PLAIN`; so are the others


class _TextDelete(Delete, frozen=True, array_like=True, tag="d"):
    key: str  # type: ignore[assignment]  # see _TextPut


class _TextForwardedPut(ForwardedPut, frozen=True, array_like=True, tag="P"):
    key: str  # type: ignore[assignment]  # see _TextPut


class _TextForwardedDelete(ForwardedDelete, frozen=True, array_like=True, tag="D"):
    key: str  # type: ignore[assignment]  # see _TextPut


class _TextKept(Kept, frozen=True, array_like=True, tag="k"):
    key: str  # type: ignore[assignment]  # see _TextPut


class _TextGone(Gone, frozen=True, array_like=True, tag="g"):
    key: str  # type: ignore[assignment]  # see _TextPut


_OfForwarders = Opened | ForwardedPut | ForwardedDelete
_OfRevisions = RevisedPut | ForwardedRevisedPut | Transacted | Compacted | Granted | Checkpointed | Revoked


class _Revised(msgspec.Struct, frozen=True, array_like=True):
    """The records of a batch of the format `REVISED`."""

    revision: int
    records: list[Put | Delete | _OfForwarders | _OfRevisions]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_TextPut | _TextDelete | _TextForwardedPut | _TextForwardedDelete | Opened])
_revised_decoder = msgspec.msgpack.Decoder(_Revised)
_revision_decoder = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_merged_decoder = msgspec.msgpack.Decoder(list[_TextKept | _TextGone | Remembered | Session | Answered | Reached])
_revised_merged_decoder = msgspec.msgpack.Decoder(
    list[Merged | KeptRevised | GoneRevised | RememberedTransaction | ReachedRevision]
)
PREFIX_BYTES = 4


def revision_behind(record: Record, revision: int) -> int:
    """Return the revision behind a record of the format `REVISED` that follows ``revision``."""
    match record:
        case Opened() | Granted() | Checkpointed() | Revoked(keys=()):
            return revision
        case Compacted(revision=compacted):
            return max(revision, compacted)
        case _:
            return revision + 1


def facts_of(record: Kept) -> Facts:
    """Return the facts of a version in a merged segment."""
    if isinstance(record, KeptRevised):
        return Facts(record.revision, record.create, record.generation, record.lease)
    return plain(record.sequence)


def kept(origin: int, sequence: int, put: Put | Kept, facts: Facts) -> Kept:
    """Return how a value stands in a merged segment."""
    fields = origin, sequence, put.key, put.size, put.checksum, put.content_type
    if facts == plain(sequence):
        return Kept(*fields)
    revision, create, generation, lease = facts
    return KeptRevised(*fields, revision=revision, create=create, generation=generation, lease=lease)


def gone(origin: int, sequence: int, key: bytes, revision: int) -> Gone:
    """Return how the delete of a key by ``revision`` stands in a merged segment."""
    if revision == plain(sequence).revision:
        return Gone(origin, sequence, key)
    return GoneRevised(origin, sequence, key, revision=revision)


def revision_of(record: Gone) -> int:
    """Return the revision of a delete in a merged segment."""
    return record.revision if isinstance(record, GoneRevised) else plain(record.sequence).revision


def remembered(origin: int, sequence: int, record: Record, idempotency: Idempotency, revision: int) -> Remembered:
    """Return how it stands in a merged segment what ``record``, a part of ``revision``, did with its key."""
    fields = origin, sequence, idempotency, record.created, record.deleted
    return RememberedTransaction(*fields, revision=revision) if isinstance(record, Transacted) else Remembered(*fields)


def facts_of_put(put: Put, revision: int) -> Facts:
    """Return the facts of the version that ``put`` makes as a part of ``revision``."""
    if isinstance(put, RevisedPut):
        return Facts(revision, put.create, put.generation, put.lease)
    return Facts(revision, revision)


def encode(records: Sequence[Record], cells: Iterable[bytes] = (), revision: int | None = None) -> bytes:
    """Return the payload of a batch, empty for none. ``cells``: those of the values, in order, maybe in pieces.

    ``revision``: that before the batch, for one of the format `REVISED`.
    """
    if not records:
        return b""
    return _encode(_with_texts(records) if revision is None else (revision, records), cells)


def encode_merged(merged: Sequence[Merged], cells: Iterable[bytes], form: int) -> bytes:
    """Return the payload of a batch of a merged segment, in the format ``form``, as `encode` does."""
    return _encode(_with_texts(merged) if form == PLAIN else merged, cells)


def _encode(records: object, cells: Iterable[bytes]) -> bytes:
    head = _encoder.encode(records)
    return b"".join((len(head).to_bytes(PREFIX_BYTES, "little"), head, *cells))


def _with_texts(records: Sequence[Record] | Sequence[Merged]) -> list[msgspec.Struct]:
    """Return records as those with texts for keys."""
    return [
        msgspec.structs.replace(record, key=record.key.decode())
        if isinstance(record, Put | Delete | Kept | Gone)
        else record
        for record in records
    ]


def decode(batch: Batch) -> tuple[list[Record], int]:
    """Return the records of a batch and where in its payload the cells begin. Raises Corruption if it holds none."""
    if not batch.payload:
        return [], 0
    if batch.format != PLAIN:
        revised, at = _decode(batch, _revised_decoder)
        return list[Record](revised.records), at
    plain_records, at = _decode(batch, _decoder)
    records = list[Record]()
    for record in plain_records:
        match record:
            case Opened():
                records.append(record)
            case _TextForwardedPut():
                key, *fields, forwarded = msgspec.structs.astuple(record)
                records.append(ForwardedPut(key.encode(), *fields, forwarded=forwarded))
            case _TextForwardedDelete(key=key, idempotency=idempotency, forwarded=forwarded):
                records.append(ForwardedDelete(key.encode(), idempotency, forwarded=forwarded))
            case _TextPut():
                key, *fields = msgspec.structs.astuple(record)
                records.append(Put(key.encode(), *fields))
            case _TextDelete(key=key, idempotency=idempotency):
                records.append(Delete(key.encode(), idempotency))
            case _:
                assert_never(record)
    return records, at


def revision_before(batch: Batch) -> int:
    """Return the revision that the store had before a batch with records. Raises Corruption."""
    return batch.first_sequence if batch.format == PLAIN else _decode(batch, _revision_decoder)[0][0]


def decode_merged(batch: Batch) -> tuple[list[Merged], int]:
    """Return the records of a batch of a merged segment, as `decode` does."""
    if batch.format != PLAIN:
        revised, at = _decode(batch, _revised_merged_decoder)
        return list[Merged](revised), at
    plain_records, at = _decode(batch, _merged_decoder)
    merged = list[Merged]()
    for record in plain_records:
        match record:
            case _TextKept():
                origin, sequence, key, *fields = msgspec.structs.astuple(record)
                merged.append(Kept(origin, sequence, key.encode(), *fields))
            case _TextGone(origin=origin, sequence=sequence, key=key):
                merged.append(Gone(origin, sequence, key.encode()))
            case _:
                merged.append(record)
    return merged, at


def _decode(batch: Batch, decoder: msgspec.msgpack.Decoder[T]) -> tuple[T, int]:
    payload = memoryview(batch.payload)
    begin = cells_at(batch.payload)
    try:
        return decoder.decode(payload[PREFIX_BYTES:begin]), begin
    except UNREADABLE as error:
        name = names.segment(batch.epoch, batch.number)
        raise Corruption(f"{name}: the records of the batch at offset {batch.offset} cannot be read: {error}") from None


def cells_at(payload: bytes) -> int:
    """Return where in a payload that is not empty the cells begin."""
    return PREFIX_BYTES + int.from_bytes(payload[:PREFIX_BYTES], "little")
