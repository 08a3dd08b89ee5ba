"""etcd's API at workers that serve: each answers by itself, and no connection ends when the main is another one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, cycle
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from hanas_lab.history import Action, Operation, OperationOutcome
from hanas_lab.linearizable import counterexample
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    AlarmRequest,
    CompactionRequest,
    Compare,
    DeleteRangeRequest,
    HashKVRequest,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    MemberListRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    StatusRequest,
    TxnRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
)
from tests.integration.cluster import Cluster, running_etcd
from tests.integration.waiting import PATIENCE_SECONDS, eventually
from tests.unit.worker.etcd_faces import Failure, ask, stub

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = grpc.ChannelConnectivity.READY


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    patience = {"HANAS_PATIENCE": str(PATIENCE_SECONDS)}
    directory = tmp_path_factory.mktemp("lab")
    async with running_etcd(directory, 3, HANAS_BACKUPS="serve", **patience) as cluster:
        await eventually(lambda: _numbered(cluster))
        yield cluster


async def _numbered(cluster: Cluster) -> bool:
    """Return whether every worker answers by itself: some seconds after a folder was made its writes have revisions."""
    for name in cluster.names:
        async with at(cluster, name) as client:
            status = await client.ask("Maintenance/Status", StatusRequest())
        if (await cluster.status(name))["etcd"]["relayed"] or status.header.member_id == 0:
            return False
        members = {each.name: each.ID for each in await members_of(cluster, name)}
        if status.header.member_id != members[name]:
            return False
    return True


async def members_of(cluster: Cluster, name: str) -> list[Any]:
    async with at(cluster, name) as client:
        return list((await client.ask("Cluster/MemberList", MemberListRequest())).members)


async def _known_to_all(cluster: Cluster) -> bool:
    """Return whether every worker lists all of them: one counts when it was seen to live."""
    lists = [await members_of(cluster, name) for name in cluster.names]
    return all(each == lists[0] and len(each) == len(lists) for each in lists)


class Client:
    """A client of one worker, over one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.states: list[grpc.ChannelConnectivity] = []
        """Those of the connection after it was ready."""

    async def follow(self) -> None:
        """Note how the connection does."""
        await self.channel.channel_ready()
        state = READY
        while True:
            await self.channel.wait_for_state_change(state)
            self.states.append(state := self.channel.get_state())

    async def ask(self, method: str, request: Any) -> Any:
        """Return the answer; no call may fail."""
        answer = await ask(self.channel, method, request)
        assert not isinstance(answer, Failure), (method, answer)
        return answer

    async def put(self, key: str, value: str = "v", **more: Any) -> int:
        """Return the revision that wrote the key."""
        answer = await self.ask("KV/Put", PutRequest(key=key.encode(), value=value.encode(), **more))
        return int(answer.header.revision)

    async def get(self, key: str, **more: Any) -> Any:
        return await self.ask("KV/Range", RangeRequest(key=key.encode(), **more))


