"""Watches by a client of gRPC, over the plain model: every event once, in order, and never progress ahead of one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from hanas_worker.faces.etcd import revisions
from hanas_worker.faces.etcd import watch as watch_module
from hanas_worker.faces.etcd.messages.kv_pb2 import Event
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    CompactionRequest,
    DeleteRangeRequest,
    PutRequest,
    RequestOp,
    TxnRequest,
    WatchCancelRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
)
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.etcd_faces import ask, serving, stub
from tests.unit.worker.etcd_model import Model
from tests.unit.worker.etcd_store import made

PROGRESS = WatchRequest(progress_request=WatchProgressRequest())
EVERYTHING = {"key": b"\0", "range_end": b"\0"}


@pytest.fixture(params=["model", "store"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with made(request.param, later=False) as store:
        yield store


@asynccontextmanager
async def connected(model: Model, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        serving(model, **options) as port,
        asyncio.timeout(AMPLE_SECONDS),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


@pytest.fixture
async def channel(model: Model) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(model) as opened:
        yield opened


class Watching:
    """A stream of watches."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = stub(channel, "Watch/Watch")()

    async def create(self, **request: Any) -> Any:
        await self.call.write(WatchRequest(create_request=WatchCreateRequest(**request)))
        return await self.read()

    async def cancel(self, number: int) -> None:
        await self.call.write(WatchRequest(cancel_request=WatchCancelRequest(watch_id=number)))

    async def read(self) -> Any:
        return await self.call.read()

    async def events(self, count: int) -> list[tuple[int, bytes]]:
        """Read this many events: revision and key of each."""
        events: list[Event] = []
        while len(events) < count:
            events += (await self.read()).events
        return [(event.kv.mod_revision, event.kv.key) for event in events]


async def put(channel: grpc.aio.Channel, key: bytes, value: bytes = b"v") -> None:
    await ask(channel, "KV/Put", PutRequest(key=key, value=value))


async def test_changes_come_in_order_from_the_past_and_then_as_they_happen(channel: grpc.aio.Channel) -> None:
    for key in (b"a", b"x", b"b"):
        await put(channel, key)
    watching = Watching(channel)
    created = await watching.create(key=b"a", range_end=b"c", start_revision=2)
    assert (created.created, created.watch_id, created.header.revision, list(created.events)) == (True, 0, 4, [])
    assert await watching.events(2) == [(2, b"a"), (4, b"b")]
    await put(channel, b"a")
    await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"b"))
    response = await watching.read()
    assert (response.watch_id, response.header.revision, response.events[0].kv.version) == (0, 5, 2)
    response = await watching.read()
    assert (response.events[0].type, response.events[0].kv.key, response.events[0].kv.value) == (1, b"b", b"")


async def test_a_watch_from_now_on_and_from_the_future(channel: grpc.aio.Channel) -> None:
    await put(channel, b"a")
    watching = Watching(channel)
    await watching.create(key=b"a")
    await watching.create(key=b"a", start_revision=4)
    await put(channel, b"a")
    await put(channel, b"a")
    got = [await watching.read() for _ in range(3)]
    assert sorted((each.watch_id, each.events[0].kv.mod_revision) for each in got) == [(0, 3), (0, 4), (1, 4)]


