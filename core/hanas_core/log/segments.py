"""Segment files: made from prepared space, written by one main only, read by everyone (docs/protocol.md, section 3).

A segment is zero-written and synced under a temporary name ahead of its use, and linked to its final name, also ahead
where it is the next one of an epoch. To use it, its header block is written. It never changes its size.
"""

from typing import Annotated

import msgspec

from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Fault, decode, find_later, length_at, size_of
from hanas_core.log.encrypted import decrypt
from hanas_core.volume import blocks, identity, names, reading
from hanas_core.volume.blocks import Blank
from hanas_core.volume.encryption import Cipher, Encryption
from hanas_core.volume.errors import Corruption, FolderUnavailable, NoSpace
from hanas_core.volume.folder import BLOCK_BYTES, NOTHING, File, Folder, Room
from hanas_core.volume.publish import give_name

MARKER_BYTES = size_of(0)
"""What the marker "continues in the next segment" takes; always kept free."""
_OVERHEAD_PART, _OVERHEAD_BYTES = 64, 64 << 10
"""What a file takes beside its content, about: this part of it, and this much."""
_FIRST_READ_BYTES = BLOCK_BYTES
_MOST_READ_BYTES = 1 << 20
_MOST_BYTES = 1 << 31
"""No segment is larger than this."""


class SegmentHeader(msgspec.Struct, frozen=True, rename="camel"):
    """Block 0 of a segment."""

    folder_id: str
    epoch: int
    number: int
    nonce: Annotated[int, msgspec.Meta(ge=1)]
    """Random, not zero: every batch begins with it, and its checksum is seeded with it."""
    size: Annotated[int, msgspec.Meta(ge=BLOCK_BYTES, le=_MOST_BYTES)]
    """Size of the file, bytes."""
    previous_end: Annotated[int, msgspec.Meta(ge=0, le=_MOST_BYTES)] = 0
    """Where the epoch's segment before this one ends, behind its marker, bytes; 0 for the first."""
    encryption: Encryption | msgspec.UnsetType = msgspec.UNSET
    """Unset: it is plain."""


def capacity(size: int) -> int:
    """Return how many bytes of batches fit into a segment of ``size`` bytes beside its header and its marker."""
    return size - FIRST_OFFSET - MARKER_BYTES


async def prepare(folder: Folder, owner: str, incarnation: str, size: int, keep_free: Room = NOTHING) -> str:
    """Make zero-written, synced space for a later segment; return its temporary name.

    Raises NoSpace, without writing anything, where less than ``keep_free`` would be left.
    """
    room = await folder.room()
    if room.bytes < size + keep_free.bytes + size // _OVERHEAD_PART + _OVERHEAD_BYTES:
        raise NoSpace(
            f"{names.TEMPORARY}: {size} bytes and {keep_free.bytes} to spare are needed, {room.bytes} bytes are free"
        )
    if room.files <= keep_free.files:
        raise NoSpace(
            f"{names.TEMPORARY}: a file and {keep_free.files} to spare are needed, {room.files} files (inodes) are free"
        )
    name = names.temporary(owner, incarnation, folder.nonce())
    await folder.allocate(name, size)
    return name


def new_nonce(folder: Folder) -> int:
    """Return the nonce of a new segment: 62 random bits and a one."""
    return int(folder.nonce(), 16) % (1 << 63) | 1


def new_header(
    folder: Folder, folder_id: str, epoch: int, number: int, size: int, previous_end: int = 0
) -> SegmentHeader:
    """Return the header of a new segment, with its own nonce, encrypted where the folder has a key to write with."""
    encryption = folder.keys.begin(folder.nonce)
    return SegmentHeader(folder_id, epoch, number, new_nonce(folder), size, previous_end, encryption)


def cipher_of(folder: Folder, header: SegmentHeader) -> Cipher | None:
    """Return what the batches of a segment are encrypted with, None for a plain one. Raises KeyMissing."""
    about = f"hanas segment {header.folder_id} {header.epoch} {header.number}"
    return folder.keys.cipher(header.encryption, about, names.segment(header.epoch, header.number))


async def take_name(folder: Folder, spare: str, epoch: int, number: int) -> None:
    """Give prepared space the name of a segment beside its temporary one, durably.

    Its block 0 is still zero, so it says nothing to anyone. After an error it may be repeated, with this or with other
    space: the name then leads to one of them. Raises FolderError; NoSpace where the directory has no room for a name.
    """
    await give_name(folder, spare, names.segment(epoch, number))


async def begin(folder: Folder, spare: str, header: SegmentHeader) -> File:
    """Turn prepared space into a segment and open it to append; file and name are durable when this returns."""
    await take_name(folder, spare, header.epoch, header.number)
    return await begin_named(folder, spare, header)


