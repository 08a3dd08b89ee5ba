"""What the index holds of a key: packed, since there may be millions of them and each byte counts.

Most keys are written once: 44 bytes tell all of such a version. Of others a byte behind them says what else follows.
"""

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from hanas_core.log.positions import Facts, Position, Version

DEFAULT_TYPE = "application/octet-stream"
_FIXED = struct.Struct("<IQIIIIQQ")
_NEXT = struct.Struct("<IQIIIIQQBQQ")
"""The same and what follows first, of a key that was there before."""
_VERSION = struct.Struct("<IQ")
_PLACE = struct.Struct("<12xII4xI")
_SIZE = struct.Struct("<24xI")
_REVISION = struct.Struct("<36xQ")
_GRAVE = struct.Struct("<Q")
_REWRITTEN, _LEASED, _TYPED = 1, 2, 4
"""What follows: the revision of the creation and the generation; the lease; the content type."""
# slow to look up, in the way of every request
_FIXED_BYTES, _pack_first, _pack_next = _FIXED.size, _FIXED.pack, _NEXT.pack
_unpack_next = struct.Struct("<45xQQ").unpack_from
_unpack_all_but_revision = struct.Struct("<IQIIIIQ").unpack_from
_TWO, _ONE = struct.Struct("<QQ"), struct.Struct("<Q")
_TAILS = {flags: bytes([flags]) for flags in range(8)}


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
    packed: bytes

    @property
    def facts(self) -> Facts:
        """What else is told of the version."""
        return facts_in(self.packed)

    @property
    def version(self) -> Version:
        """Epoch and sequence of the write that made the value."""
        return Version(self.origin, self.sequence)

    @property
    def place(self) -> Position:
        """Where the value begins."""
        return Position(self.place_epoch, self.place_number, self.place_offset)


_entry_of: Callable[[Iterable[Any]], Entry] = partial(tuple.__new__, Entry)
"""What `Entry._make` does, without a call of Python: it is in the way of every read."""


def pack(  # noqa: PLR0913, PLR0917  # a row of a table
    origin: int,
    sequence: int,
    epoch: int,
    number: int,
    offset: int,
    size: int,
    checksum: int,
    content_type: str,
    revision: int,
    create: int,
    generation: int = 1,
    lease: int = 0,
) -> bytes:
    """Return an entry in 44 bytes, and what is not the usual behind them. Epochs are below 2³²."""
    rewritten, typed = generation != 1 or create != revision, content_type != DEFAULT_TYPE
    flags = (_REWRITTEN if rewritten else 0) | (_LEASED if lease else 0) | (_TYPED if typed else 0)
    if rewritten:
        packed = _pack_next(
            origin, sequence, epoch, number, offset, size, checksum, revision, flags, create, generation
        )
    else:
        packed = _pack_first(origin, sequence, epoch, number, offset, size, checksum, revision)
        if flags:
            packed += _TAILS[flags]
    if lease:
        packed += _ONE.pack(lease)
    return packed + content_type.encode() if typed else packed


def lease_in(packed: bytes) -> int:
    """Return the lease that a key is attached to, 0 for none."""
    return facts_in(packed).lease if len(packed) > _FIXED.size and packed[_FIXED.size] & _LEASED else 0


def unpack(packed: bytes) -> Entry:
    """Return the entry."""
    typed = len(packed) > _FIXED_BYTES and packed[_FIXED_BYTES] & _TYPED
    content_type = _type_in(packed) if typed else DEFAULT_TYPE
    return _entry_of((*_unpack_all_but_revision(packed), content_type, packed))


def _type_in(packed: bytes) -> str:
    flags = packed[_FIXED.size]
    at = _FIXED.size + 1 + (_TWO.size if flags & _REWRITTEN else 0) + (_ONE.size if flags & _LEASED else 0)
    return packed[at:].decode()


def facts_in(packed: bytes) -> Facts:
    """Return the facts alone."""
    revision: int = _REVISION.unpack_from(packed)[0]
    create, generation, lease = revision, 1, 0
    if len(packed) > _FIXED.size:
        flags, at = packed[_FIXED.size], _FIXED.size + 1
        if flags & _REWRITTEN:
            create, generation = _TWO.unpack_from(packed, at)
            at += _TWO.size
        if flags & _LEASED:
            (lease,) = _ONE.unpack_from(packed, at)
    return Facts(revision, create, generation, lease)


def moved(packed: bytes, place: Position) -> bytes:
    """Return the entry with another place."""
    origin, sequence, _, _, _, *rest = _FIXED.unpack_from(packed)
    return _FIXED.pack(origin, sequence, *place, *rest) + packed[_FIXED.size :]


def version_of(packed: bytes) -> tuple[int, int]:
    """Return the version alone."""
    return _VERSION.unpack_from(packed)


def size_in(packed: bytes) -> int:
    """Return the size of the value, bytes."""
    size: int = _SIZE.unpack_from(packed)[0]
    return size


def successor_in(packed: bytes) -> tuple[int, int]:
    """Return creation and generation of what replaces an entry."""
    if len(packed) > _FIXED_BYTES and packed[_FIXED_BYTES] & _REWRITTEN:
        create, generation = _unpack_next(packed)
        return create, generation + 1
    return _REVISION.unpack_from(packed)[0], 2


def place_of(packed: bytes) -> tuple[tuple[int, int], int]:
    """Return the segment that the value lies in, and its size."""
    epoch, number, size = _PLACE.unpack_from(packed)
    return (epoch, number), size


def grave(revision: int) -> bytes:
    """Return what is known of a key that was deleted by ``revision``."""
    return _GRAVE.pack(revision)


def is_grave(packed: bytes) -> bool:
    """Return whether this is no entry, but what is known of a key that was deleted."""
    return len(packed) == _GRAVE.size


def revision_in(packed: bytes) -> int:
    """Return the revision that made an entry, or that deleted its key."""
    revision: int = (_GRAVE if len(packed) == _GRAVE.size else _REVISION).unpack_from(packed)[0]
    return revision
