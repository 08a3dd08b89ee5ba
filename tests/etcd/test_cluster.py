"""etcd's API of real workers: each one is an endpoint, and a takeover is a pause, in writes and in watches."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc.aio
import pytest

from hanas_lab import Lab
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    MemberListRequest,
    PutRequest,
    RangeRequest,
    StatusRequest,
    WatchCreateRequest,
    WatchRequest,
)
from tests.unit.worker.etcd_faces import Failure, ask, stub

ROUNDS, WRITES = 2, 60
PAUSE_SECONDS = 5.0
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]


@pytest.fixture(name="lab")
async def _lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(tmp_path, 3, overseer_port=0, first_port=0, etcd=True) as lab, asyncio.timeout(100):
        yield lab


class Endpoint:
    """A client of one worker."""

    def __init__(self, url: str) -> None:
        self.channel = grpc.aio.insecure_channel(urlsplit(url).netloc, _OPTIONS)

    async def put(self, key: bytes) -> int:
        """Return the revision that wrote the key; it is written again until it is known that it is."""
        while True:
            answer = await ask(self.channel, "KV/Put", PutRequest(key=key, value=key))
            if not isinstance(answer, Failure):
                return int(answer.header.revision)
            assert answer.code == grpc.StatusCode.UNAVAILABLE.value[0], answer
            await asyncio.sleep(0.02)


class Watcher:
    """A watch that goes on at the next revision when its connection ends."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.news = asyncio.Event()
        self._endpoint = endpoint
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        revision = 1
        while True:
            call = stub(self._endpoint.channel, "Watch/Watch")()
            create = WatchCreateRequest(key=b"k", range_end=b"l", start_revision=revision)
            try:
                await call.write(WatchRequest(create_request=create))
                async for response in call:
                    assert not response.compact_revision
                    self.events += [(event.kv.mod_revision, event.kv.key) for event in response.events]
                    revision = max(revision, self.events[-1][0] + 1) if self.events else revision
                    self.news.set()
            except grpc.aio.AioRpcError:
                if await call.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.02)

    async def until(self, revision: int) -> None:
        while not self.events or self.events[-1][0] < revision:
            self.news.clear()
            await self.news.wait()
        self._task.cancel()


async def test_every_worker_is_an_endpoint(lab: Lab) -> None:
    ends = {name: Endpoint(url) for name, url in lab.etcd_urls.items()}
    for name, end in ends.items():
        await end.put(name.encode())
    leaders = set()
    for end in ends.values():
        answer = await ask(end.channel, "KV/Range", RangeRequest(key=b"\0", range_end=b"\0"))
        assert [kv.key.decode() for kv in answer.kvs] == sorted(ends)
        status = await ask(end.channel, "Maintenance/Status", StatusRequest())
        leaders.add((status.leader, status.header.member_id))
    members = (await ask(ends["worker-1"].channel, "Cluster/MemberList", MemberListRequest())).members
    assert {member.name: member.clientURLs[0] for member in members} == lab.etcd_urls
    main = await lab.main()
    assert leaders == {(member.ID, member.ID) for member in members if member.name == main}


async def test_a_takeover_is_a_pause(lab: Lab) -> None:
    ends = {name: Endpoint(url) for name, url in lab.etcd_urls.items()}
    watchers = [Watcher(end) for end in ends.values()]
    written, longest, last = dict[bytes, int](), 0.0, time.monotonic()
    for number in range(ROUNDS):
        main = await lab.main()
        assert main is not None
        survivor = next(end for name, end in ends.items() if name != main)
        for step in range(WRITES):
            if step == WRITES // 2:
                await lab.kill(main)
            key = b"k%d-%03d" % (number, step)
            written[key] = await survivor.put(key)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        await lab.start_worker(main)
        last = time.monotonic()
    assert longest < PAUSE_SECONDS
    for watcher in watchers:
        await watcher.until(max(written.values()))
        assert watcher.events == sorted(watcher.events)
        revisions = [revision for revision, _ in watcher.events]
        assert len(set(revisions)) == len(revisions), "an event came twice"
        assert {(revision, key) for key, revision in written.items()} <= set(watcher.events), "an event was missed"