@asynccontextmanager
async def at(cluster: Cluster, name: str) -> AsyncIterator[Client]:
    """Yield a client of a worker."""
    async with grpc.aio.insecure_channel(
        urlsplit(cluster.lab.etcd_urls[name]).netloc, [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        client = Client(channel)
        following = asyncio.create_task(client.follow())
        try:
            yield client
        finally:
            following.cancel()


class Watcher:
    """A watch of all keys below a prefix, on one stream that must not end."""

    def __init__(self, client: Client, prefix: str, start: int = 0) -> None:
        self.events: list[tuple[int, str]] = []
        self.progress = self.begun = 0
        self._news = asyncio.Event()
        self._call = stub(client.channel, "Watch/Watch")()
        self.task = asyncio.create_task(self._read(prefix.encode(), start))

    async def _read(self, prefix: bytes, start: int) -> None:
        create = WatchCreateRequest(key=prefix, range_end=prefix[:-1] + bytes([prefix[-1] + 1]), start_revision=start)
        await self._call.write(WatchRequest(create_request=create))
        async for response in self._call:
            assert not response.canceled
            if response.created:
                self.begun = response.header.revision
            elif response.events:
                assert response.events[0].kv.mod_revision > self.progress, "progress ran ahead of an event"
                assert response.header.revision >= response.events[-1].kv.mod_revision
                self.events += [(event.kv.mod_revision, event.kv.key.decode()) for event in response.events]
            else:
                self.progress = response.header.revision
            self._news.set()
        raise AssertionError("the stream ended")

    async def ask_progress(self) -> None:
        await self._call.write(WatchRequest(progress_request=WatchProgressRequest()))

    async def until(self, condition: Any) -> None:
        """Wait until it holds; fail at once if the stream does."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({news, self.task}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if self.task.done():
                    self.task.result()

    def end(self) -> None:
        self.task.cancel()
        self._call.cancel()


async def flow(client: Client, prefix: str) -> list[Any]:
    """Ask for something of everything; return what was told, without revisions, which are counted from the first."""
    seen: list[Any] = []
    first = await client.put(f"{prefix}a", "1")

    def note(answer: Any, *told: Any) -> None:
        seen.append((answer.header.revision - first, *told))

    answer = await client.ask("KV/Put", PutRequest(key=f"{prefix}a".encode(), value=b"2", prev_kv=True))
    note(answer, answer.prev_kv.value, answer.prev_kv.version)
    answer = await client.get(f"{prefix}a", revision=first)
    note(answer, answer.kvs[0].value, answer.count)
    for stale in (False, True):
        answer = await client.get(f"{prefix}a", serializable=stale)
        note(answer, answer.kvs[0].value, answer.kvs[0].version, answer.kvs[0].mod_revision - first)
    lease = (await client.ask("Lease/LeaseGrant", LeaseGrantRequest(TTL=60))).ID
    transaction = TxnRequest(
        compare=[Compare(key=f"{prefix}b".encode(), target=Compare.VERSION, result=Compare.EQUAL, version=0)],
        success=[
            RequestOp(request_put=PutRequest(key=f"{prefix}b".encode(), value=b"x", lease=lease)),
            RequestOp(request_range=RangeRequest(key=prefix.encode(), range_end=b"\0")),
        ],
        failure=[RequestOp(request_range=RangeRequest(key=f"{prefix}b".encode()))],
    )
    for _ in range(2):
        answer = await client.ask("KV/Txn", transaction)
        told = answer.responses[-1].response_range.kvs
        note(answer, answer.succeeded, [kv.value for kv in told if kv.lease == lease])
    answer = await client.ask("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=lease, keys=True))
    note(answer, answer.grantedTTL, [key.decode().removeprefix(prefix) for key in answer.keys])
    renewing = stub(client.channel, "Lease/LeaseKeepAlive")()
    await renewing.write(LeaseKeepAliveRequest(ID=lease))
    assert (await renewing.read()).TTL == 60
    renewing.cancel()
    note(await client.ask("Lease/LeaseRevoke", LeaseRevokeRequest(ID=lease)))
    answer = await client.get(f"{prefix}b")
    note(answer, answer.count)
    answer = await client.ask("KV/DeleteRange", DeleteRangeRequest(key=f"{prefix}a".encode()))
    note(answer, answer.deleted)
    answer = await client.ask("KV/DeleteRange", DeleteRangeRequest(key=f"{prefix}a".encode()))
    note(answer, answer.deleted)
    present = answer.header.revision
    note(await client.ask("KV/Compact", CompactionRequest(revision=present)))
    for method, request in (
        ("KV/Compact", CompactionRequest(revision=present)),
        ("KV/Compact", CompactionRequest(revision=present + 1)),
        ("KV/Range", RangeRequest(key=b"a", revision=present - 1)),
        ("KV/Range", RangeRequest(key=b"a", revision=present + 1)),
        ("Lease/LeaseRevoke", LeaseRevokeRequest(ID=lease)),
        ("KV/Put", PutRequest(key=b"a", lease=lease)),
        ("KV/Put", PutRequest(key=b"never-there", ignore_value=True)),
    ):
        seen.append(await ask(client.channel, method, request))
    assert all(isinstance(each, Failure) for each in seen[-7:]), seen[-7:]
    call = stub(client.channel, "Watch/Watch")()
    await call.write(WatchRequest(create_request=WatchCreateRequest(key=b"a", start_revision=present - 1)))
    assert (await call.read()).created
    lost = await call.read()
    seen.append((lost.canceled, lost.compact_revision - first))
    call.cancel()
    return seen


async def test_every_worker_answers_by_itself_as_the_main_does(trio: Cluster) -> None:
    main = await trio.settle()
    flows = {}
    for name in trio.names:
        async with at(trio, name) as client:
            flows[name] = await flow(client, f"{name}/")
        assert (await trio.status(name))["etcd"]["relayed"] == 0
    assert all(each == flows[main] for each in flows.values()), flows


async def test_what_is_told_of_the_cluster_is_the_same_everywhere(trio: Cluster) -> None:
    main = await trio.settle()
    await eventually(lambda: _known_to_all(trio))
    ids = {each.name: each.ID for each in await members_of(trio, main)}
    hashes = set()
    async with at(trio, main) as client:
        await client.put("something")
    for name in trio.names:
        async with at(trio, name) as client:
            await client.get("something")  # it is applied here when that is answered
            status = await client.ask("Maintenance/Status", StatusRequest())
            assert (status.leader, status.header.member_id) == (ids[main], ids[name])
            assert (list(status.errors), status.raftTerm > 0) == ([], True)
            assert status.dbSize >= status.dbSizeInUse > 0
            assert not (await client.ask("Maintenance/Alarm", AlarmRequest())).alarms
            hashes.add((await client.ask("Maintenance/HashKV", HashKVRequest())).hash)
    assert len(hashes) == 1


async def test_every_worker_reads_what_was_written_at_any_other_before(trio: Cluster) -> None:
    await trio.settle()
    told = 0
    first, second, third = trio.names
    async with at(trio, first) as one, at(trio, second) as two, at(trio, third) as three:
        for number in range(20):
            for writer in (one, two, three):
                revision = await writer.put("shared", str(number))
                assert revision > told
                for reader in (one, two, three):
                    answer = await reader.get("shared")
                    assert (answer.kvs[0].value, answer.kvs[0].mod_revision) == (str(number).encode(), revision)
                    assert answer.header.revision >= revision
                    begun = Watcher(reader, "shared")
                    await begun.until(lambda begun=begun: begun.begun)
                    assert begun.begun >= revision
                    begun.end()
                told = revision


async def test_a_takeover_is_a_pause_without_an_error_on_connections_that_go_on(trio: Cluster) -> None:
    main = await trio.settle()
    survivors = [name for name in trio.names if name != main]
    written: list[tuple[int, str]] = []
    stopping = asyncio.Event()
    counts = dict.fromkeys(survivors, 0)

    async def write(client: Client, name: str) -> None:
        lease = (await client.ask("Lease/LeaseGrant", LeaseGrantRequest(TTL=60))).ID
        renewing = stub(client.channel, "Lease/LeaseKeepAlive")()
        told = 0
        while not stopping.is_set():
            key = f"k/{name}/{counts[name]}"
            revision = await client.put(key, key, lease=lease)
            written.append((revision, key))
            read = await client.get(key)
            assert read.kvs[0].value == key.encode()
            stale = await client.get(key, serializable=True)
            assert stale.count == 1
            gets = TxnRequest(success=[RequestOp(request_range=RangeRequest(key=key.encode()))])
            assert (await client.ask("KV/Txn", gets)).responses[0].response_range.count == 1
            await renewing.write(LeaseKeepAliveRequest(ID=lease))
            renewed = await renewing.read()
            assert renewed.TTL == 60
            for header in (read.header, stale.header, renewed.header):
                assert header.revision >= told
                told = header.revision
            counts[name] += 1
        renewing.cancel()

    async with at(trio, survivors[0]) as one, at(trio, survivors[1]) as two:
        clients = dict(zip(survivors, (one, two), strict=True))
        watchers = [Watcher(client, "k/") for client in (one, two)]
        for watcher in watchers:
            await watcher.until(lambda watcher=watcher: watcher.begun)
        async with asyncio.TaskGroup() as group:
            for name, client in clients.items():
                group.create_task(write(client, name))
            await eventually(lambda: reached(counts, dict.fromkeys(survivors, 20)))
            epoch = await trio.epoch()
            await trio.lab.kill(main)
            await eventually(lambda: later(trio, epoch))
            goals = {name: number + 20 for name, number in counts.items()}
            await eventually(lambda: reached(counts, goals))
            stopping.set()
        last = max(revision for revision, _ in written)
        for watcher in watchers:
            await watcher.ask_progress()
            await watcher.until(lambda watcher=watcher: watcher.progress >= last)
            assert watcher.events == sorted(written)
            watcher.end()
        assert await trio.main() in survivors, "one of them became the main, with its client"
        assert (one.states, two.states) == ([], []), "no connection ended"
    await trio.lab.start_worker(main)


async def reached(counts: dict[str, int], goals: dict[str, int]) -> bool:
    return all(counts[name] >= goal for name, goal in goals.items())


async def later(cluster: Cluster, epoch: int) -> bool:
    return await cluster.epoch() > epoch


@pytest.mark.long
async def test_a_paused_main_keeps_its_connections_and_goes_on_as_a_backup(trio: Cluster) -> None:
    main = await trio.settle()
    other = next(name for name in trio.names if name != main)
    async with at(trio, main) as there, at(trio, other) as here:
        watcher = Watcher(there, "p/")
        await watcher.until(lambda: watcher.begun)
        written = [(await there.put("p/before"), "p/before")]
        epoch = await trio.epoch()
        await trio.lab.pause(main)
        read = asyncio.create_task(there.get("p/while"))
        written += [(await here.put("p/while", "new"), "p/while")]
        await eventually(lambda: later(trio, epoch))
        written += [(await here.put(f"p/{number}"), f"p/{number}") for number in range(20)]
        await trio.lab.resume(main)
        assert (await read).kvs[0].value == b"new", "nothing stale is read"
        written += [(await there.put("p/after"), "p/after")]
        await watcher.until(lambda: len(watcher.events) == len(written))
        assert watcher.events == written
        watcher.end()
        assert (there.states, here.states) == ([], [])
    await trio.settle()


class Historian:
    """Clients that put, read and delete a few keys, and note what they were told."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.stopping = asyncio.Event()
        self._numbers = count(1)

    async def run(self, client: Client, name: str) -> None:
        """Go on until it is over; what fails may have been done."""
        for kind in cycle((Action.PUT, Action.GET, Action.GET, Action.PUT, Action.DELETE, Action.GET)):
            if self.stopping.is_set():
                return
            number = next(self._numbers)
            key, value = f"h/{number % 3}", str(number) if kind is Action.PUT else None
            start = time.monotonic()
            answer = await ask(client.channel, *_asked(kind, key, value))
            if not isinstance(answer, Failure):
                self._note(kind, key, value, start, name, answer)
                continue
            await client.channel.channel_ready()
            if kind is not Action.GET:
                self.operations.append(
                    Operation(
                        start=start, client=name, kind=kind, key=key, value=value, outcome=OperationOutcome.UNKNOWN
                    )
                )

    async def goes_on(self) -> None:
        """Return when there is more."""
        goal = len(self.operations) + 100

        async def grown() -> bool:
            return len(self.operations) >= goal

        await eventually(grown)

    def _note(self, kind: Action, key: str, value: str | None, start: float, name: str, answer: Any) -> None:
        outcome, version = OperationOutcome.OK, f"1-{answer.header.revision}"
        if kind is Action.GET and answer.kvs:
            value, version = answer.kvs[0].value.decode(), f"1-{answer.kvs[0].mod_revision}"
        elif kind is not Action.PUT and not getattr(answer, "deleted", 0):
            outcome, version = OperationOutcome.ABSENT, ""
        told = Operation(
            start=start,
            end=time.monotonic(),
            client=name,
            kind=kind,
            key=key,
            value=value,
            outcome=outcome,
            version=version or None,
        )
        self.operations.append(told)


def _asked(kind: Action, key: str, value: str | None) -> tuple[str, Any]:
    if kind is Action.PUT:
        return "KV/Put", PutRequest(key=key.encode(), value=(value or "").encode())
    if kind is Action.GET:
        return "KV/Range", RangeRequest(key=key.encode())
    return "KV/DeleteRange", DeleteRangeRequest(key=key.encode())


@pytest.mark.long
async def test_what_clients_of_all_workers_are_told_is_linearizable_over_two_takeovers(trio: Cluster) -> None:
    await trio.settle()
    historian = Historian()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for name in trio.names:
            for number in range(2):
                client = await stack.enter_async_context(at(trio, name))
                group.create_task(historian.run(client, f"{name}-{number}"))
        for _ in range(2):
            await historian.goes_on()
            await trio.lab.kill(await trio.main())
            await trio.settle()
        await historian.goes_on()
        historian.stopping.set()
    for key in {operation.key for operation in historian.operations}:
        assert counterexample([each for each in historian.operations if each.key == key]) is None


async def test_connections_at_a_main_that_hands_over_go_on(trio: Cluster) -> None:
    main = await trio.settle()
    successor = next(name for name in trio.names if name != main)
    async with at(trio, main) as client:
        watcher = Watcher(client, "s/")
        await watcher.until(lambda: watcher.begun)
        epoch, written = await trio.epoch(), list[tuple[int, str]]()

        async def write() -> None:
            while await trio.epoch() == epoch or len(written) < 50:
                key = f"s/{len(written)}"
                written.append((await client.put(key), key))

        writing = asyncio.create_task(write())
        await eventually(lambda: _switched(trio, successor))
        await writing
        assert await trio.main() == successor
        await watcher.until(lambda: len(watcher.events) == len(written))
        assert watcher.events == written
        assert client.states == []
        watcher.end()


async def _switched(cluster: Cluster, successor: str) -> bool:
    await cluster.client.switch_over(successor)
    return True
