"""The unit of the log: a batch of records with a checksum (docs/protocol.md, section 3).

    nonce u64      random, of the segment: a batch of another file is never taken for one of this
    checksum u64   xxh3-64, seeded with the nonce, over the rest of the header and the payload
    length u32     header and payload, bytes, before the padding to a multiple of 8
    kind u16       0 records, 1 "continues in the next segment", 2 records of a merged segment
    format u16     of the records: 0, or 3 where they have revisions (hanas_core.log.records)
    epoch u64      whose main wrote these bytes
    origin u64     epoch of the original write; differs from `epoch` in re-logged batches
    first u64      sequence of the first record
    count u32      number of records
    committed u32, u64   commit position known when this was written: segment number and offset; 0, 0: none yet
    offset u64     where in the segment this header stands

Zeros where a header should be are the end of the log.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

import xxhash

from hanas_core.log.positions import NOWHERE, Position
from hanas_core.volume.folder import BLOCK_BYTES

_HEADER = struct.Struct("<QQIHHQQQIIQQ")
_CHECKED_FROM = 16
FIRST_OFFSET = BLOCK_BYTES
"""Where the first batch of a segment stands: behind its header block."""
HEADER_BYTES = _HEADER.size
_ALIGN_BYTES = 8
_ZERO_HEADER = bytes(HEADER_BYTES)


class Kind(IntEnum):
    """What a batch is for."""

    RECORDS = 0
    CONTINUES = 1
    MERGED = 2
    """Records that carry their versions, in a segment that compaction made (hanas_core.upkeep.compaction)."""


class Batch(NamedTuple):
    """A valid batch as it was read, or one to be written (``offset`` and ``committed`` are then set by the writer)."""

    origin: int
    first_sequence: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which says nothing here
    payload: bytes
    kind: Kind = Kind.RECORDS
    epoch: int = 0
    number: int = 0
    offset: int = 0
    end: int = 0
    committed: Position | None = None
    encrypted: bool = False
    """It stands encrypted in its segment: other sizes, so other places. The payload here is plain all the same."""
    format: int = 0
    """Of the records (hanas_core.log.records); 0 for a batch without any."""

    @property
    def position(self) -> Position:
        """Where the reader is after this batch."""
        return Position(self.epoch, self.number, self.end)


class Fault(IntEnum):
    """Why there is no batch at an offset."""

    ZERO = 0
    """Nothing was written here: the end."""
    SHORT = 1
    """The header asks for more bytes than are at hand."""
    BAD = 2
    """Something was written, but it is no valid batch: torn, being written, or rotten."""


def size_of(payload_bytes: int) -> int:
    """Return the space that a batch with a payload of this many bytes takes, bytes."""
    return -(-(HEADER_BYTES + payload_bytes) // _ALIGN_BYTES) * _ALIGN_BYTES


def encode(batch: Batch, nonce: int) -> bytes:
    """Return the bytes of ``batch`` for its place in the segment with ``nonce``."""
    origin, first, count, payload, kind, epoch, _, own, _, committed, _, form = batch
    _, c_number, c_offset = committed or NOWHERE
    length = HEADER_BYTES + len(payload)
    header = _HEADER.pack(nonce, 0, length, kind, form, epoch, origin, first, count, c_number, c_offset, own)
    rest = header[_CHECKED_FROM:]
    digest = xxhash.xxh3_64(rest, seed=nonce)
    digest.update(payload)
    head = struct.pack("<QQ", nonce, digest.intdigest())
    return b"".join((head, rest, payload, bytes(size_of(len(payload)) - length)))


def decode(content: bytes, at: int, offset: int, *, nonce: int, epoch: int, number: int) -> Batch | Fault:
    """Return the batch at index ``at`` of ``content``, ``offset`` in its segment, or why there is none."""
    head = content[at : at + HEADER_BYTES]
    if len(head) < HEADER_BYTES:
        return Fault.SHORT
    if head == _ZERO_HEADER:
        return Fault.ZERO
    seed, checksum, length, kind, form, wrote, origin, first, count, c_number, c_offset, own = _HEADER.unpack(head)
    if seed != nonce or own != offset or wrote != epoch or length < HEADER_BYTES or kind > Kind.MERGED:
        return Fault.BAD
    if at + length > len(content):
        return Fault.SHORT
    body = memoryview(content)[at + _CHECKED_FROM : at + length]
    if xxhash.xxh3_64_intdigest(body, seed=nonce) != checksum:
        return Fault.BAD
    return Batch(
        origin=origin,
        first_sequence=first,
        count=count,
        payload=content[at + HEADER_BYTES : at + length],
        kind=Kind(kind),
        epoch=epoch,
        number=number,
        offset=offset,
        end=offset + size_of(length - HEADER_BYTES),
        committed=Position(epoch, c_number, c_offset) if c_number else None,
        format=form,
    )


def length_at(content: bytes, at: int) -> int:
    """Return how long the header at index ``at`` of ``content`` says that its batch is, without padding, bytes."""
    length: int = _HEADER.unpack_from(content, at)[2]
    return length


def salvage(content: bytes, at: int) -> Batch | None:
    """Return as much of a damaged batch as its header may be believed; None if that is nothing."""
    if len(content) - at < HEADER_BYTES:
        return None
    _, _, length, kind, form, _, origin, first, count, *_ = _HEADER.unpack_from(content, at)
    payload = content[at + HEADER_BYTES : at + length]
    return Batch(origin, first, count, payload, Kind(kind), format=form) if kind in set(Kind) else None


def find_later(content: bytes, offset: int, *, nonce: int, epoch: int, number: int) -> int | None:
    """Return the offset of the first valid batch in ``content``, which starts at ``offset``; None if there is none."""
    begin = struct.pack("<Q", nonce)
    at = content.find(begin)
    while at >= 0:
        if isinstance(decode(content, at, offset + at, nonce=nonce, epoch=epoch, number=number), Batch):
            return offset + at
        at = content.find(begin, at + 1)
    return None
