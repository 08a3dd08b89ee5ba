"""Snapshots of the index, so that a cold start reads keys and places instead of the whole log (docs/protocol.md, 3.7).

A snapshot only saves time: a reader that finds none, or a damaged one, reads the log. It begins with a checked block,
and the rest is frames:

    length u32, xxh3-64 u64, payload: MessagePack, one array of keys and one of their entries, or of idempotency keys,
    or of sessions, or of leases, or of changes of the past

It is written beside the traffic, so it may contain later writes; all of them are committed. A reader goes on from
``position``, where writing began, and the later writes come once more. The past is written last, up to the moment when
nothing more had come: a reader notes no change of these later writes a second time.
"""

import struct
from collections.abc import Iterator
from typing import Annotated, NamedTuple, assert_never

import msgspec
import xxhash
from msgspec.structs import astuple

from hanas_core.log import records
from hanas_core.log.positions import Position, Version, plain
from hanas_core.state import history
from hanas_core.state.entries import DEFAULT_TYPE, pack
from hanas_core.state.index import Index
from hanas_core.state.keyspace import Segment
from hanas_core.state.leases import Lease
from hanas_core.state.remembered import Done
from hanas_core.state.sessions import Change, Session
from hanas_core.volume import blocks, identity, names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.encryption import TAG_BYTES, Cipher, Encryption
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.publish import give_name

KEYS_AT_ONCE = 2048
"""Keys in a frame."""
SESSIONS_AT_ONCE = 16
"""Sessions in a frame."""
_FRAME = struct.Struct("<IQ")
_READ_BYTES = 4 << 20


