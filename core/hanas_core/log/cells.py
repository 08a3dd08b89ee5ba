"""A value as it lies in a segment, and how a part of it is read and checked (docs/protocol.md, section 6).

Behind the records of a batch come the cells of its values, in the order of the records. The cell of a value of at most
64 KiB is the value. That of a larger one begins with the xxh3-64 of each 64 KiB of it, so that a part can be read and
checked without the rest. The *checksum* of a value is the xxh3-64 of all of it, or of these sums.

In an encrypted segment each value is encrypted in parts of 64 KiB, and begins with the tags of these instead of sums.
"""

from typing import Protocol

import xxhash

from hanas_core.volume.encryption import TAG_BYTES, Cipher
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


def tags_size(size: int) -> int:
    """Return the size of the tags of an encrypted value of ``size`` bytes."""
    return -(-size // PART_BYTES) * TAG_BYTES


def widening(size: int) -> int:
    """Return how much more space a value of ``size`` bytes takes when it is encrypted, bytes."""
    return tags_size(size) - sums_size(size)


def front_size(size: int, cipher: Cipher | None) -> int:
    """Return what stands before a value in its segment, bytes. ``cipher``: of the segment."""
    return sums_size(size) if cipher is None else tags_size(size)


def encrypt(value: memoryview, offset: int, cipher: Cipher) -> list[memoryview]:
    """Return the tags of a value that begins at ``offset``, and then its parts, encrypted."""
    parts = [cipher.encrypt(offset + at, value[at : at + PART_BYTES]) for at in range(0, len(value), PART_BYTES)]
    return [tag for _, tag in parts] + [content for content, _ in parts]


def decrypt(tags: memoryview, content: memoryview, offset: int, cipher: Cipher, name: str) -> bytes:
    """Return what ``content`` is, parts of a value from ``offset`` on with their tags. Raises Corruption."""
    return b"".join(
        cipher.decrypt(offset + at, content[at : at + PART_BYTES], tags[tag : tag + TAG_BYTES], name)
        for at, tag in zip(range(0, len(content), PART_BYTES), range(0, len(tags), TAG_BYTES), strict=True)
    )


async def read_part(  # each is a fact of its own
    file: Readable,
    name: str,
    offset: int,
    size: int,
    checksum: int,
    part: tuple[int, int],
    cipher: Cipher | None = None,
) -> bytes:
    """Return the bytes ``part`` (begin, end) of a value that stands at ``offset`` of ``file``, checked.

    ``cipher``: of an encrypted segment. Reads no more than the parts of 64 KiB that it lies in. Raises Corruption,
    which says ``name`` and the offset.
    """
    if cipher is not None:
        return await _read_encrypted(file, name, offset, size, part, cipher)
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


async def _read_encrypted(
    file: Readable, name: str, offset: int, size: int, part: tuple[int, int], cipher: Cipher
) -> bytes:
    begin, end = part
    first, last = begin // PART_BYTES, -(-end // PART_BYTES)
    from_byte, to_byte = first * PART_BYTES, min(last * PART_BYTES, size)
    if from_byte >= to_byte:
        return b""
    front, width = offset - tags_size(size), (last - first) * TAG_BYTES
    if first == 0 and to_byte == size:  # the tags and the value lie side by side
        content = memoryview(await file.read(front, width + size))
        tags, content = content[:width], content[width:]
    else:
        tags = memoryview(await file.read(front + first * TAG_BYTES, width))
        content = memoryview(await file.read(offset + from_byte, to_byte - from_byte))
    value = decrypt(tags, content, offset + from_byte, cipher, name)
    return value if (from_byte, to_byte) == part else value[begin - from_byte : end - from_byte]


def _sums(content: bytes) -> bytes:
    view = memoryview(content)
    return b"".join(xxhash.xxh3_64_digest(view[at : at + PART_BYTES]) for at in range(0, len(content), PART_BYTES))


def _rotten(name: str, offset: int, size: int) -> Corruption:
    return Corruption(
        f"{name}: {size} bytes at offset {offset} are not the value that was written; run 'hanas fsck' on the folder"
    )