async def test_the_changes_of_a_revision_come_together(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.create(**EVERYTHING, start_revision=1)
    puts = [RequestOp(request_put=PutRequest(key=b"%d" % number)) for number in range(100)]
    await ask(channel, "KV/Txn", TxnRequest(success=puts))
    response = await watching.read()
    assert {event.kv.mod_revision for event in response.events} == {2}
    assert len(response.events) == 100


async def test_what_was_before_is_told_who_asks_for_it(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.create(key=b"a", prev_kv=True)
    await watching.create(key=b"a")
    await put(channel, b"a", b"1")
    await put(channel, b"a", b"2")
    await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a"))
    await put(channel, b"a", b"3")
    before: dict[int, list[tuple[bytes, bytes]]] = {0: [], 1: []}
    while len(before[0]) + len(before[1]) < 8:
        response = await watching.read()
        before[response.watch_id] += [(event.kv.value, event.prev_kv.value) for event in response.events]
    assert before[0] == [(b"1", b""), (b"2", b"1"), (b"", b"2"), (b"3", b"")]
    assert before[1] == [(b"1", b""), (b"2", b""), (b"", b""), (b"3", b"")]


async def test_filters_let_puts_or_deletes_through(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.create(key=b"a", filters=[WatchCreateRequest.NOPUT])
    await watching.create(key=b"a", filters=[WatchCreateRequest.NODELETE])
    await watching.create(key=b"a", filters=[WatchCreateRequest.NODELETE, WatchCreateRequest.NOPUT])
    await put(channel, b"a")
    await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a"))
    await watching.call.write(PROGRESS)
    got = [await watching.read() for _ in range(3)]
    assert [(each.watch_id, [event.type for event in each.events]) for each in got] == [(1, [0]), (0, [1]), (-1, [])]


async def test_a_watch_of_what_is_compacted_is_told_so_before_any_event(channel: grpc.aio.Channel) -> None:
    for _ in range(5):
        await put(channel, b"a")
    await ask(channel, "KV/Compact", CompactionRequest(revision=4))
    watching = Watching(channel)
    created = await watching.create(key=b"a", start_revision=2)
    assert (created.created, created.canceled) == (True, False)
    lost = await watching.read()
    assert (lost.watch_id, lost.canceled, lost.compact_revision, list(lost.events)) == (0, True, 4, [])
    await watching.create(key=b"a", start_revision=4, watch_id=7)
    assert await watching.events(3) == [(4, b"a"), (5, b"a"), (6, b"a")], "the event at the compacted revision is lost"


async def test_a_deletion_at_the_compacted_revision_is_told(channel: grpc.aio.Channel) -> None:
    await put(channel, b"a")
    await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a"))
    await ask(channel, "KV/Compact", CompactionRequest(revision=3))
    watching = Watching(channel)
    await watching.create(key=b"a", start_revision=3)
    response = await watching.read()
    assert [(event.type, event.kv.mod_revision) for event in response.events] == [(1, 3)]


async def test_clients_choose_ids_and_strange_ranges_are_refused(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    assert (await watching.create(key=b"a", watch_id=1)).watch_id == 1
    assert [(await watching.create(key=b"a")).watch_id for _ in range(2)] == [0, 2]
    refused = await watching.create(key=b"a", watch_id=1)
    reason = "mvcc: duplicate watch ID provided on the WatchStream"
    assert (refused.watch_id, refused.created, refused.canceled, refused.cancel_reason) == (-1, True, True, reason)
    refused = await watching.create(key=b"b", range_end=b"a")
    assert (refused.watch_id, refused.cancel_reason) == (-1, "mvcc: watcher range is empty")
    await watching.cancel(99)
    await watching.cancel(1)
    answer = await watching.read()
    assert (answer.watch_id, answer.canceled, answer.created) == (1, True, False)
    assert (await watching.create(key=b"a", watch_id=1)).created
    await watching.call.write(WatchRequest())
    assert (await watching.create(key=b"", watch_id=9)).created, "the smallest key"


# ---------------------------------------------------------------------- progress


async def test_progress_is_told_behind_all_events(channel: grpc.aio.Channel, model: Model) -> None:
    """A store that takes its time with its confirmation, and changes meanwhile."""
    watching = Watching(channel)
    await watching.create(**EVERYTHING, start_revision=1)
    for _ in range(20):
        model.hold()
        await watching.call.write(PROGRESS)
        await until(lambda: bool(model.stuck))
        stuck, model.stuck = model.stuck, None
        await put(channel, b"a")
        for give in stuck or []:
            give()
        seen = 0
        while True:
            response = await watching.read()
            if not response.events:
                break
            seen = response.events[-1].kv.mod_revision
        assert response.watch_id == -1
        assert response.header.revision == seen == model.revision


async def test_progress_is_never_told_below_the_start_nor_to_nobody(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.call.write(PROGRESS)
    await watching.create(key=b"a", start_revision=9)
    await watching.call.write(PROGRESS)
    await put(channel, b"x")
    assert (await watching.create(key=b"b")).created, "progress below the start of a watch"
    await watching.cancel(0)
    await watching.read()
    await watching.call.write(PROGRESS)
    response = await watching.read()
    assert (response.watch_id, response.header.revision, response.created, response.canceled) == (-1, 2, False, False)


async def test_quiet_watches_are_told_now_and_then(model: Model) -> None:
    async with connected(model, progress_seconds=0.05) as channel:
        watching = Watching(channel)
        await watching.create(key=b"a", progress_notify=True, watch_id=5)
        await watching.create(key=b"a")
        await put(channel, b"x")
        response = await watching.read()
        while response.header.revision < 2:
            response = await watching.read()
        assert (response.watch_id, list(response.events), response.header.revision) == (5, [], 2)


async def test_a_store_that_cannot_confirm_tells_no_progress(channel: grpc.aio.Channel, model: Model) -> None:
    watching = Watching(channel)
    await watching.create(key=b"a")
    model.hold()
    for _ in range(5):
        await watching.call.write(PROGRESS)
    await until(lambda: bool(model.stuck))
    assert len(model.stuck or []) == 1, "one question at a time"
    model.stuck = None
    await put(channel, b"a")
    assert (await watching.read()).events


# ---------------------------------------------------------------------- many, slow, large


@pytest.mark.long
async def test_a_slow_client_costs_no_memory_and_misses_nothing(channel: grpc.aio.Channel, model: Model) -> None:
    watching = Watching(channel)
    await watching.create(**EVERYTHING, start_revision=1)
    value = bytes(10_000)
    for number in range(1000):
        await put(channel, b"k%03d" % (number % 50), value)
    held = await watching.events(1000)
    assert [revision for revision, _ in held] == list(range(2, 1002))


@pytest.mark.long
async def test_a_watch_that_is_not_read_does_not_keep_calls_waiting(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.create(**EVERYTHING, start_revision=1)
    for _ in range(300):
        await put(channel, b"a", bytes(30_000))
    async with asyncio.timeout(5):
        await put(channel, b"last")
    assert len(await watching.events(301)) == 301


async def test_a_thousand_watches_get_each_event_once(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    for number in range(1, 1001):
        await watching.create(key=b"a", watch_id=number)
    await put(channel, b"a")
    got = [await watching.read() for _ in range(1000)]
    assert sorted(each.watch_id for each in got) == list(range(1, 1001))


async def test_large_responses_are_cut_for_who_asks_for_it(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_FRAGMENT_BYTES", 2000)
    puts = [RequestOp(request_put=PutRequest(key=b"%02d" % number, value=bytes(600))) for number in range(10)]
    await ask(channel, "KV/Txn", TxnRequest(success=puts))
    watching = Watching(channel)
    await watching.create(**EVERYTHING, start_revision=1, fragment=True)
    parts = [await watching.read()]
    while parts[-1].fragment:
        parts.append(await watching.read())
    assert [len(part.events) for part in parts] == [3, 3, 3, 1]
    assert all(part.ByteSize() < 2000 for part in parts)
    await watching.create(**EVERYTHING, start_revision=1)
    assert len((await watching.read()).events) == 10


async def test_watches_have_a_bound_on_all_streams(
    channel: grpc.aio.Channel, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_MOST_WATCHES", 3)
    first, second = Watching(channel), Watching(channel)
    for _ in range(2):
        await first.create(key=b"a")
    await second.create(key=b"a")
    with pytest.raises(grpc.aio.AioRpcError, match="too many requests"):
        await second.create(key=b"a")
    assert await second.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: len(model.feeds) == 2)
    assert (await first.create(key=b"a")).created


async def test_who_leaves_leaves_nothing_behind(channel: grpc.aio.Channel, model: Model) -> None:
    watching = Watching(channel)
    for _ in range(3):
        await watching.create(key=b"a")
    assert len(model.feeds) == 3
    await watching.cancel(1)
    await watching.read()
    assert len(model.feeds) == 2
    watching.call.cancel()
    await until(lambda: not model.feeds)


async def test_a_client_that_ends_its_side_goes_on_watching(channel: grpc.aio.Channel) -> None:
    watching = Watching(channel)
    await watching.create(key=b"a")
    await watching.call.done_writing()
    await put(channel, b"a")
    assert await watching.events(1) == [(2, b"a")]


# ---------------------------------------------------------------------- from now on


async def test_what_is_asked_behind_a_watch_that_waits_for_its_revision_waits_too(
    model: Any, channel: grpc.aio.Channel
) -> None:
    await put(channel, b"a")
    watching = Watching(channel)
    model.hold()
    for number, start in ((7, 0), (8, 2), (9, 0)):
        create = WatchCreateRequest(key=b"a", watch_id=number, start_revision=start)
        await watching.call.write(WatchRequest(create_request=create))
    await watching.cancel(7)
    await until(lambda: bool(model.stuck))
    assert len(model.stuck) == 1, "a stream has one question at a time"
    model.release()
    got = [await watching.read() for _ in range(5)]
    created = [(each.watch_id, each.header.revision) for each in got if each.created]
    assert created == [(number, 2) for number in (7, 8, 9)]
    told = [each for each in got if not each.created]
    assert sorted((each.watch_id, each.canceled, len(each.events)) for each in told) == [(7, True, 0), (8, False, 1)]


async def test_a_stream_ends_whose_watch_cannot_begin(
    model: Any, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for present, code in ((revisions.Moved(), grpc.StatusCode.UNAVAILABLE), ("?", grpc.StatusCode.INTERNAL)):
        monkeypatch.setattr(model, "confirm", lambda done, present=present: done(present), raising=False)
        watching = Watching(channel)
        await watching.call.write(WatchRequest(create_request=WatchCreateRequest(key=b"a")))
        assert await watching.call.code() is code


FROM_NOW = WatchRequest(create_request=WatchCreateRequest(key=b"a"))


@pytest.mark.parametrize(("bound", "most"), [("_MOST_REQUESTS", 20), ("_MOST_REQUEST_BYTES", 20 * FROM_NOW.ByteSize())])
async def test_few_requests_wait_for_a_revision(
    model: Any, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(watch_module, bound, most)
    watching = Watching(channel)
    model.hold()
    for _ in range(21):
        await watching.call.write(FROM_NOW)
    assert await watching.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    model.release()
    assert (await Watching(channel).create(key=b"a")).created
