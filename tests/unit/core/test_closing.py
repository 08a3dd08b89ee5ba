"""Whoever drops a file of the folder waits for no file server: a thread of its own closes it."""

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from hanas_core.volume import closing
from hanas_core.volume.blocking import run
from hanas_core.volume.closing import Closer
from hanas_core.volume.posix import PosixFolder
from tests.unit.waiting import until


class Server:
    """Answers no close before it is back; knows what was closed, and by which threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.back = threading.Event(), threading.Event()
        self.error: OSError | None = None
        self.closed: list[int] = []
        self.threads: set[str] = set()
        self._close = os.close
        monkeypatch.setattr(os, "close", self._close_late)

    def _close_late(self, descriptor: int) -> None:
        self.asked.set()
        if threading.current_thread() is not threading.main_thread():  # a test that waits here would never fail
            self.back.wait()
        self._close(descriptor)
        self.threads.add(threading.current_thread().name)
        self.closed.append(descriptor)
        if self.error is not None:
            raise self.error


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PosixFolder:
    """A folder with a closer of its own, so that no other test waits for it."""
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr("hanas_core.volume.posix.CLOSER", Closer())
    return PosixFolder(tmp_path)


@pytest.fixture
def server(folder: PosixFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    away = Server(monkeypatch)
    yield away
    away.back.set()


async def test_the_event_loop_drops_a_file_while_the_server_is_away(folder: PosixFolder, server: Server) -> None:
    file = run(folder.open("file", "read"))
    descriptor = file._descriptor
    del file  # waits for nothing
    assert os.fstat(descriptor), "it is still open"
    server.back.set()
    await until(lambda: server.closed == [descriptor])
    assert server.threads == {"folder-close"}


async def test_no_more_files_are_opened_while_too_many_wait_to_be_closed(
    folder: PosixFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "_MOST_WAITING", 3)
    run(folder.open("file", "read"))
    await until(server.asked.is_set)
    for _ in range(3):
        run(folder.open("file", "read"))
    opening = asyncio.create_task(asyncio.to_thread(run, folder.open("file", "read")))
    await until(is_waiting)
    assert not opening.done()
    server.back.set()
    assert run((await opening).read(0, 7)) == b"content"


def is_waiting() -> bool:
    """Whether a thread waits until it may open a file."""
    return any("admit" in calls(frame) for frame in sys._current_frames().values())


def calls(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


async def test_an_error_of_one_close_does_not_keep_others_open(folder: PosixFolder, server: Server) -> None:
    server.error = OSError(errno.EIO, "the server has lost it")
    server.back.set()
    for _ in range(2):
        run(folder.open("file", "read"))
    await until(lambda: len(server.closed) == 2)


async def test_one_thread_closes_for_all_folders(folder: PosixFolder, tmp_path: Path) -> None:
    before = threading.active_count()
    PosixFolder(tmp_path)
    assert threading.active_count() == before
