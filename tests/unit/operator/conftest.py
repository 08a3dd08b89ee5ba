"""A running API server in memory, an overseer behind it, and a reconciler that uses both."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from hanas_core import release
from hanas_operator import kinds
from hanas_operator.api import Api
from hanas_operator.followers import Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.queue import Key
from hanas_operator.reach import ProxiedReach
from hanas_operator.reconcile import Reconciler
from tests.unit.operator.api_server import ApiServer, Resource, serving
from tests.unit.operator.fake_overseer import FakeOverseer
from tests.unit.operator.making import IMAGE, KEY, settle
from tests.unit.operator.waiting import until


@pytest.fixture
async def overseer() -> FakeOverseer:
    return FakeOverseer()


@pytest.fixture
async def server(overseer: FakeOverseer) -> AsyncIterator[ApiServer]:
    made = ApiServer()
    made.proxy = overseer.handle
    async with serving(made):
        yield made


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Api]:
    async with ApiClient(Configuration(host=server.url)) as client:
        yield Api(client)


@dataclass
class Bench:
    """A reconciler and what it works on."""

    server: ApiServer
    api: Api
    overseer: FakeOverseer
    followers: Followers
    reconciler: Reconciler
    news: list[Key]

    def upgrade(self, image: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let another operator take over."""
        monkeypatch.setattr(release, "installed", lambda: version)
        self.reconciler = Reconciler(self.api, self.followers, OperatorMetrics(), image)

    def want(self, **spec: object) -> Resource:
        """Write the spec of the HANas."""
        there = self.server.find(kinds.HANAS, *KEY)
        kept = {} if there is None else {"status": there.get("status", {})}
        return self.server.put(kinds.HANAS, *KEY, spec=spec, **kept)

    async def reconcile(self) -> float | None:
        return await self.reconciler(KEY)

    async def start(self, **spec: object) -> None:
        """Make a cluster that runs, whose overseer tells ``overseer.view``."""
        self.want(**spec)
        await self.reconcile()
        settle(self.server)
        await self.reconcile()
        await self.hear()
        await self.reconcile()

    async def hear(self) -> None:
        """Wait until the follower has heard what the overseer tells."""
        wanted = self.overseer.view
        await until(lambda: self.followers.latest(KEY)[0] == wanted)


@pytest.fixture
async def bench(server: ApiServer, overseer: FakeOverseer, api: Api) -> AsyncIterator[Bench]:
    news: list[Key] = []
    metrics = OperatorMetrics()
    followers = Followers(api, ProxiedReach(api), metrics, news.append)
    yield Bench(server, api, overseer, followers, Reconciler(api, followers, metrics, IMAGE), news)
    followers.forget(KEY)
