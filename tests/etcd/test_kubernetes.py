"""A real Kubernetes whose only store is HANas goes on while the main is killed, paused, and has a folder that hangs."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from hanas_lab import Lab, mounts
from hanas_lab.hosts import Host
from hanas_lab.mounts import Mount
from tests.etcd.kubernetes import MACHINE, Commands, Watcher, Writer, api_of, caches_begun, list_for_ever
from tests.etcd.sides import missing
from tests.integration.waiting import busy, eventually

KILLS, PAUSES, HANGS = 10, 5, 1
_WORKERS = 3
_WRITERS, _WATCHERS = 3, 4
_WELL_WRITES = 20
"""Are acknowledged between two faults."""
_FAULT_SECONDS = 60.0
_MEDIAN_SECONDS, _MOST_SECONDS = 1.0, 3.0
"""Without an acknowledged write; longer on a busy machine."""


@dataclass
class Stage:
    """A Kubernetes on three workers, each with a mount of the folder that can hang."""

    lab: Lab
    views: dict[str, Mount]
    api: httpx.AsyncClient
    commands: Commands

    async def main(self) -> str:
        return await eventually(self.lab.main, _FAULT_SECONDS)

    async def replaced(self, former: str) -> None:
        async def another() -> bool:
            return await self.lab.main() not in {None, former}

        await eventually(another, _FAULT_SECONDS)

    async def kill(self) -> None:
        main = await self.main()
        await self.lab.kill(main)
        await self.replaced(main)
        await self.lab.start_worker(main)

    async def pause(self) -> None:
        main = await self.main()
        await self.lab.pause(main)
        await self.replaced(main)
        await self.lab.resume(main)

    async def hang(self) -> None:
        main = await self.main()
        self.views[main].hang()
        try:
            await self.replaced(main)
        finally:
            self.views[main].go_on()


@asynccontextmanager
async def _stage(directory: Path, backups: str) -> AsyncIterator[Stage]:
    commands = Commands()
    if (trouble := mounts.obstacle()) is not None:
        missing(trouble)
    (directory / "volume").mkdir()
    names = [f"worker-{number}" for number in range(1, _WORKERS + 1)]
    async with AsyncExitStack() as stack:
        views = {name: Mount(directory / "volume", directory / f"mount-{name}") for name in names}
        for view in views.values():
            await view.attach()
            stack.push_async_callback(view.detach)
        hosts = {name: Host(folder=view.point) for name, view in views.items()}
        hosts["overseer"] = Host(folder=directory / "volume")
        lab = await stack.enter_async_context(
            Lab(
                directory / "lab",
                _WORKERS,
                overseer_port=0,
                first_port=0,
                environment={"HANAS_BACKUPS": backups},
                hosts=hosts,
                patience=_FAULT_SECONDS,
                etcd=True,
            )
        )
        stores = [f"http://{MACHINE}:{urlsplit(url).port}" for url in lab.etcd_urls.values()]
        kubeconfig = await stack.enter_async_context(commands.kubernetes(stores))
        yield Stage(lab, views, await stack.enter_async_context(api_of(kubeconfig, directory)), commands)


@pytest.fixture(name="stage", params=["serve", "redirect"])
async def _staged(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with _stage(tmp_path, request.param) as stage:
        yield stage


@pytest.mark.timeout(1800)
async def test_a_kubernetes_goes_on(stage: Stage) -> None:
    """No write lost, no list stale, no watch with a gap, nothing listed anew; then the cluster tests itself."""
    writers = [Writer(stage.api, f"writer-{number}") for number in range(_WRITERS)]
    since = int((await stage.api.get("/api/v1/namespaces/default")).json()["metadata"]["resourceVersion"])
    watchers = [Watcher(stage.api, since) for _ in range(_WATCHERS)]
    begun, ending, lists = await caches_begun(stage.api), asyncio.Event(), list[int]()
    beside = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    beside.append(asyncio.create_task(list_for_ever(stage.api, writers, lists)))
    writing = [asyncio.create_task(writer.write_until(ending)) for writer in writers]
    gaps: dict[str, list[float]] = {}
    try:
        faults = [stage.kill] * KILLS + [stage.pause] * PAUSES + [stage.hang] * HANGS
        for fault in faults:
            gap = await _gap(fault, writers, [*beside, *writing])
            gaps.setdefault(fault.__name__, []).append(gap)
        ending.set()
        await asyncio.gather(*writing)
        last = max(version for writer in writers for history in writer.histories.values() for _, version in history)
        async with asyncio.timeout(_FAULT_SECONDS):
            await asyncio.gather(*(_followed(watcher, writers, last) for watcher in watchers))
        assert await caches_begun(stage.api) == begun, "the API server has listed a kind of objects anew"
    finally:
        for task in (*beside, *writing):
            task.cancel()
        ended = await asyncio.gather(*beside, *writing, return_exceptions=True)
    assert [each for each in ended if isinstance(each, Exception)] == []
    for watcher in watchers:
        for name, history in ((name, history) for writer in writers for name, history in writer.histories.items()):
            told = watcher.histories[name]
            assert [kind for kind, _ in told] == [kind for kind, _ in history], name
            known = [(kind, version) for kind, version in history if version]
            assert set(known) <= set(told), name
    writes = sum(len(writer.acknowledged) for writer in writers)
    print(f"{writes} writes, {len(lists)} lists, watches opened anew {[watcher.resumed for watcher in watchers]}")
    for kind, each in gaps.items():
        print(f"{kind}: {statistics.median(each):.2f} s median, {max(each):.2f} s most without an acknowledged write")
    assert statistics.median(gaps["kill"]) < _MEDIAN_SECONDS * busy()
    assert max(gaps["kill"]) < _MOST_SECONDS * busy()
    print((await stage.commands.run("selftest"))[-2000:])


async def _gap(fault: Callable[[], Awaitable[None]], writers: list[Writer], running: list[asyncio.Task[None]]) -> float:
    """Return the longest time without an acknowledged write over a fault, seconds."""
    await _more(writers, running)
    began = time.monotonic()
    await fault()
    await _more(writers, running)
    times = sorted(when for writer in writers for when in writer.acknowledged)
    return max(later - max(earlier, began) for earlier, later in pairwise(times) if later > began)


async def _more(writers: list[Writer], running: list[asyncio.Task[None]]) -> None:
    """Wait until all writers together have had some more writes acknowledged."""
    aim = sum(len(writer.acknowledged) for writer in writers) + _WELL_WRITES

    async def enough() -> bool:
        for task in running:
            if task.done():
                task.result()  # raises what it found
        return sum(len(writer.acknowledged) for writer in writers) >= aim

    await eventually(enough, _FAULT_SECONDS)


async def _followed(watcher: Watcher, writers: list[Writer], last: int) -> None:
    """Wait until a watcher has been told of everything, also of the last deletions, whose versions nobody was told."""
    await watcher.until(last)
    deleted = {name for writer in writers for name in writer.histories}
    while not all(watcher.histories.get(name, [("", 0)])[-1][0] == "DELETED" for name in deleted):
        watcher.news.clear()
        await watcher.news.wait()
