"""The folder on a real file system, with and without its page cache, and the protocol on it.

The second kind is told that the volume is not coherent, so that every read goes through O_DIRECT; that needs a file
system that knows it (ext4, xfs; not tmpfs of older kernels).
"""

import ctypes
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hanas_core.epochs.takeover import Promotion
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import claim_epoch, highest_claim
from hanas_core.log.positions import Version
from hanas_core.log.segments import prepare
from hanas_core.members.cluster import identify, initialise
from hanas_core.members.mailboxes import Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.state.index import Index
from hanas_core.state.judge import Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK, pack
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable, Missing, NoSpace, Sealed
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_core.volume.posix import PosixFile, PosixFolder, is_coherent
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Backup, claim_of, contents, incarnation, take_over
from tests.unit.waiting import until


@pytest.fixture(params=["coherent", "direct"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> PosixFolder:
    made = PosixFolder(tmp_path)
    made.coherent = request.param == "coherent"
    return made


@pytest.fixture
def direct(tmp_path: Path) -> PosixFolder:
    made = PosixFolder(tmp_path)
    made.coherent = False
    return made


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_what_is_created_is_read_back_at_any_place(folder: PosixFolder) -> None:
    content = bytes(range(256)) * 40
    run(folder.create("a", content))
    file = run(folder.open("a", "read"))
    for offset, length in [(0, 1), (0, BLOCK_BYTES), (1, BLOCK_BYTES), (4095, 2), (5000, 5000), (10_239, 1)]:
        assert run(file.read(offset, length)) == content[offset : offset + length]
    run(file.close())


def test_a_name_is_created_once(folder: PosixFolder) -> None:
    run(folder.create("a", b"1"))
    with pytest.raises(FolderUnavailable, match="a: File exists"):
        run(folder.create("a", b"2"))
    assert (folder.path / "a").read_bytes() == b"1"


def test_a_short_read_is_an_error_never_an_end(folder: PosixFolder) -> None:
    run(folder.create("a", bytes(5000)))
    file = run(folder.open("a", "read"))
    for offset, length in [(0, 5001), (4999, 2), (4096, BLOCK_BYTES), (9000, 10)]:
        with pytest.raises(FolderUnavailable, match=f"of {length} bytes could be read at {offset}"):
            run(file.read(offset, length))


def test_allocated_space_is_zero_and_really_there(folder: PosixFolder) -> None:
    size = (2 << 20) + BLOCK_BYTES
    run(folder.allocate("a", size))
    assert (folder.path / "a").read_bytes() == bytes(size)
    assert (folder.path / "a").stat().st_blocks * 512 >= size


def test_a_held_descriptor_sees_what_another_one_writes(folder: PosixFolder) -> None:
    run(folder.allocate("a", 4 * BLOCK_BYTES))
    reader = run(folder.open("a", "read"))
    blocks = run(folder.open("a", "blocks"))
    appender = run(folder.open("a", "append"))
    for n in range(1, 4):
        assert run(reader.read(BLOCK_BYTES, BLOCK_BYTES)) == bytes([n - 1]) * BLOCK_BYTES
        run(blocks.write_block(BLOCK_BYTES, bytes([n]) * BLOCK_BYTES))
        run(appender.write(2 * BLOCK_BYTES + 10, bytes([n]) * 30))
        run(appender.sync())
        assert run(reader.read(BLOCK_BYTES, BLOCK_BYTES)) == bytes([n]) * BLOCK_BYTES
        assert run(reader.read(2 * BLOCK_BYTES + 9, 32)) == b"\0" + bytes([n]) * 30 + b"\0"
        run(reader.read(0, BLOCK_BYTES))
        run(blocks.write_block(BLOCK_BYTES, bytes([n]) * BLOCK_BYTES))


def test_a_block_is_a_block(folder: PosixFolder) -> None:
    run(folder.allocate("a", BLOCK_BYTES))
    file = run(folder.open("a", "blocks"))
    with pytest.raises((ValueError, IndexError)):
        run(file.write_block(0, b"short"))


def test_link_is_exclusive(folder: PosixFolder) -> None:
    run(folder.create("a", b"1"))
    run(folder.create("b", b"2"))
    assert run(folder.link("a", "c"))
    assert not run(folder.link("b", "c"))
    assert (folder.path / "c").read_bytes() == b"1"
    with pytest.raises(Missing):
        run(folder.link("nothing", "d"))


def test_directories_are_made_listed_and_synced(folder: PosixFolder) -> None:
    run(folder.make_directory("d"))
    run(folder.make_directory("d"))
    run(folder.create("d/b", b""))
    run(folder.create("d/a", b""))
    run(folder.sync_directory("d"))
    run(folder.sync_directory(""))
    run(folder.refresh("d"))
    assert run(folder.names("d")) == ["a", "b"]
    assert run(folder.names("")) == ["d"]
    run(folder.remove("d/a"))
    run(folder.remove("d/a"))
    assert run(folder.names("d")) == ["b"]


def test_a_refresh_changes_the_directory_where_look_ups_are_cached(direct: PosixFolder) -> None:
    run(direct.make_directory("d"))
    before = (direct.path / "d").stat().st_mtime_ns
    os.utime(direct.path / "d", ns=(0, 0))
    run(direct.refresh("d"))
    assert (direct.path / "d").stat().st_mtime_ns >= before
    with pytest.raises(Missing):
        run(direct.refresh("nothing"))


def test_what_is_not_there_is_missing(folder: PosixFolder) -> None:
    for wanted in (folder.open("a", "read"), folder.open("a", "blocks"), folder.open("a", "append")):
        with pytest.raises(Missing, match="a: No such file"):
            run(wanted)
    with pytest.raises(Missing):
        run(folder.names("d"))
    with pytest.raises(Missing):
        run(folder.sync_directory("d"))
    with pytest.raises(Missing, match="no such directory"):
        PosixFolder(folder.path / "nothing")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, Missing),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EIO, FolderUnavailable),
        (errno.EROFS, FolderUnavailable),
        (errno.ETIMEDOUT, FolderUnavailable),
    ],
)
def test_errors_are_told_apart(
    folder: PosixFolder, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[FolderError]
) -> None:
    run(folder.allocate("a", 2 * BLOCK_BYTES))
    reader, blocks, appender = (run(folder.open("a", access)) for access in ("read", "blocks", "append"))
    words = f"a: {os.strerror(code)}"
    with monkeypatch.context() as patch:
        for call in ("pread", "preadv", "pwrite", "pwritev", "fdatasync", "fsync", "link", "close"):
            patch.setattr(os, call, failing(code))
        for wanted in (
            reader.read(0, BLOCK_BYTES),
            blocks.write_block(0, ZERO_BLOCK),
            appender.write(0, b"x"),
            appender.sync(),
            folder.link("b", "a"),
        ):
            with pytest.raises(kind, match=words):
                run(wanted)
    descriptor = appender._descriptor
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", failing(code))
        with pytest.raises(kind, match=words):
            run(appender.close())
    os.close(descriptor)


