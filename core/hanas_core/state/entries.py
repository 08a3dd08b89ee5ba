"""What the index holds of a key: packed, since there may be millions of them and each byte counts."""

import struct
from typing import NamedTuple

from hanas_core.log.positions import Position, Version

DEFAULT_TYPE = "application/octet-stream"
_FIXED = struct.Struct("<QQQIIIQ")
_VERSION = struct.Struct("<QQ")
_PLACE = struct.Struct("<16xQI4xI")


class Entry(NamedTuple):
    """The version of a key's value, where the value lies, and what it is."""

    origin: int
    sequence: int
    place_epoch: int
    place_number: int
    place_offset: int
    """The value begins here in segment ``place_number`` of epoch ``place_epoch``, behind its sums. Bytes."""
    size: int
    checksum: int
    """Checksum (hanas_core.log.cells)."""
    content_type: str

    @property
    def version(self) -> Version:
        """Epoch and sequence of the write that made the value."""
        return Version(self.origin, self.sequence)

    @property
    def place(self) -> Position:
        """Where the value begins."""
        return Position(self.place_epoch, self.place_number, self.place_offset)


def pack(
    origin: int, sequence: int, epoch: int, number: int, offset: int, size: int, checksum: int, content_type: str
) -> bytes:
    """Return the fields of an entry in 44 bytes, and the content type if it is not the default."""
    fixed = _FIXED.pack(origin, sequence, epoch, number, offset, size, checksum)
    return fixed if content_type == DEFAULT_TYPE else fixed + b"\0" + content_type.encode()


def unpack(packed: bytes) -> Entry:
    """Return the entry."""
    content_type = packed[_FIXED.size + 1 :].decode() if len(packed) > _FIXED.size else DEFAULT_TYPE
    return Entry._make((*_FIXED.unpack_from(packed), content_type))


def version_of(packed: bytes) -> tuple[int, int]:
    """Return the version alone."""
    return _VERSION.unpack_from(packed)


def place_of(packed: bytes) -> tuple[tuple[int, int], int]:
    """Return the segment that the value lies in, and its size."""
    epoch, number, size = _PLACE.unpack_from(packed)
    return (epoch, number), size
