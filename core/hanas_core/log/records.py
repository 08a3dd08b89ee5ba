"""What a batch carries: changes to keys, or in a merged segment what is left of them.

The payload is the length of what follows (u32, little-endian), the records as one MessagePack array, and behind it the
cells of their values in the same order (hanas_core.log.cells).
So a reader finds the place of every value without touching it.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from hanas_core.log.batches import Batch
from hanas_core.volume import names
from hanas_core.volume.blocks import UNREADABLE
from hanas_core.volume.errors import Corruption

T = TypeVar("T")


class Idempotency(msgspec.Struct, frozen=True, array_like=True):
    """A client's idempotency key and the hash of the request that came with it."""

    key: str
    request: bytes


class Put(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A key gets a value."""

    key: str
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

    key: str
    idempotency: Idempotency | None = None


Record = Put | Delete


class Kept(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """In a merged segment: a key has this value since the write ``sequence`` of epoch ``origin``."""

    origin: int
    sequence: int
    key: str
    size: int
    checksum: int
    content_type: str


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """In a merged segment: a key that an earlier segment may hold went with this write."""

    origin: int
    sequence: int
    key: str


class Remembered(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """In a merged segment: what a write that came with an idempotency key did."""

    origin: int
    sequence: int
    idempotency: Idempotency
    created: bool
    deleted: bool


class Reached(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """The last record of what was merged together: the state now holds every write up to ``sequence``."""

    sequence: int


Merged = Kept | Gone | Remembered | Reached

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])
_merged_decoder = msgspec.msgpack.Decoder(list[Merged])
PREFIX_BYTES = 4


def encode(records: Sequence[Record] | Sequence[Merged], cells: Iterable[bytes] = ()) -> bytes:
    """Return the payload of a batch, empty for none. ``cells``: those of the values, in order, maybe in pieces."""
    if not records:
        return b""
    head = _encoder.encode(records)
    return b"".join((len(head).to_bytes(PREFIX_BYTES, "little"), head, *cells))


def decode(batch: Batch) -> tuple[list[Record], int]:
    """Return the records of a batch and where in its payload the cells begin. Raises Corruption if it holds none."""
    return _decode(batch, _decoder) if batch.payload else ([], 0)


def decode_merged(batch: Batch) -> tuple[list[Merged], int]:
    """Return the records of a batch of a merged segment, as `decode` does."""
    return _decode(batch, _merged_decoder)


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