def know_no_direct_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file as some file systems do before they refuse O_DIRECT."""
    real = os.open

    def refuses(path: Path, flags: int, *mode: int) -> int:
        descriptor = real(path, flags, *mode)
        if flags & os.O_DIRECT and flags & os.O_CREAT:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no direct writes")
        return descriptor

    monkeypatch.setattr(os, "open", refuses)


@pytest.mark.parametrize("write", ["pwritev", "pwrite"])
def test_a_full_volume_is_told_when_space_is_prepared_and_nothing_is_left_behind(
    folder: PosixFolder, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    run(folder.make_directory("tmp"))
    real, calls = getattr(os, write), []
    if write == "pwrite":
        know_no_direct_writes(monkeypatch)

    def fills(descriptor: int, content: Any, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "full")
        return int(real(descriptor, content, offset))

    monkeypatch.setattr(os, write, fills)
    with pytest.raises(NoSpace):
        run(prepare(folder, "a", incarnation("a"), 8 << 20))
    assert run(folder.names("tmp")) == []


@pytest.mark.parametrize("direct_writes", [True, False])
def test_space_is_prepared_in_pieces_with_and_without_direct_writes(
    folder: PosixFolder, monkeypatch: pytest.MonkeyPatch, *, direct_writes: bool
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    if not direct_writes:
        know_no_direct_writes(monkeypatch)
    size = (2 << 20) + BLOCK_BYTES
    run(folder.allocate("a", size))
    assert (folder.path / "a").read_bytes() == bytes(size)
    assert (len(synced) > 3) != direct_writes, "without them, each piece is synced"


def test_what_keeps_space_from_being_prepared_is_told(folder: PosixFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", failing(errno.EIO))
    with pytest.raises(FolderUnavailable):
        run(folder.allocate("a", BLOCK_BYTES))
    assert run(folder.names("")) == []


def test_writes_that_are_cut_short_are_continued(folder: PosixFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: real(fd, bytes(content)[:1000], offset))
    content = bytes(range(256)) * 20
    run(folder.create("a", content))
    assert (folder.path / "a").read_bytes() == content
    file = run(folder.open("a", "append"))
    run(file.write(7, content[::-1][:2500]))
    assert (folder.path / "a").read_bytes()[7:2507] == content[::-1][:2500]


def test_a_block_that_is_cut_short_is_an_error(folder: PosixFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder.allocate("a", BLOCK_BYTES))
    file = run(folder.open("a", "blocks"))
    monkeypatch.setattr(os, "pwritev", lambda *_: 512)
    with pytest.raises(FolderUnavailable, match="512 of 4096 bytes were written at 0"):
        run(file.write_block(0, ZERO_BLOCK))


def test_without_o_direct_a_local_volume_works_and_another_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = PosixFolder(tmp_path)
    run(folder.allocate("a", BLOCK_BYTES))
    real = os.open

    def refuses(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuses)
    run(run(folder.open("a", "blocks")).write_block(0, pack(b"x")))
    assert (tmp_path / "a").read_bytes() == pack(b"x")
    folder.coherent = False
    for access in ("read", "blocks"):
        with pytest.raises(FolderUnavailable, match="Invalid argument"):
            run(folder.open("a", access))


def test_a_name_that_a_cache_says_is_missing_is_looked_up_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PosixFolder(tmp_path)
    run(folder.create("a", b"1"))
    real, refused = os.open, ["a"]

    def forgets(path: Any, flags: int, *mode: int) -> int:
        if Path(path).name in refused:
            refused.remove(Path(path).name)
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return real(path, flags & ~os.O_DIRECT, *mode)

    monkeypatch.setattr(os, "open", forgets)
    folder.coherent = False
    run(folder.open("a", "read"))
    assert refused == []
    with pytest.raises(Missing):
        run(folder.open("b", "read"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "asking made nothing"


async def test_a_closed_file_is_closed_and_a_dropped_one_too(folder: PosixFolder) -> None:
    run(folder.create("a", b"1"))
    closed, dropped = run(folder.open("a", "read")), run(folder.open("a", "read"))
    run(closed.close())
    with pytest.raises(FolderUnavailable):
        run(closed.read(0, 1))
    descriptor = Path(f"/proc/self/fd/{dropped._descriptor}")
    del dropped
    await until(lambda: not descriptor.exists())


def test_a_stale_handle_of_a_file_says_that_it_was_removed_and_one_of_a_name_says_nothing(
    folder: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder.allocate("a", 2 * BLOCK_BYTES))
    reader, blocks = run(folder.open("a", "read")), run(folder.open("a", "blocks"))
    with monkeypatch.context() as patch:
        for call in ("pread", "preadv", "pwritev", "open", "link", "listdir", "statvfs"):
            patch.setattr(os, call, failing(errno.ESTALE))
        for wanted in (reader.read(0, BLOCK_BYTES), blocks.write_block(0, ZERO_BLOCK)):
            with pytest.raises(Missing, match="Stale file handle"):
                run(wanted)
        for asked in (
            folder.open("a", "read"),
            folder.create("b", b"x"),
            folder.link("a", "b"),
            folder.names(""),
            folder.room(),
            folder.sync_directory(""),
        ):
            with pytest.raises(FolderUnavailable, match="Stale file handle"):
                run(asked)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", failing(errno.ESTALE))
        with pytest.raises(Missing, match="Stale file handle"):
            PosixFile(os.dup(reader._descriptor), "a", reader._closer, direct_reads=False)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_removed_file_whose_name_its_client_still_shows_is_missing(
    direct: PosixFolder, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    """Linux opens a file that it has open without asking the server, which says only then that it is gone."""
    run(direct.create("a", b"1"))

    def stale(descriptor: int) -> os.stat_result:
        if forgets:
            (direct.path / "a").unlink(missing_ok=True)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", stale)
        with pytest.raises(Missing, match="a: No such file" if forgets else "a: Stale file handle"):
            run(direct.open("a", "read"))
    assert len(os.listdir("/proc/self/fd")) == before, "what was opened is closed"
    assert os.listdir(direct.path) == ([] if forgets else ["a"])


@pytest.mark.parametrize("whose", ["one's own", "another's"])
def test_a_refusal_that_an_nfs_client_remembers_is_forgotten(
    direct: PosixFolder, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """It is remembered until the file changes, and each is refused who could change it."""
    run(direct.create("a", ZERO_BLOCK))
    path, opened, chmod = direct.path / "a", os.open, Path.chmod
    mode, refused, told = path.stat().st_mode, True, []

    def refusing(name: Any, *arguments: Any) -> int:
        if name == path and refused:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(name, *arguments)

    def changing(changed: Path, bits: int) -> None:
        nonlocal refused
        told.append((changed, bits))
        if whose == "another's":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        chmod(changed, bits)
        refused = False

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(Path, "chmod", changing)
    if whose == "another's":
        with pytest.raises(FolderUnavailable, match="a: Permission denied"):
            run(direct.open("a", "blocks"))
    else:
        run(run(direct.open("a", "blocks")).write_block(0, ZERO_BLOCK))
    assert told == [(path, stat.S_IMODE(mode))]
    assert path.stat().st_mode == mode


def statfs(magic: int, result: int = 0) -> SimpleNamespace:
    def answer(_: bytes, buffer: Any) -> int:
        ctypes.c_uint32.from_buffer(buffer).value = magic
        ctypes.set_errno(errno.EIO)
        return result

    return SimpleNamespace(statfs=answer)


def test_on_nfs_no_file_is_opened_so_that_the_server_might_delegate_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers delegate no file that was opened with O_DIRECT; what is appended has any length all the same."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: statfs(0x6969))
    folder, real, opened = PosixFolder(tmp_path), os.open, list[str]()

    def watched(path: Any, flags: int, *mode: int) -> int:
        assert flags & os.O_DIRECT, path
        opened.append(Path(path).name)
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", watched)
    run(folder.create("a", b"created"))
    run(folder.allocate("b", BLOCK_BYTES))
    appended = run(folder.open("b", "append"))
    run(appended.write(3, b"appended"))
    run(appended.sync())
    assert (tmp_path / "a").read_bytes() == b"created"
    assert run(run(folder.open("b", "read")).read(3, 8)) == b"appended"
    run(run(folder.open("b", "blocks")).write_block(0, ZERO_BLOCK))
    assert opened == ["a", "b", "b", "b", "b"]
    assert fcntl.fcntl(appended._descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY, "no page is read first"


def test_which_volumes_are_coherent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for magic, expected in [(0xEF53, True), (0x6969, False), (0x65735546, False), (0x01021994, True)]:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, magic=magic, **__: statfs(magic))
        assert is_coherent(tmp_path) is expected
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: statfs(0, -1))
    with pytest.raises(FolderUnavailable):
        is_coherent(tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert is_coherent(tmp_path)


def start(folder: PosixFolder, claim: Claim, replica: Replica) -> tuple[Promotion, GroupCommit[int]]:
    assert run(claim_epoch(folder, claim)) == claim
    promotion = run(take_over(folder, claim, replica))
    return promotion, GroupCommit[int](replica, claim.epoch, promotion.next_sequence)


def put(promotion: Promotion, commits: GroupCommit[int], key: str, value: bytes) -> None:
    commits.submit(Write(key.encode(), value), 0)
    batch = commits.next_batch(promotion.log.room)
    assert batch is not None
    commits.committed(run(promotion.log.commit(batch)))


def test_the_whole_story_on_a_real_file_system(folder: PosixFolder) -> None:
    run(initialise(folder, FOLDER_ID))
    assert run(identify(folder)).folder_id == FOLDER_ID
    assert run(Registry(folder).slot_of("a", incarnation("a"), "http://a:1", "http://a:2")) == 0
    assert run(Mailboxes(folder).try_canary(0))
    old, writes = start(folder, claim_of(1, "a"), Backup(folder))
    backup = Backup(folder)
    assert run(backup.follow(1))
    for n in range(6):
        if old.log.spare is None:
            spare = run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES))
            run(old.log.name_ahead(spare))
            old.log.spare = spare
        put(old, writes, f"k{n}", b"v" * 6000)
        run(backup.catch_up())
    assert len(contents(backup.index)) == 5
    new, more = start(folder, claim_of(2, "b"), backup)
    with pytest.raises(Sealed):
        put(old, writes, "phantom", b"")
    put(new, more, "l", b"w")
    assert new.next_sequence == 7
    third = Backup(folder)
    last, _ = start(folder, claim_of(3, "c"), third)
    assert set(contents(third.index)) == {*(f"k{n}" for n in range(6)), "l"}
    assert third.index.get(b"k5") is not None
    entry = third.index.get(b"k5")
    assert entry is not None
    assert entry.version == Version(1, 6)
    assert last.next_sequence == 8
    highest = run(highest_claim(folder))
    assert highest is not None
    assert highest.member == "c"
    assert isinstance(third.index, Index)


def test_rot_on_a_real_file_system_names_file_and_offset(folder: PosixFolder) -> None:
    run(initialise(folder, FOLDER_ID))
    old, writes = start(folder, claim_of(1, "a"), Backup(folder))
    for n in range(3):
        put(old, writes, f"k{n}", b"v" * 100)
    path = folder.path / names.segment(1, 1)
    content = bytearray(path.read_bytes())
    content[BLOCK_BYTES + 90] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corruption, match=f"{names.segment(1, 1)}: at offset {BLOCK_BYTES}"):
        start(folder, claim_of(2, "b"), Backup(folder))


def test_how_much_is_free(folder: PosixFolder, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert abs(run(folder.room()).bytes - found.f_bavail * found.f_frsize) < 1 << 30


def test_a_file_whose_delegation_is_taken_back_is_waited_for(
    folder: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server on the same machine makes an open that does not wait fail with EWOULDBLOCK."""
    run(folder.create("a", b"x" * BLOCK_BYTES))
    os.mkfifo(folder.path / "fifo")
    real, asked = os.open, list[int]()

    def delegated(path: Path, flags: int, *more: int) -> int:
        asked.append(flags)
        if flags & os.O_NONBLOCK:
            raise BlockingIOError(errno.EAGAIN, "a delegation is out")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", delegated)
    assert run(run(folder.open("a", "read")).read(0, 1)) == b"x"
    assert len(asked) == 2
    with pytest.raises(FolderUnavailable):  # and never for a FIFO
        run(folder.open("fifo", "read"))


