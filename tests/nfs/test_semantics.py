"""What the protocol relies on when the folder is on NFS (docs/protocol.md, section 4.5): each fact, on the real thing.

Needs mounts of one export by different clients, separated by colons, in HANAS_NFS_MOUNTS, and in HANAS_NFS_FAULT the
command that breaks the server and the ways to it; on the machine of the server, since delegations are read there.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hanas_core.upkeep.leftovers import momentary_names
from hanas_core.volume import reading
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK, pack
from hanas_core.volume.errors import FolderError, Missing
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_core.volume.posix import PosixFile, PosixFolder
from hanas_core.volume.publish import publish
from tests.integration.places import MOUNTS
from tests.nfs.faults import fault
from tests.nfs.mounts import options, version

T = TypeVar("T")

_STATES = Path("/proc/fs/nfsd/clients")
_SOON_SECONDS = 4.0
"""Well below any lease; a call on NFS takes milliseconds, and this machine may be busy."""
_DELEGATING_SECONDS = 120.0
"""A Linux server delegates nothing for the first 50 s."""
_BACK_SECONDS = 200.0
"""The usual grace time, and more."""
_ANSWER_MILLISECONDS = 8000

pytestmark = [
    pytest.mark.skipif(len(MOUNTS) < 2, reason="HANAS_NFS_MOUNTS names no two NFS mounts"),
    pytest.mark.timeout(400),
]


def beside(action: Callable[[], T]) -> "Future[T]":
    """Run on a thread that may hang."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def await_that(condition: Callable[[], bool], seconds: float = _SOON_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become so"
        time.sleep(0.01)


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory in the export, by its name below each mount."""
    name = f"semantics-{time.monotonic_ns()}"
    (MOUNTS[0] / name).mkdir(mode=0o755)
    yield name
    for path in (MOUNTS[0] / name).iterdir():
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a file that is still open elsewhere keeps it
        (MOUNTS[0] / name).rmdir()


@pytest.fixture
def folders(directory: str) -> tuple[PosixFolder, PosixFolder]:
    """The same folder by two clients."""
    first, second = (PosixFolder(mount / directory) for mount in MOUNTS[:2])
    return first, second


@contextlib.contextmanager
def cut_off() -> Iterator[None]:
    """Cut the first client off the server. What it has open must live longer: a close waits for the server."""
    fault("cut", 0)
    try:
        yield
    finally:
        fault("heal", 0)


def content(folder: PosixFolder, name: str, offset: int = 0, length: int = BLOCK_BYTES) -> bytes:
    return run(run(reading.open_recorded(folder, name, "read")).read(offset, length))


def is_delegated(name: str) -> bool:
    states = [path.read_text() for path in _STATES.glob("*/states")]
    return any("type: deleg" in line and f'{name}"' in line for text in states for line in text.splitlines())


def hold_plainly(path: Path) -> int:
    made = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(made, bytes(BLOCK_BYTES))
    os.close(made)
    return os.open(path, os.O_RDONLY)


def await_delegations(directory: str) -> None:
    """Wait until the server delegates what is opened as most programs open files; without it nothing is proven."""
    held: list[int] = []
    end = time.monotonic() + _DELEGATING_SECONDS
    try:
        while True:
            name = f"plain-{len(held)}"
            held.append(hold_plainly(MOUNTS[0] / directory / name))
            time.sleep(0.2)
            if is_delegated(f"{directory}/{name}"):
                return
            assert time.monotonic() < end, "the server delegates nothing at all"
            time.sleep(1.0)
    finally:
        for descriptor in held:
            os.close(descriptor)


def hold_all(folder: PosixFolder) -> list[PosixFile]:
    """Make files as HANas does, and have them open in each way."""
    held = []
    for access in ("read", "append", "blocks"):
        for kind in ("created", "prepared", "linked"):
            name = f"{kind}-{access}"
            match kind:
                case "created":
                    run(folder.create(name, bytes(3 * BLOCK_BYTES)))
                case "prepared":
                    run(folder.allocate(name, 3 * BLOCK_BYTES))
                case _:
                    run(publish(folder, f"temporary-{access}", name, bytes(3 * BLOCK_BYTES)))
            held.append(run(folder.open(name, access)))
            if access != "append":
                run(held[-1].read(0, BLOCK_BYTES))
    return held


def test_a_server_that_delegates_files_delegates_none_of_these(
    directory: str, folders: tuple[PosixFolder, PosixFolder]
) -> None:
    if Path("/proc/sys/fs/leases-enable").read_text().strip() == "0" or version() < 4.1:
        pytest.skip("delegations are off, or the version has none that a client may decline")
    await_delegations(directory)
    held = hold_all(folders[0])
    time.sleep(0.5)
    delegated = [file._name for file in held if is_delegated(f"{directory}/{file._name}")]
    assert delegated == []


def test_a_client_that_is_gone_delays_nobody_who_seals_appends_links_or_removes(
    directory: str, folders: tuple[PosixFolder, PosixFolder]
) -> None:
    dead, living = folders
    if version() >= 4.1 and Path("/proc/sys/fs/leases-enable").read_text().strip() == "1":
        await_delegations(directory)
    held = hold_all(dead)
    with cut_off():
        began = time.monotonic()
        run(run(living.open("linked-read", "blocks")).write_block(2 * BLOCK_BYTES, pack(b"seal")))
        appended = run(living.open("created-append", "append"))
        run(appended.write(5, b"mine"))
        run(appended.sync())
        assert run(living.link("prepared-append", "another"))
        for file in held:
            run(living.remove(file._name))
        run(living.create("new", b"new"))
        took = time.monotonic() - began
    assert took < _SOON_SECONDS


def test_a_direct_read_shows_what_another_client_wrote_where_a_plain_one_shows_what_was(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    writer, reader = folders
    run(writer.create("seal", bytes(BLOCK_BYTES)))
    held, plain = run(reader.open("seal", "read")), os.open(reader.path / "seal", os.O_RDONLY)
    os.pread(plain, BLOCK_BYTES, 0)
    blocks = run(writer.open("seal", "blocks"))
    run(blocks.write_block(0, pack(b"first")))
    if not {"noac", "actimeo=0"} & set(options(MOUNTS[1]).split(",")):
        assert os.pread(plain, BLOCK_BYTES, 0) == ZERO_BLOCK, "what is cached would do"
    for number in range(20):
        run(blocks.write_block(0, pack(f"{number}".encode())))
        assert run(held.read(0, BLOCK_BYTES)) == pack(f"{number}".encode())
    os.close(plain)


def test_a_direct_read_goes_beyond_an_end_that_is_cached(folders: tuple[PosixFolder, PosixFolder]) -> None:
    writer, reader = folders
    run(writer.create("grows", pack(b"1")))
    held = run(reader.open("grows", "read"))
    run(held.read(0, BLOCK_BYTES))
    assert (reader.path / "grows").stat().st_size == BLOCK_BYTES
    run(run(writer.open("grows", "blocks")).write_block(BLOCK_BYTES, pack(b"2")))
    assert run(held.read(BLOCK_BYTES, BLOCK_BYTES)) == pack(b"2")


def test_a_missing_name_that_is_cached_is_found_after_a_change_of_its_directory(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    writer, reader = folders
    with pytest.raises(Missing):
        run(reader.open("claim", "read"))
    run(writer.create("claim", pack(b"claim")))
    assert content(reader, "claim") == pack(b"claim")


def test_a_file_is_itself_by_each_open_and_none_is_another(folders: tuple[PosixFolder, PosixFolder]) -> None:
    for folder in folders:
        name = f"of-{folder.path.parent.name}"
        run(publish(folder, "temporary", name, pack(b"x")))
        identities = {run(folder.open(name, access)).identity for access in ("read", "append", "blocks")}
        assert len(identities) == 1
        held = run(folder.open(name, "read"))
        run(folder.remove(name))
        run(folder.create(name, pack(b"x")))
        assert run(folder.open(name, "read")).identity != held.identity


def test_a_commit_is_two_round_trips(folders: tuple[PosixFolder, PosixFolder]) -> None:
    folder = folders[0]
    run(folder.allocate("segment", 1 << 20))
    segment, seal = run(folder.open("segment", "append")), run(folder.open("segment", "read"))

    def commit(offset: int) -> None:
        run(segment.write(offset, b"batch" * 60))
        run(segment.sync())
        run(seal.read((1 << 20) - BLOCK_BYTES, BLOCK_BYTES))

    commit(0)
    before = calls()
    for number in range(1, 51):
        commit(number * 300)
    after = calls()
    made = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert made.pop("READ") == 50, "the seal, and no page of the segment that a batch begins"
    assert made.pop("WRITE") == 50
    assert sum(made.values()) <= 2, "the lease may be renewed meanwhile, and nothing is left to COMMIT"


def calls() -> dict[str, int]:
    """How often the first client has called the server, by procedure."""
    parts = Path("/proc/self/mountstats").read_text().split("device ")
    mine = next(part for part in parts if f" mounted on {MOUNTS[0]} with" in part)
    return {name: int(number) for name, number in re.findall(r"^\s+([A-Z_]+): (\d+)", mine, re.MULTILINE)}


def test_what_another_client_removed_is_missing_and_what_is_held_is_as_it_was_or_missing(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    mine, other = folders
    run(mine.create("segment", pack(b"1") + pack(b"2")))
    held = run(mine.open("segment", "read"))
    run(held.read(0, BLOCK_BYTES))
    run(other.remove("segment"))
    with pytest.raises(Missing):
        run(reading.open_recorded(mine, "segment", "read"))
    with contextlib.suppress(Missing):
        assert run(held.read(BLOCK_BYTES, BLOCK_BYTES)) == pack(b"2")


def test_what_a_process_removes_while_it_is_open_leaves_a_name_that_the_main_removes(
    directory: str, folders: tuple[PosixFolder, PosixFolder]
) -> None:
    mine, other = folders
    for name in ("claims", "manifests", "segments", "snapshots", "mailboxes", "members", "tmp"):
        run(mine.make_directory(name))
    try:
        run(mine.create("segments/a", pack(b"1")))
        held = run(mine.open("segments/a", "read"))
        run(mine.remove("segments/a"))
        (left,) = run(momentary_names(other))
        run(other.remove(left))
        assert run(momentary_names(other)) == []
        with contextlib.suppress(Missing):
            assert run(held.read(0, BLOCK_BYTES)) == pack(b"1")
        run(held.close())
        assert os.listdir(other.path / "segments") == []
    finally:
        for path in mine.path.iterdir():
            path.rmdir()


def test_what_was_synced_is_there_after_the_server_crashed(folders: tuple[PosixFolder, PosixFolder]) -> None:
    writer, reader = folders
    run(writer.allocate("segment", 1 << 20))
    segment, blocks = run(writer.open("segment", "append")), run(writer.open("segment", "blocks"))
    run(segment.write(100, b"batch"))
    run(segment.sync())
    run(blocks.write_block(BLOCK_BYTES, pack(b"block")))
    run(publish(writer, "temporary", "claim", pack(b"claim")))
    fault("server-reboot", 1)
    assert content(reader, "segment", 100, 5) == b"batch"
    assert content(reader, "segment", BLOCK_BYTES) == pack(b"block")
    assert content(reader, "claim") == pack(b"claim")


def test_a_crash_between_write_and_sync_costs_nothing_that_the_sync_acknowledges(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    """The server forgets what it was sent, the sync sends it anew; a second crash shows what is durable."""
    writer, reader = folders
    size = 4 << 20
    run(writer.allocate("segment", size))
    segment = run(writer.open("segment", "append"))
    run(segment.write(0, b"1" * size))
    os.posix_fadvise(segment._descriptor, 0, size, os.POSIX_FADV_DONTNEED)  # begins to send
    await_that(lambda: content(reader, "segment", 0, 1) == b"1")
    fault("server-reboot", 1)
    run(segment.sync())
    fault("server-reboot", 1)
    assert content(reader, "segment", 0, size) == b"1" * size


def test_held_files_work_while_the_server_lets_nobody_open_one_after_a_crash(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    main, backup = folders
    run(main.allocate("segment", 1 << 20))
    run(main.create("claim", pack(b"claim") + 2 * ZERO_BLOCK))
    segment, seal = run(main.open("segment", "append")), run(main.open("claim", "read"))
    presence = run(backup.open("claim", "blocks"))
    run(segment.write(0, b"first"))
    run(segment.sync())
    fault("server-reboot", 1)

    def commit() -> float:
        began = time.monotonic()
        run(segment.write(5, b"second"))
        run(segment.sync())
        assert run(seal.read(2 * BLOCK_BYTES, BLOCK_BYTES)) == ZERO_BLOCK
        run(presence.write_block(BLOCK_BYTES, pack(b"presence")))
        return time.monotonic() - began

    opened = beside(lambda: content(backup, "claim"))
    committed = beside(commit)
    took = committed.result(_BACK_SECONDS)
    assert took < 15.0, "no grace time: the clients find the server again, no more"
    assert opened.result(_BACK_SECONDS) == pack(b"claim")


def lose_the_answer(action: Callable[[], T], is_done: Callable[[], bool]) -> "Future[T]":
    """Let the server carry out a call of the first client and crash before the client hears of it."""
    fault("slow", 0, _ANSWER_MILLISECONDS)
    future = beside(action)
    await_that(is_done, 60.0)
    with cut_off():
        fault("slow", 0, 0)  # drops what is under way
        assert not future.done(), "the answer came through"
        fault("server-reboot", 1)
    return future


def is_there(folder: PosixFolder, name: str) -> bool:
    try:
        run(folder.refresh(""))
        run(folder.open(name, "read"))
    except Missing:
        return False
    return True


def test_a_link_whose_answer_was_lost_is_known_by_its_content(folders: tuple[PosixFolder, PosixFolder]) -> None:
    """The client asks again, and the server that was started anew says "exists", on every version."""
    mine, other = folders
    run(mine.create("temporary", pack(b"mine")))
    run(mine.open("temporary", "read"))
    linked = lose_the_answer(lambda: run(mine.link("temporary", "claim")), lambda: is_there(other, "claim"))
    assert linked.result(_BACK_SECONDS) in (True, False)
    assert content(mine, "claim") == content(other, "claim") == pack(b"mine")


def test_a_removal_whose_answer_was_lost_is_no_error(folders: tuple[PosixFolder, PosixFolder]) -> None:
    mine, other = folders
    run(mine.create("leftover", b""))
    removed = lose_the_answer(lambda: run(mine.remove("leftover")), lambda: not is_there(other, "leftover"))
    removed.result(_BACK_SECONDS)
    assert not is_there(mine, "leftover")


def test_an_exclusive_file_whose_answer_was_lost_is_made_once(folders: tuple[PosixFolder, PosixFolder]) -> None:
    mine, other = folders
    made = lose_the_answer(lambda: run(mine.create("temporary", pack(b"x"))), lambda: is_there(other, "temporary"))
    error: Any = made.exception(_BACK_SECONDS)
    assert error is None or isinstance(error, FolderError)
    if error is None:
        assert content(other, "temporary") == pack(b"x")


def test_a_file_that_was_refused_while_the_export_was_read_only_opens_again(
    folders: tuple[PosixFolder, PosixFolder],
) -> None:
    """An NFS 3 client remembers the refusal until the file changes, which nobody does who is refused."""
    (folders[0].path / "block").write_bytes(ZERO_BLOCK)
    fault("readonly")
    try:
        for folder in folders:
            with pytest.raises(FolderError, match="Permission denied" if version() == 3 else "denied|Read-only"):
                run(run(folder.open("block", "blocks")).write_block(0, pack(b"1")))
    finally:
        fault("readwrite")
    for folder in folders:
        run(run(folder.open("block", "blocks")).write_block(0, pack(b"2")))
