"""The election: one leads, another one soon after it, and never two."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from hanas_operator import kinds, leadership
from hanas_operator.leadership import Leadership
from tests.unit.operator.api_server import ApiServer
from tests.unit.operator.waiting import until

LEASE = ("system", "operator")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "LEASE_SECONDS", 5)
    monkeypatch.setattr(leadership, "DEADLINE_SECONDS", 2)
    monkeypatch.setattr(leadership, "RETRY_SECONDS", 1)
    monkeypatch.setattr(leadership, "CALL_SECONDS", 0.5)


class Candidate(Leadership):
    """One that notes when it leads."""

    def __init__(self, client: ApiClient) -> None:
        self.heard: list[bool] = []
        self.task: asyncio.Task[None] | None = None
        super().__init__(client, LEASE, self.heard.append)

    def start(self) -> None:
        self.task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def candidates(server: ApiServer) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """Two of them, of which the first one leads."""
    async with ApiClient(Configuration(host=server.url)) as client:
        one, other = Candidate(client), Candidate(client)
        one.start()
        await until(lambda: one.leading)
        other.start()
        try:
            yield one, other
        finally:
            await one.stop()
            await other.stop()


async def test_the_only_operator_leads(server: ApiServer) -> None:
    async with ApiClient(Configuration(host=server.url)) as client:
        only = Leadership(client, None, lambda _: None)
        await only.run()
        assert only.leading
    assert server.calls == []


async def test_one_that_stops_leaves_the_lease_to_another_one(server: ApiServer) -> None:
    async with candidates(server) as (one, other):
        await until(lambda: [call.resource for call in server.calls].count("leases") > 8)  # both have tried again
        assert (one.heard, other.heard) == ([True], [])
        await one.stop()
        stopped = time.monotonic()
        await until(lambda: other.leading)
        assert time.monotonic() - stopped < leadership.LEASE_SECONDS - leadership.RETRY_SECONDS
        assert one.heard == [True, False]


async def test_one_without_an_api_server_stops_before_another_one_may_begin(server: ApiServer) -> None:
    async with candidates(server) as (one, other):
        server.down = 500
        began = time.monotonic()
        await until(lambda: not one.leading)
        assert time.monotonic() - began < leadership.LEASE_SECONDS
        server.down = 0
        await until(lambda: one.leading or other.leading)
        assert not (one.leading and other.leading)


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": 7, "leaseDurationSeconds": "x", "renewTime": "never"}])
async def test_a_lease_that_cannot_be_read_ends_nothing(server: ApiServer, spec: dict[str, object]) -> None:
    server.put(kinds.LEASE, *LEASE, spec=spec)
    async with ApiClient(Configuration(host=server.url)) as client:
        one = Candidate(client)
        one.start()
        with contextlib.suppress(TimeoutError):
            await until(lambda: one.leading, 2.5)
        assert one.task is not None
        assert not one.task.done()
        server.remove(kinds.LEASE, *LEASE)
        await until(lambda: one.leading)
        await one.stop()


async def test_an_api_server_that_does_not_answer_is_a_try_that_failed(server: ApiServer) -> None:
    async with ApiClient(Configuration(host="http://127.0.0.1:1")) as client:
        one = Candidate(client)
        lock = leadership._Lock(one._api, *LEASE, "me")
        assert (await lock.get("operator", "system"))[0] is False
        one.leading = True
        await one._release(*LEASE)