class SnapshotHeader(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Block 0 of a snapshot."""

    folder_id: str
    position: Position
    """Where in the log a reader goes on."""
    sequence: int
    """Of the last write before ``position``."""
    merged: tuple[Segment, ...]
    """The merged segments whose values the entries know."""
    keys: int
    size: Annotated[int, msgspec.Meta(ge=BLOCK_BYTES)]
    """Of the whole file, bytes."""
    encryption: Encryption | msgspec.UnsetType = msgspec.UNSET
    """Unset: it is plain."""
    revision: int = 0
    """At ``sequence``; 0: there was none in its log."""
    form: int = records.PLAIN
    """The newest of the records before ``position``."""
    noted: int = 0
    """The changes of the past are told up to this revision."""
    compacted: int = 0
    """Below this revision nothing of the past is told."""


class Ending(NamedTuple):
    """What is known of a snapshot when its last frame is made."""

    keys: int
    noted: int
    compacted: int


class _Keys(msgspec.Struct, frozen=True, array_like=True, tag="K"):
    keys: list[bytes]
    entries: list[bytes]


class _PlainKeys(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """Keys of a log without revisions."""

    keys: list[str]
    entries: list[bytes]


class _DoneFrame(msgspec.Struct, frozen=True, array_like=True, tag="D"):
    done: list[tuple[str, bytes, int, int, bool, bool, int, int, int]]


class _PlainDoneFrame(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """Idempotency keys of a log without revisions."""

    done: list[tuple[str, bytes, int, int, bool, bool, int, int]]


class _Past(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """Changes in their order; the last of a key may be known to be a delete."""

    changes: list[tuple[int, bytes, bytes | None, bool]]


_SessionRow = tuple[int, int, str, int, list[tuple[int, int, int, bool, bool]]]
"""Epoch and sequence of the record that opened it, member, lowest; of each write number, version, created, deleted."""


class _SessionsFrame(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    sessions: list[_SessionRow]


_LeaseRow = tuple[int, int, int, int, int, int]
"""Id, epoch and sequence of its grant, seconds to live, seconds that remain, sequence of what tells them."""


class _LeasesFrame(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    leases: list[_LeaseRow]


_Content = _Keys | _DoneFrame | _SessionsFrame | _LeasesFrame | _Past | _PlainKeys | _PlainDoneFrame
_decoder: msgspec.msgpack.Decoder[_Content] = msgspec.msgpack.Decoder(_Content)
_PLAIN_ENTRY = struct.Struct("<QQQIIIQ")


def name_of(position: Position) -> str:
    """Return the name of a snapshot from which a reader goes on at ``position``; names are in the order of the log."""
    return f"{names.SNAPSHOTS}/{position.epoch:010d}-{position.number:07d}-{position.offset:010d}"


def cipher_of(folder: Folder, header: SnapshotHeader) -> Cipher | None:
    """Return what the frames of a snapshot are encrypted with, None for a plain one. Raises KeyMissing."""
    epoch, number, offset = header.position
    about = f"hanas snapshot {header.folder_id} {epoch} {number} {offset}"
    return folder.keys.cipher(header.encryption, about, name_of(header.position))


class SnapshotFrames:
    """The payloads of the frames. It belongs to the owner of the index, which may change between two of them."""

    def __init__(self, index: Index) -> None:
        """Take the idempotency keys, the sessions and the leases as they are now."""
        self._index = index
        self._done = index.remembered.all()
        self._sessions = [_row(version, session) for version, session in index.sessions.all()]
        self._leases = index.leases.all()
        self._count = 0
        """How many keys the frames hold so far."""

    @property
    def ending(self) -> Ending:
        """What to end the file with, right after the last frame."""
        return Ending(self._count, self._index.revision, self._index.compacted)

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""
        yield msgspec.msgpack.encode(_DoneFrame([(key, *astuple(done)) for key, done in self._done]))
        for at in range(0, len(self._sessions), SESSIONS_AT_ONCE):
            yield msgspec.msgpack.encode(_SessionsFrame(self._sessions[at : at + SESSIONS_AT_ONCE]))
        for at in range(0, len(self._leases), KEYS_AT_ONCE):
            leases = self._leases[at : at + KEYS_AT_ONCE]
            yield msgspec.msgpack.encode(_LeasesFrame([(lease, *astuple(content)) for lease, content in leases]))
        keys, after, number = self._index.keys, b"", 0
        while rows := keys.packed_after(after, KEYS_AT_ONCE):
            self._count += len(rows)
            after = rows[-1][0]
            yield msgspec.msgpack.encode(_Keys([key for key, _ in rows], [entry for _, entry in rows]))
        while True:
            number, changes = keys.changes_from(number, KEYS_AT_ONCE)
            if not changes:
                return
            yield msgspec.msgpack.encode(_Past([(*change, deleted) for change, deleted in changes]))


class SnapshotFile:
    """The file of a snapshot that is being written. It belongs to the thread that writes."""

    def __init__(self, folder: Folder, temporary: str, header: SnapshotHeader) -> None:
        """Write under a temporary name first. ``header``: as far as it is known. Raises KeyMissing."""
        self._folder = folder
        self._header = header
        self._cipher = cipher_of(folder, header)
        self._temporary = temporary
        self._file: File | None = None
        self._end = BLOCK_BYTES

    async def write(self, payload: bytes) -> None:
        """Append a frame, durably."""
        if self._file is None:
            await self._folder.create(self._temporary, b"")
            self._file = await self._folder.open(self._temporary, "append")
        if self._cipher is not None:
            payload = b"".join(self._cipher.encrypt(self._end, payload))
        frame = frame_of(payload)
        await self._file.write(self._end, frame)
        await self._file.sync()
        self._end += len(frame)

    async def finish(self, ending: Ending) -> int:
        """Give the file its header and its name; remove all older snapshots. Return its size, bytes."""
        if self._file is None:
            raise ValueError("no frame was written")
        header = msgspec.structs.replace(self._header, size=self._end, **ending._asdict())
        await self._file.write(0, blocks.encode(header))
        await self._file.sync()
        name = name_of(header.position)
        before = await self._folder.names(names.SNAPSHOTS)
        await give_name(self._folder, self._temporary, name)
        await self._folder.remove(self._temporary)
        for older in before:
            if f"{names.SNAPSHOTS}/{older}" < name:
                await self._folder.remove(f"{names.SNAPSHOTS}/{older}")
        return header.size

    async def discard(self) -> None:
        """Remove the file."""
        await self._folder.remove(self._temporary)


def _row(version: Version, session: Session) -> _SessionRow:
    changes = [(number, *change.version, change.created, change.deleted) for number, change in session.changes.items()]
    return *version, session.member, session.lowest, changes


def _session(row: _SessionRow) -> tuple[Version, Session]:
    epoch, sequence, member, lowest, changes = row
    session = Session(member, lowest)
    for number, origin, number_sequence, created, deleted in changes:
        session.changes[number] = Change(Version(origin, number_sequence), created, deleted)
    return Version(epoch, sequence), session


def frame_of(payload: bytes) -> bytes:
    """Return a frame as it stands in the file."""
    return _FRAME.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload


async def newest(folder: Folder) -> list[str]:
    """Return the names of the snapshots that can be seen, the newest first."""
    present = reversed(await folder.names(names.SNAPSHOTS))
    return [f"{names.SNAPSHOTS}/{base}" for base in present if names.is_snapshot(base)]


async def read_header(folder: Folder, name: str) -> SnapshotHeader:
    """Return the header of a snapshot. Raises Missing; Corruption if it is none."""
    header = blocks.decode(await (await folder.open(name, "read")).read(0, BLOCK_BYTES), SnapshotHeader, name, 0)
    if isinstance(header, Blank):
        raise Corruption(f"{name}: the header at offset 0 is {header.value}")
    identity.check(folder, header.folder_id, name)
    return header


async def load(folder: Folder, name: str, index: Index) -> SnapshotHeader:
    """Fill an empty index from a snapshot. Raises FolderError; then the index must be thrown away."""
    header = await read_header(folder, name)
    frames = _Frames(await folder.open(name, "read"), name, header.size, cipher_of(folder, header))
    try:
        while (frame := await frames.next()) is not None:
            _take(index, _decoder.decode(frame))
    except (*blocks.UNREADABLE, struct.error, ValueError, OverflowError) as error:
        raise Corruption(f"{name}: is no snapshot: {error}") from None
    revision = header.revision or plain(header.sequence).revision
    index.form = header.form
    index.loaded(header.sequence, revision, header.noted or revision, header.compacted or revision)
    if len(index) != header.keys:
        raise Corruption(f"{name}: holds {len(index)} keys, {header.keys} were written")
    return header


def _take(index: Index, content: _Content) -> None:
    match content:
        case _Keys(keys=keys, entries=entries):
            index.load(keys, entries)
        case _PlainKeys(keys=keys, entries=entries):
            index.keys.load([key.encode() for key in keys], [_revised(entry) for entry in entries])
        case _Past(changes=changes):
            for revision, key, before, deleted in changes:
                index.keys.load_change(history.Change(revision, key, before), deleted=deleted)
        case _LeasesFrame(leases=leases):
            for lease, *told in leases:
                index.leases.put(lease, Lease(*told))
        case _SessionsFrame(sessions=sessions):
            for session in sessions:
                index.sessions.put(*_session(session))
        case _DoneFrame(done=done) | _PlainDoneFrame(done=done):
            for row in done:
                _remember(index, *row)
        case _:
            assert_never(content)


def _remember(  # noqa: PLR0913, PLR0917  # a row of the table
    index: Index,
    key: str,
    request: bytes,
    origin: int,
    sequence: int,
    created: bool,
    deleted: bool,
    epoch: int,
    number: int,
    revision: int = 0,
) -> None:
    index.remembered.put(key, Done(request, origin, sequence, created, deleted, epoch, number, revision))


def _revised(entry: bytes) -> bytes:
    """Return an entry of a log without revisions as it is packed now."""
    origin, sequence, epoch, number, offset, size, checksum = _PLAIN_ENTRY.unpack_from(entry)
    content_type = entry[_PLAIN_ENTRY.size + 1 :].decode() if len(entry) > _PLAIN_ENTRY.size else DEFAULT_TYPE
    return pack(origin, sequence, epoch, number, offset, size, checksum, content_type, *plain(sequence))


class _Frames:
    """Reads frames one after the other, in few reads."""

    def __init__(self, file: File, name: str, size: int, cipher: Cipher | None) -> None:
        self._file = file
        self._cipher = cipher
        self._name = name
        self._size = size
        self._read_to = BLOCK_BYTES
        self._content = b""
        self._at = 0

    async def next(self) -> bytes | None:
        """Return the payload of the next frame, None behind the last one. Raises Corruption."""
        await self._want(_FRAME.size)
        if self._at == len(self._content):
            return None
        if len(self._content) - self._at < _FRAME.size:
            raise self._rotten()
        length, checksum = _FRAME.unpack_from(self._content, self._at)
        await self._want(_FRAME.size + length)
        payload = self._content[self._at + _FRAME.size : self._at + _FRAME.size + length]
        if len(payload) != length or xxhash.xxh3_64_intdigest(payload) != checksum:
            raise self._rotten()
        offset = self._offset
        self._at += _FRAME.size + length
        if self._cipher is None:
            return payload
        return self._cipher.decrypt(offset, payload[:-TAG_BYTES], payload[-TAG_BYTES:], self._name)

    @property
    def _offset(self) -> int:
        """Where the next frame begins in the file."""
        return self._read_to - len(self._content) + self._at

    async def _want(self, count: int) -> None:
        """Have ``count`` bytes at hand, or all that there are."""
        if len(self._content) - self._at >= count:
            return
        length = min(max(_READ_BYTES, count), self._size - self._read_to)
        if length > 0:
            self._content = self._content[self._at :] + await self._file.read(self._read_to, length)
            self._at = 0
            self._read_to += length

    def _rotten(self) -> Corruption:
        return Corruption(f"{self._name}: the frame at offset {self._offset} is damaged")
