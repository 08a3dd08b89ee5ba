"""The communication folder on a mounted volume: blocking calls, past every cache where the volume needs it.

What another member may have written is read with ``O_DIRECT`` into page-aligned memory, one buffer per call, so that
neither NFS's page cache nor its cached attributes stand between us and the file server. Local file systems are
coherent within one kernel and are read through the page cache (docs/protocol.md, section 1).
"""

import ctypes
import errno
import fcntl
import mmap
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import assert_never

from hanas_core.volume.closing import CLOSER, Closer
from hanas_core.volume.encryption import NO_KEYS
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable, Missing, NoSpace
from hanas_core.volume.folder import BLOCK_BYTES, Access, Room

# Magic numbers of statfs(2) whose file systems keep one page cache for all processes of a machine.
_COHERENT = {
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # xfs
    0x9123683E,  # btrfs
    0x01021994,  # tmpfs
    0x794C7630,  # overlay
    0x2FC12FC1,  # zfs
    0xF2F52010,  # f2fs
}
_NFS = 0x6969
_ERRORS = {errno.ENOENT: Missing, errno.ENOSPC: NoSpace, errno.EDQUOT: NoSpace}
_HANDLE_ERRORS = _ERRORS | {errno.ESTALE: Missing}
"""Of an open file: it was removed. Of a name, ESTALE says that the directory's or the mount's own handle is stale."""
_NO_FILE = {errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV}
"""Errors of `open` that tell of a directory, a symbolic link, a socket, and a device without a driver."""
_ALLOCATE_STEP_BYTES = 512 << 10
_UNCOUNTED_FILES = 1 << 40
_PRIVATE, _SHARED = 0o600, 0o660
"""Modes of new files, of directories with the right to search: of one user, or of a group that shares the folder."""
_O_DIRECT: int = getattr(os, "O_DIRECT", 0)
_O_DSYNC: int = getattr(os, "O_DSYNC", os.O_SYNC)


def is_coherent(path: Path) -> bool:
    """Return whether ``path`` lies on a file system with one page cache for all its users; assumed so outside Linux."""
    if not sys.platform.startswith("linux"):
        return True  # only `hanas lab` runs there, on a local disk
    return _kind_of(path) in _COHERENT


def _kind_of(path: Path) -> int:
    """Return the magic number of the file system of ``path``."""
    answer = ctypes.create_string_buffer(512)
    library = ctypes.CDLL(None, use_errno=True)
    with _translated(str(path)):
        if library.statfs(os.fsencode(path), answer) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    return ctypes.c_uint32.from_buffer(answer).value


@contextmanager
def _translated(name: str, errors: Mapping[int, type[FolderError]] = _ERRORS) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = errors.get(error.errno or 0, FolderUnavailable)
        raise kind(f"{name}: {error.strerror or error}") from error


