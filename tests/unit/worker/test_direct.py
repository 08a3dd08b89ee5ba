"""``/v1/kv`` the direct way answers what it answers through ASGI, in every case that there is."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hanas_core.members.roles import Role
from hanas_core.state.queue import GroupCommit
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving import gate
from hanas_serving.answers import Answer
from hanas_serving.audit import Audit
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.clients import Clients
from hanas_serving.direct import Exchange
from hanas_worker.faces.http.endpoint import KeysEndpoint
from hanas_worker.faces.http.keys import KeyRead, Keys
from hanas_worker.faces.http.requests import PLAIN
from hanas_worker.log import service as services
from hanas_worker.log.bell import Bell
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.service import Service
from hanas_worker.log.tally import Tally
from hanas_worker.log.values import Moved
from hanas_worker.store import Store
from tests.unit.waiting import until
from tests.unit.worker.stage import Gate, Stage, started

TOKEN = "a-token"
MOST = 1000
MAIN_URL = "http://main:3001"


class Values:
    """Values that are not in memory."""

    def __init__(self) -> None:
        self.failure: FolderUnavailable | None = None
        self.moves = 0

    async def read(self, key: bytes, entry: Any, part: tuple[int, int]) -> bytes:
        del key, entry
        if self.moves:
            self.moves -= 1
            raise Moved
        if self.failure is not None:
            raise self.failure
        return bytes(100)[part[0] : part[1]]


class Call:
    """A wire that keeps the one answer."""

    address = "10.0.0.1"
    peer = None

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        assert exchange.wire is self
        self.answers.append(answer)


class Worker:
    """The keys of a worker, and both ways to them."""

    def __init__(
        self, stage: Stage, *, tokens: tuple[str, ...] = (), clients: Clients | None = None, audit: Audit | None = None
    ) -> None:
        self.stage = stage
        self.values = Values()
        self.parts = SimpleNamespace(
            main_url=None,
            values=self.values,
            state=SimpleNamespace(
                tally=Tally(),
                service=stage.service,
                forwarder=None,
                replica=SimpleNamespace(index=stage.service.index),
                index=stage.service.index,
                on_applied=Bell(),
                certain=0,
                member=SimpleNamespace(epoch=1, role=Role.MAIN),
                followed_epoch=None,
            ),
        )
        memory = Budget()
        self.store = Store(cast("LogDriver", self.parts), memory)
        self.direct = Keys(Callers(tokens=tokens, clients=clients), MOST, gate.Gate(audit=audit))
        self.direct.store = self.store
        self._endpoint = KeysEndpoint(self.direct, memory)

    def begin(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Call:
        """Ask the direct way."""
        call = Call()
        lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.direct(Exchange(call, method.encode(), path.encode(), lines, body, more_body=False))
        return call

    async def directly(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        call = self.begin(method, path, headers, body)
        await until(lambda: bool(call.answers))
        [answer] = call.answers
        return answer

    async def by_asgi(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        sent: list[dict[str, Any]] = []
        address, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._endpoint(scope, receive, send)
        start, content = sent
        lines = b"".join(b"%b: %b\r\n" % header for header in start["headers"])
        return Answer(start["status"], lines, content["body"])


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = await started()
    yield stage
    stage.service.end("the test is over")


SCRIPT: list[tuple[str, str, dict[str, str], bytes]] = [
    ("GET", "a", {}, b""),
    ("DELETE", "a", {}, b""),
    ("PUT", "a", {}, b"hello"),
    ("GET", "a", {}, b""),
    ("PUT", "a", {"content-type": "text/plain"}, b"hello again"),
    ("GET", "a", {}, b""),
    ("GET", "a", {"range": "bytes=2-4"}, b""),
    ("GET", "a", {"range": "bytes=2-4", "if-range": '"1-2"'}, b""),
    ("GET", "a", {"range": "bytes=2-4", "if-range": '"9-9"'}, b""),
    ("GET", "a", {"range": "bytes=1-2,4-5"}, b""),
    ("GET", "a", {"range": "bytes=100-"}, b""),
    ("GET", "a", {"range": "lines=1"}, b""),
    ("GET", "a", {"if-none-match": '"1-2"'}, b""),
    ("GET", "a", {"if-none-match": "*"}, b""),
    ("GET", "a", {"if-none-match": '"1-1"'}, b""),
    ("GET", "a", {"if-match": '"1-1"'}, b""),
    ("GET", "a", {"if-match": "nonsense"}, b""),
    ("GET", "none", {"if-match": "*"}, b""),
    ("PUT", "a", {"if-match": '"1-1"'}, b"x"),
    ("PUT", "none", {"if-match": '"1-1"'}, b"x"),
    ("PUT", "a", {"if-none-match": "*"}, b"x"),
    ("PUT", "a", {"if-match": "nonsense"}, b"x"),
    ("PUT", "a", {"content-type": "täxt"}, b"x"),
    ("DELETE", "a", {"content-type": "täxt"}, b""),
    ("PUT", "b", {"idempotency-key": "k"}, b"once"),
    ("PUT", "b", {"idempotency-key": "k"}, b"once"),
    ("PUT", "b", {"idempotency-key": "k"}, b"twice"),
    ("DELETE", "b", {"idempotency-key": "d"}, b""),
    ("DELETE", "b", {"idempotency-key": "d"}, b""),
    ("PUT", "b", {"idempotency-key": ""}, b"x"),
    ("PUT", "large", {}, bytes(MOST + 1)),
    ("PUT", "empty", {}, b""),
    ("GET", "empty", {}, b""),
    ("PUT", "%E4", {}, b"x"),
    ("PUT", "k" * 1025, {}, b"x"),
    ("GET", "", {}, b""),
    ("DELETE", "a", {"if-match": '"1-1"'}, b""),
    ("DELETE", "a", {}, b""),
    ("PUT", "a%20b/c", {}, b"x"),
    ("GET", "a%20b/c", {}, b""),
]


async def test_both_ways_answer_alike() -> None:
    one, other = Worker(await started()), Worker(await started())
    for method, key, headers, body in SCRIPT:
        path = f"/v1/kv/{key}"
        answer = await one.directly(method, path, headers, body)
        assert answer == await other.by_asgi(method, path, headers, body), (method, key, headers)
        assert answer.lines.count(b"hanas-epoch: 1\r\n") == 1
    for worker in (one, other):
        worker.stage.service.end("the test is over")


async def test_both_ways_ask_for_a_token(stage: Stage) -> None:
    worker = Worker(stage, tokens=(TOKEN,))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}"}):
        allowed = TOKEN in headers.get("authorization", "")
        for method in ("GET", "PUT", "DELETE"):
            answer = await worker.directly(method, "/v1/kv/a", headers, b"")
            assert (answer.status != 401) == allowed
            if not allowed:
                assert answer == await worker.by_asgi(method, "/v1/kv/a", headers, b"")


@pytest.mark.parametrize("main_url", [None, MAIN_URL])
@pytest.mark.parametrize("joined", [True, False])
async def test_both_ways_send_clients_elsewhere(stage: Stage, main_url: str | None, joined: bool) -> None:
    worker = Worker(stage)
    worker.parts.state.service, worker.parts.main_url = None, main_url
    if not joined:
        worker.direct.store = None
    for method in ("GET", "PUT", "DELETE"):
        answer = await worker.directly(method, "/v1/kv/a%20b", {}, b"")
        assert answer == await worker.by_asgi(method, "/v1/kv/a%20b", {}, b"")
        assert answer.status == (307 if main_url and joined else 503)
        assert (b"location: http://main:3001/v1/kv/a%20b\r\n" in answer.lines) == (answer.status == 307)


@pytest.mark.parametrize("main_url", [None, MAIN_URL])
async def test_an_epoch_that_ends_while_requests_wait(stage: Stage, main_url: str | None) -> None:
    worker = Worker(stage)
    commit, check = Gate(), Gate()
    stage.folder.at("sync", "segments", before=commit)
    in_flight = worker.begin("PUT", "/v1/kv/a", {}, b"1")
    await until(commit.reached.is_set)
    stage.folder.at("read", "claims", before=check)
    under_way = worker.begin("GET", "/v1/kv/a", {}, b"")
    await until(check.reached.is_set)
    waiting = [worker.begin(method, "/v1/kv/b", {}, b"2") for method in ("PUT", "DELETE", "GET")]
    stage.service.end("another one claimed epoch 2")
    # What others make of it in the same turn tells where clients are sent.
    worker.parts.main_url = main_url
    calls = [in_flight, under_way, *waiting]
    await until(lambda: all(call.answers for call in calls))
    answers = [answer for call in calls for answer in call.answers]
    assert [answer.status for answer in answers] == [503, *4 * [307 if main_url else 503]]
    assert b"hanas-outcome: unknown\r\n" in answers[0].lines
    assert all(b"hanas-outcome" not in answer.lines for answer in answers[1:])
    commit.open()
    check.open()
    late = await worker.directly("PUT", "/v1/kv/c", {}, b"3")
    assert late.status == (307 if main_url else 503)


async def test_a_read_is_answered_after_a_check_that_began_after_it_came(stage: Stage) -> None:
    worker, check = Worker(stage), Gate()
    stage.folder.at("read", "claims", before=check)
    first = worker.begin("GET", "/v1/kv/a", {}, b"")
    await until(check.reached.is_set)
    second = worker.begin("GET", "/v1/kv/a", {}, b"")
    stage.seal()  # the check that is under way may miss it, the one after it may not
    check.open()
    await until(lambda: bool(first.answers and second.answers))
    assert second.answers[0].status == 503
    assert stage.ends == ["the epoch is sealed"]


async def test_a_value_on_the_volume(stage: Stage) -> None:
    worker = Worker(stage)
    await worker.directly("PUT", "/v1/kv/a", {}, bytes(100))
    stage.service.index._cache.drop(b"a")
    for moves in (0, 2):
        worker.values.moves = moves
        answer = await worker.directly("GET", "/v1/kv/a", {}, b"")
        assert (answer.status, answer.body) == (200, bytes(100))
        answer = await worker.directly("GET", "/v1/kv/a", {"range": "bytes=90-"}, b"")
        assert (answer.status, answer.body) == (206, bytes(10))
    worker.values.failure = FolderUnavailable("input/output error")
    answer = await worker.directly("GET", "/v1/kv/a", {}, b"")
    assert answer == await worker.by_asgi("GET", "/v1/kv/a", {}, b"")
    assert answer.status == 503


async def test_a_value_that_moved_is_looked_for_in_an_epoch_that_goes_on(stage: Stage) -> None:
    worker = Worker(stage)
    await worker.directly("PUT", "/v1/kv/a", {}, bytes(100))
    stage.service.index._cache.drop(b"a")
    worker.values.moves = 1
    stage.service.end("sealed")
    call = Call()
    exchange = Exchange(call, b"GET", b"/v1/kv/a", [], b"", more_body=False)
    # The check had passed, then the epoch ended while the value was being read.
    KeyRead(worker.store, b"a", False, exchange, PLAIN)(1)
    await until(lambda: bool(call.answers))
    assert call.answers[0].status == 503


async def test_too_many_writes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(stage)
    monkeypatch.setattr(GroupCommit, "submit", lambda *_: False)
    answer = await worker.directly("PUT", "/v1/kv/a", {}, b"1")
    assert answer == await worker.by_asgi("PUT", "/v1/kv/a", {}, b"1")
    assert (answer.status, b"retry-after: 1\r\n" in answer.lines) == (503, True)


async def test_too_many_reads(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(stage)
    monkeypatch.setattr(services, "MOST_READERS", 0)
    answer = await worker.directly("GET", "/v1/kv/a", {}, b"")
    assert answer == await worker.by_asgi("GET", "/v1/kv/a", {}, b"")
    assert (answer.status, b"retry-after: 1\r\n" in answer.lines) == (503, True)
    assert b"too many requests are waiting" in answer.body
    answer = await worker.by_asgi("GET", "/v1/kv", {}, b"")
    assert (answer.status, b"retry-after: 1\r\n" in answer.lines) == (503, True)


async def test_a_mistake_concerns_one_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(stage)
    for place in ("submit", "after_check"):
        with monkeypatch.context() as broken:

            def fail(*_: object) -> None:
                raise ValueError("a mistake")

            broken.setattr(Service, place, fail)
            method = "PUT" if place == "submit" else "GET"
            assert (await worker.directly(method, "/v1/kv/a", {}, b"")).status == 500
    with monkeypatch.context() as broken:
        broken.setattr(worker.parts.state.replica, "index", None)
        assert (await worker.directly("GET", "/v1/kv/a", {}, b"")).status == 500
    assert caplog.text.count("a mistake") >= 2
    assert (await worker.directly("PUT", "/v1/kv/a", {}, b"")).status == 201
    assert stage.ends == []