def test_how_many_more_files_find_room(folder: PosixFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for total, free, told in [(100, 7, 7), (0, 0, 1 << 40)]:
        answer = SimpleNamespace(f_bavail=3, f_frsize=4096, f_files=total, f_favail=free)
        monkeypatch.setattr(os, "statvfs", lambda _, answer=answer: answer)
        assert run(folder.room()) == (12_288, told)


@pytest.fixture
def umask() -> Iterator[None]:
    """The usual one: it takes the right to write from the group."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mode", "directories", "files"), [(0o755, 0o700, 0o600), (0o2770, 0o2770, 0o660)])
def test_who_may_write_to_the_folder_may_use_its_files_and_nobody_else(
    tmp_path: Path, mode: int, directories: int, files: int
) -> None:
    tmp_path.chmod(mode)
    folder = PosixFolder(tmp_path)
    run(folder.make_directory("d"))
    run(folder.create("d/a", b"1"))
    run(folder.allocate("d/b", BLOCK_BYTES))
    assert (tmp_path / "d").stat().st_mode & 0o7777 == directories
    assert {path.stat().st_mode & 0o7777 for path in (tmp_path / "d").iterdir()} == {files}
    (tmp_path / "d").chmod(0o755)
    run(folder.make_directory("d"))
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o755, "what is there stays as it is"


@pytest.mark.usefixtures("umask")
def test_modes_that_a_file_system_does_not_change_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o770)
    folder = PosixFolder(tmp_path)
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    run(folder.make_directory("d"))
    run(folder.create("d/a", b"1"))
    assert (tmp_path / "d/a").read_bytes() == b"1"


def test_a_file_is_told_from_all_others_while_it_is_open(folder: PosixFolder) -> None:
    run(folder.create("a", b"1"))
    first = run(folder.open("a", "read"))
    assert run(folder.open("a", "append")).identity == first.identity
    run(folder.remove("a"))
    run(folder.create("a", b"1"))
    assert run(folder.open("a", "read")).identity != first.identity
