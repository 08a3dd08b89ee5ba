"""Keys that are no UTF-8: workers forward them, and HTTP leaves them out; its pages are in order of code points."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.positions import Version
from hanas_core.state.entries import pack, unpack
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.keyspace import KeyPage
from hanas_core.state.leases import Grant
from hanas_core.state.transactions import DeleteKeys, PutKey, Span
from hanas_serving.audit import LOGGER, Audit
from hanas_serving.settings import Audited
from hanas_worker.faces.http.answers import texts_of
from hanas_worker.log import messages
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.messages import Forward, ForwardBytes, Writes
from hanas_worker.refusals import NoRevisions, Refusal
from hanas_worker.store import PendingWrite
from tests.unit.waiting import until
from tests.unit.worker.office import Office, office
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import Worker
from tests.unit.worker.test_watches import Taker, Watch, transact

KEY = b"\xff\x00a"
texts = st.sets(st.text(min_size=1, max_size=3), max_size=12)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    stage = await started()
    stage.service.form = records.REVISED
    yield Worker(stage)
    stage.service.end("the test is over")


@pytest.fixture
async def desk() -> AsyncIterator[Office]:
    async with office() as made:
        yield made


async def asked(worker: Worker, target: str, method: str = "GET", body: bytes = b"") -> Any:
    answer = await worker.by_asgi(method, target, {}, body)
    assert answer.status == 200, answer
    return json.loads(answer.body)


# ---------------------------------------------------------------------- between workers


def test_a_text_is_forwarded_as_ever_and_other_keys_in_their_own_way() -> None:
    fields = (b"v", "t", None, None, "once", 0)
    text, other = (messages.forward(7, Write(key, *fields)) for key in ("\xe4".encode(), KEY))
    assert text == Forward(7, "\xe4", *fields)
    assert other == ForwardBytes(7, KEY, *fields)
    assert msgspec.msgpack.decode(messages.encode(Writes(7, (text,))))[2][0][:3] == ["w", 7, "\xe4"]
    assert messages.of_forwarder(messages.encode(Writes(7, (text, other)))) == Writes(7, (text, other))
    assert [messages.write_of(each).key for each in (text, other)] == ["\xe4".encode(), KEY]


async def test_such_a_key_is_forwarded_to_a_main_with_revisions(desk: Office) -> None:
    desk.stage.service.form = records.REVISED
    road, outcomes = desk.road(), desk._submit(Write(KEY, b"v"))
    await road.flows(outcomes)
    assert outcomes == [Outcome(Result.CREATED, Version(1, 2), 2)]
    assert desk.stage.service.index.cached(KEY) == b"v"


class Written(PendingWrite):
    """A write that keeps why it was refused."""

    refusals: list[Exception]

    def fail(self, error: Exception) -> None:
        self.refusals.append(error)


@pytest.mark.parametrize("forwards", [False, True])
async def test_a_log_without_revisions_refuses_it(desk: Office, forwards: bool) -> None:
    stage = desk.stage
    worker, refusals = Worker(stage), list[Exception]()
    if forwards:
        worker.parts.state.service, worker.parts.state.forwarder = None, desk.forwarder
        worker.parts.state.replica.index = desk.state.replica.index
        worker.parts.state.host = SimpleNamespace(folder=SimpleNamespace(format=2))
    worker.store.write(Write(KEY, b"v"), Written(worker.store, refusals))
    await until(lambda: bool(refusals))
    assert isinstance(refusals[0], NoRevisions)
    assert isinstance(refusals[0], Refusal)
    assert desk.forwarder.idle


# ---------------------------------------------------------------------- over HTTP


async def paged(worker: Worker, limit: int) -> list[str]:
    """Return all keys, read in pages."""
    keys: list[str] = []
    following: str | None = ""
    while following is not None:
        page = await asked(worker, f"/v1/kv?limit={limit}&after={quote(following)}")
        keys += [entry["key"] for entry in page["keys"]]
        following = page["next"]
    return keys


async def test_lists_leave_it_out_and_go_on_behind_it(worker: Worker) -> None:
    others = [b"b\xff%d" % number for number in range(5)]
    for key in (b"a", *others, b"c", KEY):
        await worker.stage.service.write(Write(key, b"v"))
    for limit in (1, 2, 3, 99):
        assert await paged(worker, limit) == ["a", "c"]


def test_a_page_is_cut_behind_a_text() -> None:
    entry = unpack(pack(1, 1, 1, 1, 4096, 1, 1, "", 2, 2))
    rows = [(key, entry) for key in (b"a", b"b", KEY)]
    assert texts_of(KeyPage(rows, KEY), 9) == KeyPage(rows[:2], b"b")
    assert texts_of(KeyPage(rows, None), 1) == KeyPage(rows[:1], b"a")
    assert texts_of(KeyPage(rows, None), 2) == KeyPage(rows[:2], None)
    assert texts_of(KeyPage(rows[2:], KEY), 9) is None
    assert texts_of(KeyPage(rows[2:], None), 9) == KeyPage([], None)


async def test_watches_leave_it_out_and_go_on(worker: Worker) -> None:
    watch, taker = Watch(worker, "from=1"), Taker(worker, Span.one(KEY))
    await transact(worker, PutKey(KEY, b"v"))
    await transact(worker, PutKey(KEY, b"w"), PutKey(b"k", b"w"))
    await transact(worker, DeleteKeys(Span.prefix(b"\xff")))
    await transact(worker, DeleteKeys(Span.one(b"k")))
    await until(lambda: len(watch.events) == 2)
    assert [(revision, len(content["changes"])) for revision, content in watch.events] == [(3, 1), (5, 1)]
    assert [(change.revision, change.key) for change in taker.changes] == [(2, KEY), (3, KEY), (4, KEY)]
    await watch.leave()


async def test_transactions_tell_of_texts_only_and_delete_all(worker: Worker) -> None:
    await transact(worker, PutKey(KEY, b"v"), PutKey(b"k", b"v"))
    body = json.dumps({"then": [{"get": {"prefix": ""}}, {"delete": {"prefix": ""}}]}).encode()
    read, deleted = (await asked(worker, "/v1/txn", "POST", body))["results"]
    assert [entry["key"] for entry in read["keys"]] == ["k"]
    assert deleted == {"deleted": 2}


async def test_a_lease_shows_its_texts(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    service = worker.stage.service
    worker.parts.state.lessor = Lessor(service, lambda: 0.0)
    await service.write(Grant(7, 30))
    worker.parts.state.lessor = Lessor(service, lambda: 0.0)
    for key in (KEY, b"k"):
        await service.write(Write(key, b"v", lease=7))
    assert (await asked(worker, "/v1/leases/7"))["keys"] == ["k"]
    audited = Worker(worker.stage, audit=Audit("w1", Audited.WRITES))
    audited.parts.state.lessor = worker.parts.state.lessor
    with caplog.at_level("INFO", LOGGER):
        assert (await audited.by_asgi("DELETE", "/v1/leases/7", {}, b"")).status == 204
    assert [json.loads(record.message)["key"] for record in caplog.records] == ["k", "\\xff\0a"]


@given(texts, st.integers(1, 5))
def test_pages_over_http_are_in_order_of_code_points(present: set[str], limit: int) -> None:
    async def play() -> None:
        stage = await started()
        stage.service.form = records.REVISED
        worker = Worker(stage)
        for key in {*(key.encode() for key in present), KEY}:
            await stage.service.write(Write(key, b"v"))
        assert await paged(worker, limit) == sorted(present)
        stage.service.end("the test is over")

    asyncio.run(play())