class PosixFile:
    """An open file. A call that is given up on keeps this object, its descriptor and its buffer for ever."""

    def __init__(self, descriptor: int, name: str, closer: Closer, *, direct_reads: bool) -> None:
        """Take over an open ``descriptor``; ``closer`` closes what is dropped."""
        self._closer = closer
        self._descriptor = descriptor
        self._name = name
        self._direct_reads = direct_reads
        with _translated(name, _HANDLE_ERRORS):
            status = os.fstat(descriptor)
        self.identity = status.st_dev, status.st_ino

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on; FolderUnavailable if there are fewer."""
        if not self._direct_reads:
            with _translated(self._name, _HANDLE_ERRORS):
                content = os.pread(self._descriptor, length, offset)
        else:
            start = offset - offset % BLOCK_BYTES
            span = -(-(offset + length - start) // BLOCK_BYTES) * BLOCK_BYTES
            with _translated(self._name, _HANDLE_ERRORS), mmap.mmap(-1, span) as buffer:
                count = os.preadv(self._descriptor, [buffer], start)
                content = buffer[offset - start : min(offset - start + length, count)]
        if len(content) != length:
            raise FolderUnavailable(f"{self._name}: {len(content)} of {length} bytes could be read at {offset}")
        return content

    async def write(self, offset: int, content: bytes) -> None:
        """Write ``content`` at ``offset``, not yet durable."""
        with _translated(self._name, _HANDLE_ERRORS):
            _write_all(self._descriptor, offset, content)

    async def write_block(self, offset: int, block: bytes) -> None:
        """Write one block by a single ``O_DIRECT|O_DSYNC`` write, durable when this returns."""
        with _translated(self._name, _HANDLE_ERRORS), mmap.mmap(-1, BLOCK_BYTES) as buffer:
            buffer[:] = block
            count = os.pwritev(self._descriptor, [buffer], offset)
        if count != BLOCK_BYTES:
            raise FolderUnavailable(f"{self._name}: {count} of {BLOCK_BYTES} bytes were written at {offset}")

    async def sync(self) -> None:
        """Make what was written durable."""
        with _translated(self._name, _HANDLE_ERRORS):
            _sync_data(self._descriptor)

    async def close(self) -> None:
        """Close the descriptor, which may take as long as any other call."""
        descriptor, self._descriptor = self._descriptor, -1
        with _translated(self._name, _HANDLE_ERRORS):
            os.close(descriptor)

    def __del__(self) -> None:
        """Have what was dropped closed; a call that hangs still holds this object, so its descriptor stays."""
        if self._descriptor >= 0:
            self._closer.drop(self._descriptor)


class PosixFolder:
    """The folder at ``path``. Its operations block: run them on a thread that may hang (docs/architecture.md)."""

    def __init__(self, path: Path) -> None:
        """Use the directory ``path``. Raises Missing or FolderUnavailable when it is not a usable directory."""
        self.path = path
        self.ids: frozenset[str] = frozenset()
        self.format = 2
        self.keys = NO_KEYS
        with _translated(str(path)):
            if not path.is_dir():
                raise Missing(f"{path}: there is no such directory")
            self._mode = _SHARED if path.stat().st_mode & stat.S_IWGRP else _PRIVATE
        self.coherent = is_coherent(path)
        self._closer = CLOSER
        self._closer.start()
        self._buffered = 0 if self.coherent or _kind_of(path) != _NFS else _O_DIRECT
        """Flags for opening a file that is then written through the page cache: NFS servers give no delegation of a
        file that was opened with ``O_DIRECT``. Others would wait for that of a dead client for a lease time."""

    async def open(self, name: str, access: Access) -> PosixFile:
        """Open ``name`` for one kind of access."""
        match access:
            case "read":
                flags = os.O_RDONLY | (0 if self.coherent else _O_DIRECT)
            case "append":
                # NFS reads a page of a file that may be read before a part of it is written.
                flags = os.O_WRONLY | self._buffered if self._buffered else os.O_RDWR
            case "blocks":
                flags = os.O_RDWR | _O_DIRECT | _O_DSYNC
            case _:
                assert_never(access)
        self._closer.admit()
        with _translated(name):
            try:
                descriptor = self._open(name, flags)
            except OSError as error:
                # A file system without O_DIRECT: harmless where the page cache is one, else the volume is unfit.
                if error.errno != errno.EINVAL or not self.coherent:
                    raise
                descriptor = _open_regular(self.path / name, name, flags & ~_O_DIRECT)
            if access == "append" and self._buffered:
                _buffer(descriptor)
        return PosixFile(descriptor, name, self._closer, direct_reads=not self.coherent)

    def _open(self, name: str, flags: int) -> int:
        path = self.path / name
        try:
            return _open_regular(path, name, flags)
        except FileNotFoundError:
            if self.coherent or not _is_there(path, self.path):
                raise
        except OSError as error:
            if self.coherent or error.errno not in {errno.ESTALE, errno.EACCES}:
                raise
            if error.errno == errno.ESTALE:
                # NFS: of a file that was removed elsewhere, or of the directory itself, or of the mount.
                self._touch(path.parent)
                with _translated(name, _HANDLE_ERRORS):
                    return _open_regular(path, name, flags)
            _forget_refusal(path)
        return _open_regular(path, name, flags)

    async def create(self, name: str, content: bytes) -> None:
        """Create ``name`` exclusively with ``content``, synced."""
        with _translated(name):
            self._write_new(name, [content])

    async def allocate(self, name: str, size: int) -> None:
        """Create ``name`` with ``size`` zero bytes, past the page cache where that can be done.

        A commit on the same disk then waits for one piece at most, and for no journal: syncs of a growing file through
        the page cache would hold it up again and again. Else each piece is synced.
        """
        steps = range(0, size, _ALLOCATE_STEP_BYTES)
        with _translated(name):
            try:
                self._write_zeros(name, size)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                (self.path / name).unlink(missing_ok=True)  # some file systems make it all the same
                self._write_new(name, (bytes(min(_ALLOCATE_STEP_BYTES, size - at)) for at in steps))

    def _write_zeros(self, name: str, size: int) -> None:
        with self._new(name, _O_DIRECT) as descriptor, mmap.mmap(-1, _ALLOCATE_STEP_BYTES) as zeros:
            offset = 0
            while offset < size:
                with memoryview(zeros)[: size - offset] as piece:
                    offset += os.pwritev(descriptor, [piece], offset)
            os.fsync(descriptor)

    async def room(self) -> Room:
        """Return what is free for this user."""
        with _translated(str(self.path)):
            volume = os.statvfs(self.path)
        # Some file systems (btrfs, ReiserFS, some of FUSE) make inodes as they need them and count none.
        files = volume.f_favail if volume.f_files else _UNCOUNTED_FILES
        return Room(volume.f_bavail * volume.f_frsize, files)

    def _write_new(self, name: str, pieces: Iterable[bytes]) -> None:
        with self._new(name, self._buffered) as descriptor:
            if self._buffered:
                _buffer(descriptor)
            offset = 0
            for piece in pieces:
                _write_all(descriptor, offset, piece)
                offset += len(piece)
                _sync_data(descriptor)
            os.fsync(descriptor)

    @contextmanager
    def _new(self, name: str, flags: int = 0) -> Iterator[int]:
        """Create a file; after an error in the block remove it, since what was written would only fill the volume."""
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, self._mode)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != self._mode:  # by the umask, or by the file system
                with suppress(PermissionError):
                    os.fchmod(descriptor, self._mode)
            yield descriptor
        except OSError:
            (self.path / name).unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    async def link(self, source: str, target: str) -> bool:
        """Give ``source`` the name ``target``; False if that name is taken."""
        with _translated(target):
            try:
                os.link(self.path / source, self.path / target)
            except FileExistsError:
                return False
        return True

    async def remove(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        with _translated(name):
            (self.path / name).unlink(missing_ok=True)

    async def sync_directory(self, directory: str) -> None:
        """Sync the directory itself."""
        with _translated(directory or str(self.path)):
            descriptor = os.open(self.path / directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    async def refresh(self, directory: str) -> None:
        """Make and remove a file in ``directory``; a coherent file system needs none of it."""
        if self.coherent:
            return
        with _translated(directory):
            self._touch(self.path / directory)

    def _touch(self, directory: Path) -> None:
        probe = directory / f".refresh-{self.nonce()}"
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _PRIVATE))
        probe.unlink(missing_ok=True)

    async def make_directory(self, directory: str) -> None:
        """Make ``directory`` unless it is there."""
        path, mode = self.path / directory, self._mode | (self._mode & 0o440) >> 2
        with _translated(directory):
            try:
                path.mkdir(mode)
            except FileExistsError:
                return
            inherited = path.stat().st_mode & stat.S_ISGID
            with suppress(PermissionError):
                path.chmod(mode | inherited)

    def nonce(self) -> str:
        """Return 16 random bytes in hexadecimal."""
        return secrets.token_hex(16)

    async def names(self, directory: str) -> list[str]:
        """List a directory, in order."""
        with _translated(directory or str(self.path)):
            return sorted(os.listdir(self.path / directory))


def _forget_refusal(path: Path) -> None:
    """Have the server asked anew whether a file may be opened.

    An NFS 3 client remembers a refusal for as long as the file does not change, also one from a time when the whole
    export was read-only. Setting the mode that the file has already is such a change; only its owner may.
    """
    with suppress(OSError):
        path.chmod(stat.S_IMODE(path.lstat().st_mode))


def _open_regular(path: Path, name: str, flags: int) -> int:
    """Open a regular file; raise Corruption for anything else, which may hang, lead out of the folder or be a device.

    That it is one is looked at after it was opened, without waiting for anybody: a FIFO would wait for its other end.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except (
            BlockingIOError
        ):  # a file server on this machine takes a delegation of the file back, which takes a moment
            if not stat.S_ISREG(path.lstat().st_mode):
                raise
            descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Corruption(_no_file(name)) from None
        raise
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    if not regular:
        os.close(descriptor)
        raise Corruption(_no_file(name))
    return descriptor


def _no_file(name: str) -> str:
    return (
        f"{name}: is a directory, a symbolic link, a FIFO, a socket or a device, a regular file was expected; "
        "find out who put it there, and restore the file from a backup"
    )


def _is_there(path: Path, directory: Path) -> bool:
    """Ask the file system anew whether ``path`` exists, after a cache said that it does not. ``directory``: any one.

    FUSE remembers missing names one by one, and a change of their directory does not end that; but the kernel looks
    the target of an exclusive operation up anew. A link to a directory is one that can never be made.
    """
    try:
        os.link(directory, path)
    except FileExistsError:
        return True
    except OSError:
        pass
    return False


def _buffer(descriptor: int) -> None:
    """Let a file that was opened with ``O_DIRECT`` be written through the page cache from now on."""
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~_O_DIRECT)


def _write_all(descriptor: int, offset: int, content: bytes) -> None:
    written = os.pwrite(descriptor, content, offset)
    while written < len(content):
        written += os.pwrite(descriptor, memoryview(content)[written:], offset + written)


def _sync_data(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)
