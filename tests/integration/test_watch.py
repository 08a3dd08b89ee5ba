"""Watches over takeovers of real processes: a watcher is told the history, without a gap and without doubles."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

_SILENCE_SECONDS = 10.0


class Watcher:
    """Watches a prefix, and begins anew where it was whenever its stream ends, at any worker or at one."""

    def __init__(self, cluster: Cluster, prefix: str, after: int, worker: str | None = None) -> None:
        self._cluster, self._prefix, self._worker = cluster, prefix, worker
        self.told: list[tuple[int, list[Any]]] = []
        self.revision = after
        self.streams = 0
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True, timeout=_SILENCE_SECONDS) as http:
            while True:
                for name in self._cluster.running() if self._worker is None else [self._worker]:
                    try:
                        await self._stream(http, self._cluster.url(name, "/v1/watch"))
                    except httpx.HTTPError:
                        await asyncio.sleep(0.05)

    async def _stream(self, http: httpx.AsyncClient, url: str) -> None:
        query = {"prefix": self._prefix, "from": str(self.revision + 1)}
        headers = {"accept": "application/x-ndjson"}
        async with http.stream("GET", url, params=query, headers=headers) as answer:
            answer.raise_for_status()
            self.streams += 1
            async for line in answer.aiter_lines():
                document = json.loads(line)
                if "progress" in document:
                    assert document["progress"] >= self.revision
                    self.revision = document["progress"]
                else:
                    assert document["revision"] > self.revision
                    self.revision = document["revision"]
                    self.told.append((self.revision, document["changes"]))

    @property
    def keys(self) -> list[str]:
        return [change["put"]["key"] for _, changes in self.told for change in changes]


async def test_watchers_miss_nothing_over_the_death_of_the_main(trio: Cluster) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    answer = await trio.http.get(await trio.main_url("/v1/kv"))
    present = int(answer.headers["hanas-revision"])
    watchers = [Watcher(trio, "watched", present) for _ in range(3)]
    async with Writers(trio.client, prefix="watched", writers=3, rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(30))
        await trio.lab.kill(main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        await within(PATIENCE_SECONDS, load.more(30))
    assert load.failed == []
    answer = await trio.http.get(await trio.main_url("/v1/kv"))
    last = int(answer.headers["hanas-revision"])

    async def caught_up() -> bool:
        for watcher in watchers:
            if watcher.task.done():
                await watcher.task
        return all(watcher.revision >= last for watcher in watchers)

    await eventually(caught_up)
    late = Watcher(trio, "watched", present)
    await eventually(lambda: _reached(late, last))
    for watcher in (*watchers, late):
        watcher.task.cancel()
        revisions = [revision for revision, _ in watcher.told]
        assert revisions == list(range(present + 1, last + 1)), "only these keys were written"
    assert len({json.dumps(watcher.told) for watcher in (*watchers, late)}) == 1
    assert all(watcher.streams >= 2 for watcher in watchers)
    assert set(watchers[0].keys) == {entry.key async for entry in trio.client.list(prefix="watched")}


async def _reached(watcher: Watcher, revision: int) -> bool:
    return watcher.revision >= revision


async def test_a_backup_that_serves_tells_all_and_goes_on_over_a_takeover(tmp_path: Path) -> None:
    async with running(tmp_path, 3, None, HANAS_BACKUPS="serve", **PATIENT) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        backup = await cluster.a_backup()
        answer = await cluster.http.get(cluster.url(backup, "/v1/kv"))
        present = int(answer.headers["hanas-revision"])
        watcher = Watcher(cluster, "watched", present, backup)
        async with Writers(cluster.client, prefix="watched", writers=2, rest=0.01) as load:
            await within(PATIENCE_SECONDS, load.more(20))
            await cluster.lab.kill(main)
            await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
            await within(PATIENCE_SECONDS, load.more(20))
        answer = await cluster.http.get(cluster.url(backup, "/v1/kv"))
        last = int(answer.headers["hanas-revision"])
        await eventually(lambda: _reached(watcher, last))
        watcher.task.cancel()
        assert [revision for revision, _ in watcher.told] == list(range(present + 1, last + 1))
        assert watcher.streams == 1, "its worker lives on"