async def begin_named(folder: Folder, spare: str, header: SegmentHeader) -> File:
    """Turn the space that has got its name by `take_name` into a segment; this takes no more room on the volume.

    Of that space, zero as yet, nobody but this main has the use: it is the only one that names segments of its epoch.
    """
    name = names.segment(header.epoch, header.number)
    if any(await (await reading.open_recorded(folder, name, "read")).read(0, BLOCK_BYTES)):
        raise FolderUnavailable(f"{name}: the name is taken by a segment that this main did not make")
    file = await folder.open(name, "blocks")
    await file.write_block(0, blocks.encode(header))
    if await read_header(folder, header.epoch, header.number) != header:
        raise FolderUnavailable(f"{name}: the name leads to another file than a moment ago")
    await folder.remove(spare)
    return await folder.open(name, "append")


async def read_header(folder: Folder, epoch: int, number: int) -> SegmentHeader:
    """Return the header of a segment whose name is recorded. Raises Corruption if it is not this segment's."""
    return (await _open(folder, epoch, number))[1]


async def open_values(folder: Folder, epoch: int, number: int) -> tuple[File, Cipher | None]:
    """Open a segment whose name is recorded, to read values from their places. Raises KeyMissing, Corruption."""
    if not folder.keys.ids:  # then nothing of the log is encrypted: its reader would not have come this far
        return await reading.open_recorded(folder, names.segment(epoch, number), "read"), None
    file, header = await _open(folder, epoch, number)
    return file, cipher_of(folder, header)


async def _open(folder: Folder, epoch: int, number: int) -> tuple[File, SegmentHeader]:
    name = names.segment(epoch, number)
    file = await reading.open_recorded(folder, name, "read")
    header = blocks.decode(await file.read(0, BLOCK_BYTES), SegmentHeader, name, 0)
    if isinstance(header, Blank):
        problem = NotBegun if header is Blank.ZERO else Corruption
        raise problem(f"{name}: the header at offset 0 is {header.value}")
    if (header.epoch, header.number) != (epoch, number):
        raise NotBegun(f"{name}: the header at offset 0 is that of segment {header.epoch}/{header.number}")
    identity.check(folder, header.folder_id, name)
    return file, header


class NotBegun(Corruption):
    """A segment that has its name and no header of its own: corruption where the log says that it was begun."""


class SegmentReader:
    """Reads the batches of one segment."""

    def __init__(
        self, file: File, header: SegmentHeader, cipher: Cipher | None, most_bytes: int = _MOST_READ_BYTES
    ) -> None:
        """Use an open file, its header and its cipher. Reads grow up to ``most_bytes``, or to what one batch needs."""
        self.header = header
        self._file = file
        self._cipher = cipher
        self._most_bytes = most_bytes
        self._read_bytes = _FIRST_READ_BYTES

    @classmethod
    async def open(
        cls, folder: Folder, epoch: int, number: int, *, most_bytes: int = _MOST_READ_BYTES
    ) -> "SegmentReader":
        """Open a segment that a manifest or a marker names. Raises NotBegun, Corruption, KeyMissing."""
        file, header = await _open(folder, epoch, number)
        return cls(file, header, cipher_of(folder, header), most_bytes)

    async def take(self, offset: int, end: int | None = None) -> tuple[list[Batch], Fault | None]:
        """Return the batches from ``offset`` on, as far as one read reaches, and what stopped it.

        ``end`` (bytes) limits what is read. The fault is None when there may be more: call again behind the last batch.
        Reads grow from 4 KiB on while they find full buffers, so that an idle tail costs next to nothing.
        """
        rest = (self.header.size if end is None else end) - offset
        length = min(self._read_bytes, rest)
        while True:
            content = await self._file.read(offset, length) if length > 0 else b""
            batches, used, fault = self._decode(content, offset)
            if fault is not Fault.SHORT:
                self._read_bytes = _FIRST_READ_BYTES
                return batches, fault
            if batches:
                self._read_bytes = min(2 * self._read_bytes, self._most_bytes)
                return batches, None
            if length >= rest:
                # Nothing but padding fits behind the last batch, or a length that points beyond the end.
                return [], Fault.ZERO if rest - used < HEADER_BYTES else Fault.BAD
            length = min(max(2 * length, length_at(content, 0) + MARKER_BYTES), rest)

    def _decode(self, content: bytes, offset: int) -> tuple[list[Batch], int, Fault]:
        header, cipher, at = self.header, self._cipher, 0
        batches: list[Batch] = []
        while True:
            batch = decode(content, at, offset + at, nonce=header.nonce, epoch=header.epoch, number=header.number)
            if isinstance(batch, Fault):
                return batches, at, batch
            batches.append(batch if cipher is None else decrypt(batch, cipher))
            at = batch.end - offset

    async def later_batch(self, offset: int) -> int | None:
        """Return where the first valid batch behind ``offset`` stands, None if there is none: torn or rotten?"""
        content = await self._file.read(offset, self.header.size - offset)
        return find_later(content, offset, nonce=self.header.nonce, epoch=self.header.epoch, number=self.header.number)
