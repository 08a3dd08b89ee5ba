"""A value as it lies in a segment, and how a part of it is read and checked (docs/protocol.md, section 6).

Behind the records of a batch come the cells of its values, in the order of the records. The cell of a value of at most
64 KiB is the value. That of a larger one begins with the xxh3-64 of each 64 KiB of it, so that a part can be read and
checked without the rest. The *checksum* of a value is the xxh3-64 of all of it, or of these sums.
"""

from typing import Protocol

import xxhash

from hanas_core.volume.errors import Corruption

PART_BYTES = 64 << 10
_SUM_BYTES = 8


class Readable(Protocol):
    """What values are read from: an open file, or a part of one in memory."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes."""


def sums_of(value: bytes) -> bytes:
    """Return what stands before a value in its cell; nothing for one that is checked as a whole."""
    return b"" if len(value) <= PART_BYTES else _sums(value)


def checksum_of(value: bytes, sums: bytes) -> int:
    """Return the checksum of a value with these sums."""
    return xxhash.xxh3_64_intdigest(sums or value)


def sums_size(size: int) -> int:
    """Return the size of the sums of a value of ``size`` bytes."""
    return 0 if size <= PART_BYTES else -(-size // PART_BYTES) * _SUM_BYTES


def cell_size(size: int) -> int:
    """Return the size of the cell of a value of ``size`` bytes."""
    return size if size <= PART_BYTES else size + sums_size(size)


async def read_part(file: Readable, name: str, offset: int, size: int, checksum: int, part: tuple[int, int]) -> bytes:
    """Return the bytes ``part`` (begin, end) of a value that stands at ``offset`` of ``file``, checked.

    Reads no more than the parts of 64 KiB that it lies in. Raises Corruption, which says ``name`` and the offset.
    """
    begin, end = part
    if size <= PART_BYTES:
        value = await file.read(offset, size) if size else b""
        if xxhash.xxh3_64_intdigest(value) != checksum:
            raise _rotten(name, offset, size)
        return value[begin:end]
    width = sums_size(size)
    first, last = begin // PART_BYTES, -(-end // PART_BYTES)
    from_byte, to_byte = first * PART_BYTES, min(last * PART_BYTES, size)
    if first == 0:  # the sums and the beginning of the value lie side by side
        content = await file.read(offset - width, width + to_byte)
        sums, content = content[:width], content[width:]
    else:
        sums, content = await file.read(offset - width, width), await file.read(offset + from_byte, to_byte - from_byte)
    if xxhash.xxh3_64_intdigest(sums) != checksum:
        raise _rotten(name, offset - width, width)
    if _sums(content) != sums[first * _SUM_BYTES : last * _SUM_BYTES]:
        raise _rotten(name, offset + from_byte, len(content))
    return content[begin - from_byte : end - from_byte]


def _sums(content: bytes) -> bytes:
    view = memoryview(content)
    return b"".join(xxhash.xxh3_64_digest(view[at : at + PART_BYTES]) for at in range(0, len(content), PART_BYTES))


def _rotten(name: str, offset: int, size: int) -> Corruption:
    return Corruption(
        f"{name}: {size} bytes at offset {offset} are not the value that was written; run 'hanas fsck' on the folder"
    )
