"""The port of etcd's API: a worker that serves answers there, and another one carries connections to the main."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from hanas_core.log import records
from hanas_core.log.manifests import Cut
from hanas_core.members.documents import LOG
from hanas_core.members.timing import LAN
from hanas_serving.admission import Admission
from hanas_serving.callers import Callers
from hanas_serving.credentials import Credentials
from hanas_serving.gate import Gate
from hanas_serving.limits import Limits
from hanas_serving.relaying import Here
from hanas_serving.server import bind
from hanas_serving.tls import Tls
from hanas_serving.tls_files import TlsFiles
from hanas_worker.faces.etcd.messages.rpc_pb2 import MemberListRequest, PutRequest, RangeRequest, StatusRequest
from hanas_worker.host.host import Host
from hanas_worker.node import Node
from hanas_worker.ops.etcd import EtcdPort, id_of, place_of
from hanas_worker.ops.etcd_figures import EtcdState
from tests.unit.serving.connections import application
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.etcd_faces import Failure, ask
from tests.unit.worker.etcd_store import Real, real


class Worker:
    """A worker with the port, and what it believes."""

    def __init__(self, name: str, store: Real, members: "dict[str, Worker]") -> None:
        self.name, self.store = name, store
        self.bound = bind(0, "test", "127.0.0.1")
        self.address = f"127.0.0.1:{self.bound.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.driver = SimpleNamespace(
            serving=None,
            main_url=None,
            state=SimpleNamespace(member=SimpleNamespace(claim=None), cuts=(Cut(1, 1, 512), Cut(1, 2, 1024))),
        )
        settings = SimpleNamespace(member=name, etcd_url=self.url, timing=LAN, segment_bytes=4096)
        host = self.host = SimpleNamespace(
            settings=settings,
            folder_id="f" * 32,
            admissions={"clients": Admission[Any](Limits(connections=16))},
            peers=SimpleNamespace(presence={}),
            others=self._others,
        )
        node = cast("Node", SimpleNamespace(host=host, logs={LOG: self.driver}))
        credentials = cast("Credentials", SimpleNamespace(callers=Callers(())))
        self.port = EtcdPort(node, store.store, self.bound, credentials, Gate(), Tls(TlsFiles()), application)
        members[name] = self
        for each in members.values():
            each.host.peers.presence = {
                other: SimpleNamespace(member=other, etcd_url=worker.url) for other, worker in members.items()
            }

    def _others(self) -> list[Any]:
        return [shown for other, shown in self.host.peers.presence.items() if other != self.name]

    def look(self) -> None:
        """See who can answer, at once."""
        if self.port.relays.look():
            self.port._endpoint.abort()

    def follow(self, main: str | None) -> None:
        """Believe that ``main`` is the main, this worker perhaps."""
        own = main == self.name
        self.driver.serving = self.store.stage.service if own else None
        self.driver.main_url = None if own or main is None else "http://main"
        if main is not None:
            self.driver.state.member.claim = SimpleNamespace(member=main)


@asynccontextmanager
async def opened(worker: Worker) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(worker.address, [("grpc.initial_reconnect_backoff_ms", 50)]) as channel:
        yield channel


@pytest.fixture(name="workers")
async def _workers() -> AsyncIterator[tuple[Worker, Worker]]:
    members: dict[str, Worker] = {}
    async with real() as store, asyncio.timeout(AMPLE_SECONDS):
        one, two = Worker("one", store, members), Worker("two", store, members)
        for worker in (one, two):
            await worker.port.start()
        yield one, two
        for worker in (one, two):
            await worker.port.stop()


async def test_each_worker_is_an_endpoint(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    one.follow("one")
    two.follow("one")
    async with opened(one) as here, opened(two) as there:
        await ask(there, "KV/Put", PutRequest(key=b"a", value=b"v"))
        assert (await ask(here, "KV/Range", RangeRequest(key=b"a"))).kvs[0].value == b"v"
        status = await ask(there, "Maintenance/Status", StatusRequest())
        assert status.leader == status.header.member_id == id_of("one")
        assert status.dbSize == 4096 + 1024
        members = (await ask(there, "Cluster/MemberList", MemberListRequest())).members
        assert [(each.name, list(each.clientURLs)) for each in members] == [("one", [one.url]), ("two", [two.url])]
        assert len(two.port.relays) == 1
        assert EtcdState.of(cast("Host", one.host)) == EtcdState(4, 0, 0, 0, 0)
        assert EtcdState.of(cast("Host", two.host)) == EtcdState(0, 1, 0, 1, 0)
    await until(lambda: len(two.port.relays) == 0)


async def test_a_client_that_comes_while_there_is_no_main_waits(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    async with opened(two) as channel:
        asked = asyncio.create_task(ask(channel, "KV/Put", PutRequest(key=b"a", value=b"v")))
        await until(lambda: len(two.port.relays) == 1)
        assert two.port.relays.waiting == 1
        one.follow("one")
        two.follow("one")
        assert not isinstance(await asked, Failure)


async def test_a_new_main_is_turned_to_and_a_former_one_lets_go(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    one.follow("one")
    two.follow("one")
    async with opened(one) as first, opened(two) as second:
        for channel in (first, second):
            await ask(channel, "KV/Put", PutRequest(key=b"a", value=b"v"))
        one.follow("two")
        two.follow("two")
        await until(lambda: len(two.port.relays) == 0)
        for channel in (first, second):
            while isinstance(await ask(channel, "KV/Put", PutRequest(key=b"a", value=b"v")), Failure):
                await channel.channel_ready()
            status = await ask(channel, "Maintenance/Status", StatusRequest())
            assert status.header.member_id == id_of("two")
        assert len(one.port.relays) == 1


async def test_workers_that_serve_answer_whoever_is_the_main(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    forwarder = SimpleNamespace(declined=False)
    one.store.state.forwarder = forwarder
    async with opened(one) as here, opened(two) as there:
        states = {channel: channel.get_state(try_to_connect=True) for channel in (here, there)}
        for main in ("one", None, "two", "another"):
            one.follow(main)
            two.follow(main)
            for worker, channel in ((one, here), (two, there)):
                worker.look()
                status = await ask(channel, "Maintenance/Status", StatusRequest())
                assert status.header.member_id == id_of(worker.name)
                states[channel] = channel.get_state()
                assert states[channel] is grpc.ChannelConnectivity.READY
        assert (len(one.port.relays), len(two.port.relays)) == (0, 0)
        forwarder.declined = True  # a member of an older version has come
        two.follow("one")
        one.follow("one")
        two.look()
        while isinstance(answer := await ask(there, "Maintenance/Status", StatusRequest()), Failure):
            await there.channel_ready()
        assert answer.header.member_id == id_of("one")


async def test_a_worker_that_serves_carries_connections_until_writes_have_revisions(
    workers: tuple[Worker, Worker],
) -> None:
    one, two = workers
    one.store.state.forwarder = SimpleNamespace(declined=False)
    one.follow("one")
    two.follow("one")
    service = one.store.stage.service
    assert two.port._target() is Here.HERE
    service.form = records.PLAIN
    assert (one.port._target(), two.port._target()) == (None, place_of(one.url))


async def test_a_main_of_which_no_port_is_known_is_waited_for(workers: tuple[Worker, Worker]) -> None:
    one, two = workers
    two.follow("another")
    one.follow("one")
    one.host.peers.presence["one"] = SimpleNamespace(member="one", etcd_url="")
    async with opened(two) as channel:
        asked = asyncio.create_task(ask(channel, "KV/Put", PutRequest(key=b"a", value=b"v")))
        await until(lambda: len(two.port.relays) == 1)
        two.follow("two")  # under an address that is this worker's own, an earlier run's claim leads nowhere
        two.driver.serving, two.driver.main_url = None, "http://main"
        assert two.port._target() is None
        two.follow("two")
        assert not isinstance(await asked, Failure)


def test_where_a_face_listens() -> None:
    assert place_of("http://10.0.0.1:2379") == ("10.0.0.1", 2379)
    assert place_of("https://[::1]") == ("::1", 443)
    assert 0 < id_of("") < 1 << 64
