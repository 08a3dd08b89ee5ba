"""Checked blocks: 4096 bytes that are all zero, valid, or neither (docs/protocol.md, sections 1 and 2)."""

import struct
from enum import Enum

import xxhash

from hanas_core.volume.folder import BLOCK_BYTES

_MAGIC = b"HNsB"
_HEADER = struct.Struct("<4sIQ")

ZERO_BLOCK = bytes(BLOCK_BYTES)
PAYLOAD_BYTES = BLOCK_BYTES - _HEADER.size
"""The most that one block carries."""


class Blank(Enum):
    """What a block holds when it holds no payload."""

    ZERO = "zero"
    ROTTEN = "rotten"


def pack(payload: bytes, size: int = BLOCK_BYTES) -> bytes:
    """Return ``payload`` with length and checksum, padded with zeros to ``size`` bytes; ValueError if it is longer."""
    if len(payload) > size - _HEADER.size:
        raise ValueError(f"{len(payload)} bytes do not fit into a block of {size}")
    head = _HEADER.pack(_MAGIC, len(payload), xxhash.xxh3_64_intdigest(payload))
    return (head + payload).ljust(size, b"\0")


def unpack(block: bytes) -> bytes | Blank:
    """Return the payload of a block, or that it is all zero, or that it is neither."""
    if not any(block):
        return Blank.ZERO
    magic, length, checksum = _HEADER.unpack_from(block)
    payload = block[_HEADER.size : _HEADER.size + length]
    if magic != _MAGIC or len(payload) != length or xxhash.xxh3_64_intdigest(payload) != checksum:
        return Blank.ROTTEN
    return payload
