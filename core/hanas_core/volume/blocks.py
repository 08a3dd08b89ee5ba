"""Checked blocks: 4096 bytes that are all zero, valid, or neither (docs/protocol.md, sections 1 and 2)."""

import struct
from enum import Enum
from typing import TypeVar

import msgspec
import xxhash

from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import BLOCK_BYTES

_MAGIC = b"HNsB"
T = TypeVar("T", bound=msgspec.Struct)
_HEADER = struct.Struct("<4sIQ")

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoders raise at content that is something else: also bytes that are no UTF-8, and too deep a nesting."""

ZERO_BLOCK = bytes(BLOCK_BYTES)
HEAD_BYTES = _HEADER.size
PAYLOAD_BYTES = BLOCK_BYTES - HEAD_BYTES
"""The most that one block carries."""


class Blank(Enum):
    """What a block holds when it holds no payload."""

    ZERO = "zero"
    ROTTEN = "rotten"


def pack(payload: bytes, size: int = BLOCK_BYTES) -> bytes:
    """Return ``payload`` with length and checksum, padded with zeros to ``size`` bytes; ValueError if it is longer."""
    if len(payload) > size - HEAD_BYTES:
        raise ValueError(f"{len(payload)} bytes do not fit into a block of {size}")
    head = _HEADER.pack(_MAGIC, len(payload), xxhash.xxh3_64_intdigest(payload))
    return (head + payload).ljust(size, b"\0")


def unpack(block: bytes) -> bytes | Blank:
    """Return the payload of a block, or that it is all zero, or that it is neither."""
    if not block.rstrip(b"\0"):
        return Blank.ZERO
    magic, length, checksum = _HEADER.unpack_from(block)
    payload = block[HEAD_BYTES : HEAD_BYTES + length]
    if magic != _MAGIC or len(payload) != length or xxhash.xxh3_64_intdigest(payload) != checksum:
        return Blank.ROTTEN
    return payload


def encode(content: msgspec.Struct, size: int = BLOCK_BYTES) -> bytes:
    """Return a block that holds ``content`` as JSON."""
    return pack(msgspec.json.encode(content), size)


def decode(block: bytes, kind: type[T], name: str, offset: int) -> T | Blank:
    """Return what a block at ``offset`` of ``name`` holds as JSON. Raises Corruption if it is something else."""
    payload = unpack(block)
    return payload if isinstance(payload, Blank) else parse(payload, kind, name, offset)


def parse(payload: bytes, kind: type[T], name: str, offset: int) -> T:
    """Return what the payload of such a block says. Raises Corruption if it is something else."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except UNREADABLE as error:
        raise Corruption(f"{name}: the block at offset {offset} holds no {kind.__name__}: {error}") from None
