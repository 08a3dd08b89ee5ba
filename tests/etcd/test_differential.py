"""The same random requests to a real etcd and to the face: the same answers, field by field, and the same events.

The face is asked over a plain model, over the store of a main, and over that of a backup that serves.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    HashKVResponse,
    LeaseTimeToLiveResponse,
    WatchCancelRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
)
from tests.etcd.requests import Requests
from tests.etcd.sides import comparable, real_etcd
from tests.unit.waiting import AMPLE_SECONDS
from tests.unit.worker.etcd_backup import backup_of_a_main
from tests.unit.worker.etcd_faces import Failure, ask, serving, stub
from tests.unit.worker.etcd_store import made

REQUESTS = int(os.environ.get("HANAS_ETCD_REQUESTS", "3000"))
SEED = int(os.environ.get("HANAS_ETCD_SEED", "1"))
ROUND = 100
WATCHES = 12
_ASK_AGAIN_SECONDS = 0.1
"""etcd says nothing of progress while a watch has not caught up: it has to be asked again."""


def alike(answer: Any) -> Any:
    """Return an answer without ids and times."""
    answer = comparable(answer)
    if isinstance(answer, LeaseTimeToLiveResponse) and answer.TTL > 0:
        answer.TTL = 1
        answer.keys.sort()
    if isinstance(answer, HashKVResponse):
        answer.hash = answer.compact_revision = 0  # etcd answers with what it kept of a compaction
    return answer


@asynccontextmanager
async def serving_backup() -> AsyncIterator[Any]:
    async with backup_of_a_main() as backup:
        yield backup.adapter


class Watching:
    """The watches of one side, on one stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = stub(channel, "Watch/Watch")()
        self.control: list[Any] = []
        self.events: dict[int, list[Any]] = defaultdict(list)
        self.progress = 0
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for response in self._call:
            if response.events:
                self.events[response.watch_id] += response.events
                assert response.header.revision >= response.events[-1].kv.mod_revision
                assert response.events[0].kv.mod_revision > self.progress, "progress ran ahead of an event"
            elif response.created or response.compact_revision:
                self.control.append(comparable(response))
            elif response.canceled:
                continue  # one that was lost before
            else:
                self.progress = response.header.revision
            self._news.set()

    async def _until(self, condition: Callable[[], bool], again: WatchRequest | None = None) -> None:
        async with asyncio.timeout(AMPLE_SECONDS):
            while not condition():
                self._news.clear()
                if again is not None:
                    await self._call.write(again)
                try:
                    async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def begin(self, request: WatchCreateRequest, *, lost: bool) -> list[Any]:
        """Begin a watch, which is ``lost`` at once if it wants what is compacted; return what is said of it."""
        before = len(self.control)
        await self._call.write(WatchRequest(create_request=request))
        await self._until(lambda: len(self.control) > before)
        if lost and not self.control[-1].canceled:
            await self._until(lambda: len(self.control) > before + 1)
        answers = self.control[before:]
        if lost:  # else etcd tells no progress on this stream any more
            await self._call.write(WatchRequest(cancel_request=WatchCancelRequest(watch_id=request.watch_id)))
        return answers

    async def end(self, revision: int) -> None:
        """End when all events up to ``revision`` are there."""
        request = WatchRequest(progress_request=WatchProgressRequest())
        await self._until(lambda: self.progress >= revision, request)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._call.cancel()


async def begin_watches(sides: list[Watching], requests: Requests) -> None:
    for number in range(1, WATCHES + 1):
        request = requests.watch(number)
        if number == WATCHES:
            request = WatchCreateRequest(key=b"\0", range_end=b"\0", watch_id=number, prev_kv=True)
        lost = 0 < request.start_revision < requests.compacted
        expected, actual = [await side.begin(request, lost=lost) for side in sides]
        assert [str(each) for each in actual] == [str(each) for each in expected], request


def events_of(side: Watching, number: int, compacted: int) -> list[str]:
    """Return the events of a watch. What was before an event at the compacted revision etcd does not know."""
    events = side.events[number]
    for event in events:
        if event.kv.mod_revision - 1 < compacted:
            event.ClearField("prev_kv")
    return [str(event) for event in events]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("behind", ["model", "store", "backup"])
async def test_answers_and_events_are_those_of_etcd(tmp_path: Path, behind: str) -> None:
    requests, done = Requests(SEED), 0
    async with (
        real_etcd(tmp_path) as etcd,
        serving_backup() if behind == "backup" else made(behind) as store,
        serving(store) as face,
        grpc.aio.insecure_channel(f"127.0.0.1:{etcd}") as theirs,
        grpc.aio.insecure_channel(f"127.0.0.1:{face}") as ours,
    ):
        while done < REQUESTS:
            sides = [Watching(theirs), Watching(ours)]
            await begin_watches(sides, requests)
            compacted = requests.compacted
            for _ in range(ROUND):
                done += 1
                method, request = requests.any()
                if method == "KV/Compact":  # what watches are told of the time before depends on when they are read
                    break
                await compare(method, request, [theirs, ours], requests, done)
            for side in sides:
                await side.end(requests.revision)
            for number in range(1, WATCHES + 1):
                expected, actual = (events_of(side, number, compacted) for side in sides)
                assert actual == expected, f"watch {number}, after {done} requests"
            await compare("KV/Compact", requests.compaction(), [theirs, ours], requests, done)


async def compare(method: str, request: Any, channels: list[grpc.aio.Channel], requests: Requests, done: int) -> None:
    expected, actual = [alike(await ask(channel, method, request)) for channel in channels]
    assert actual == expected, f"{done}: {method}\n{request}\netcd: {expected}\nHANas: {actual}"
    if isinstance(actual, Failure):
        return
    requests.revision = max(requests.revision, actual.header.revision)
    if method == "KV/Compact":
        requests.compacted = request.revision
