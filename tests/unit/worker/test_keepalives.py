"""Keep-alives: what the link port takes, and how they are sent."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest

from hanas_core.log.positions import Position
from hanas_core.members.roles import MainState
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.runtime import Agree
from hanas_serving.server import HttpEndpoint, bind
from hanas_worker.host.peers import LinkPeer
from hanas_worker.log.news import LogNews
from hanas_worker.neighbours import outbound as outbound_module
from hanas_worker.neighbours.authenticity import MAC_HEADER, Verifier, mac
from hanas_worker.neighbours.keepalives import Epochs, KeepAlive, KeepAliveAnswer, LinkEndpoint, Sender
from hanas_worker.neighbours.outbound import HttpOutbound
from tests.sim.world import ProcessLoop, World
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.ports import free_port

FOLDER_ID = "f" * 32
INTERVAL = 0.05
KEEPALIVE = KeepAlive(
    member="worker-1",
    incarnation="1" * 32,
    folder_id=FOLDER_ID,
    logs=(LogNews(epoch=3, state=MainState.SERVING, sequence=17, committed=Position(3, 1, 4096), stalled_for=0.25),),
)
DOCUMENT = msgspec.json.encode(KEEPALIVE)
KEY = "5" * 32
FRESH_SECONDS = 0.5


def proven(body: bytes, key: str = KEY) -> dict[str, str]:
    """Return the headers of a member's keep-alive."""
    return {"HANas-Mac": mac(key, "keep-alive", body)}


def echoing(time: int | None) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(KEEPALIVE, echo=time))


class Listener:
    """Whoever stands behind a link port."""

    def __init__(self, epoch: int = 3) -> None:
        self.epoch = epoch
        self.folder_id: str | None = FOLDER_ID
        self.heard: list[KeepAlive] = []
        self.fresh: list[bool] = []
        self.now = 7.0

    def app(self, *secrets: str, certified: bool = False) -> LinkEndpoint:
        app = LinkEndpoint(Callers(secrets, certified=certified), Gate())
        if self.folder_id is not None:
            app.join(self.folder_id, Verifier(KEY, FRESH_SECONDS, lambda: self.now), self.hear, lambda member: None)
        return app

    def hear(self, keepalive: KeepAlive, fresh: bool) -> Epochs:
        self.heard.append(keepalive)
        self.fresh.append(fresh)
        return (self.epoch,)


def client(app: LinkEndpoint) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://link", headers={"Content-Type": "application/json"}
    )


def refusal(answer: httpx.Response, status: int) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    detail: str = answer.json()["detail"]
    return detail


async def test_a_keepalive_is_heard_and_answered_with_the_highest_epoch() -> None:
    listener = Listener(epoch=5)
    async with client(listener.app()) as http:
        answer = await http.post("/v1/keepalive", content=DOCUMENT, headers=proven(DOCUMENT))
    told = msgspec.json.encode((proven(DOCUMENT)["HANas-Mac"], [5], 7000))
    proof = mac(KEY, "answer", told)
    assert (answer.status_code, answer.json()) == (200, {"epochs": [5], "time": 7000, "proof": proof})
    assert answer.headers["connection"] == "close"
    assert listener.heard == [KEEPALIVE]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (DOCUMENT, {}),
        (DOCUMENT, {"HANas-Mac": ""}),
        (DOCUMENT, {"HANas-Mac": "\xe4" * 32}),
        (DOCUMENT, proven(DOCUMENT, "6" * 32)),
        (DOCUMENT, proven(DOCUMENT, "")),
        (DOCUMENT, {"HANas-Mac": mac(KEY, "answer", DOCUMENT)}),
        (DOCUMENT.replace(b"4096", b"9999"), proven(DOCUMENT)),
    ],
)
async def test_what_somebody_invents_or_alters_is_not_heard(body: bytes, headers: dict[str, str]) -> None:
    listener = Listener()
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with client(listener.app()) as http:
        detail = refusal(await http.post("/v1/keepalive", content=body, headers=raw), 401)
    assert "HANas-Mac must be made with the present key of this worker" in detail
    assert listener.heard == []


@pytest.mark.parametrize(
    ("echo", "fresh"),
    [(None, False), (7000, True), (6500, True), (6499, False), (7001, False), (-1, False), (1 << 62, False)],
)
async def test_what_is_repeated_or_held_back_is_not_fresh(echo: int | None, fresh: bool) -> None:
    listener, body = Listener(), echoing(echo)
    async with client(listener.app()) as http:
        assert (await http.post("/v1/keepalive", content=body, headers=proven(body))).status_code == 200
        assert listener.fresh == [fresh]
        listener.now += FRESH_SECONDS + 0.01
        assert (await http.post("/v1/keepalive", content=body, headers=proven(body))).status_code == 200
    assert listener.fresh == [fresh, False]


async def test_a_lifeline_is_for_members() -> None:
    listener = Listener()
    async with client(listener.app()) as http:
        for headers in ({}, {"HANas-Mac": mac(KEY, "lifeline", b"other"), "HANas-Member": "me"}, proven(b"me")):
            assert "a lifeline is for the members" in refusal(await http.get("/v1/lifeline", headers=headers), 401)
        headers = {"HANas-Mac": mac(KEY, "lifeline", b"me"), "HANas-Member": "me"}
        answer = await http.get("/v1/lifeline", headers=headers)
        assert (answer.status_code, "connection" in answer.headers) == (204, False)
        listener.folder_id = None
    async with client(listener.app()) as http:
        refusal(await http.get("/v1/lifeline", headers=headers), 401)


async def test_only_what_must_be_there_must_be_there() -> None:
    listener = Listener()
    news: dict[str, Any] = {"epoch": 1, "state": "elect"}
    least: dict[str, Any] = {"member": "m", "incarnation": "i", "folderId": FOLDER_ID, "logs": [news]}
    async with client(listener.app()) as http:
        body = msgspec.json.encode({**least, "newer": [1]})
        assert (await http.post("/v1/keepalive", content=body, headers=proven(body))).status_code == 200
        for missing in least:
            part = {name: value for name, value in least.items() if name != missing}
            assert "this is no keep-alive" in refusal(await http.post("/v1/keepalive", json=part), 400)
        for missing in news:
            part = {**least, "logs": [{name: value for name, value in news.items() if name != missing}]}
            assert "this is no keep-alive" in refusal(await http.post("/v1/keepalive", json=part), 400)
    assert [heard.logs[0].committed for heard in listener.heard] == [None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        DOCUMENT + b"x",
        DOCUMENT.replace(b"3", b'"3"', 1),
        DOCUMENT.replace(b"worker", b"\xff", 1),
        b"[" * 4000,
        b'{"new":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
)
async def test_what_is_no_keepalive(body: bytes) -> None:
    listener = Listener()
    async with client(listener.app()) as http:
        assert "this is no keep-alive" in refusal(await http.post("/v1/keepalive", content=body), 400)
    assert listener.heard == []


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(5):
        yield bytes(1000)


async def test_one_that_is_too_long() -> None:
    listener = Listener()
    async with client(listener.app()) as http:
        for body in (bytes(4097), pieces()):
            detail = refusal(await http.post("/v1/keepalive", content=body), 413)
            assert detail == "a keep-alive has at most 4096 bytes"
    assert listener.heard == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/keepalive"), ("POST", "/"), ("POST", "/v1/kv/a"), ("PUT", "/v1/keepalive")]
)
async def test_the_link_port_takes_nothing_else(method: str, path: str) -> None:
    listener = Listener()
    async with client(listener.app()) as http:
        detail = refusal(await http.request(method, path, content=DOCUMENT), 404)
    assert detail == "the link port is for the other workers; clients use the other port"
    assert listener.heard == []


async def test_a_secret_is_asked_for_before_anything_is_read() -> None:
    listener = Listener()
    async with client(listener.app("old", "new")) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "old"}):
            answer = await http.post("/v1/keepalive", content=b"nonsense", headers=headers)
            assert "HANAS_SECRET_FILE" in refusal(answer, 401)
        for secret in ("old", "new"):
            headers = {"Authorization": f"Bearer {secret}", **proven(DOCUMENT)}
            assert (await http.post("/v1/keepalive", content=DOCUMENT, headers=headers)).status_code == 200
    assert len(listener.heard) == 2


@pytest.mark.parametrize("own", ["e" * 32, None])
async def test_one_of_another_folder_is_refused(own: str | None) -> None:
    """Two clusters whose workers reach each other by mistake must not follow one another."""
    listener = Listener()
    listener.folder_id = own
    async with client(listener.app()) as http:
        detail = refusal(await http.post("/v1/keepalive", content=DOCUMENT), 409)
    assert detail == f"the folder here is {own}, not {FOLDER_ID}: mount the same volume"
    assert listener.heard == []


async def test_other_kinds_of_connection_are_ignored() -> None:
    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await Listener().app()({"type": "lifespan"}, receive, send)


# ---------------------------------------------------------------------- sending


class Peer(asyncio.Protocol):
    """A server that answers each request with fixed bytes, or never."""

    def __init__(self, answer: bytes, connections: list[tuple[asyncio.Transport, bytearray]]) -> None:
        self._answer = answer
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, bytearray()
        self._connections.append((transport, self._received))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer and self._received.endswith(b"}"):
            self._transport.write(self._answer)


@asynccontextmanager
async def raw_peer(answer: bytes = b"") -> AsyncIterator[tuple[str, list[tuple[asyncio.Transport, bytearray]]]]:
    """Serve by hand; the URL, and the connections with what came over each."""
    connections: list[tuple[asyncio.Transport, bytearray]] = []
    server = await asyncio.get_running_loop().create_server(lambda: Peer(answer, connections), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
        for transport, _ in connections:
            transport.abort()


class Answers:
    """What the sender tells of each keep-alive."""

    def __init__(self) -> None:
        self.epochs: list[Epochs] = []

    def __call__(self, keepalive: KeepAlive, epochs: Epochs) -> None:
        assert keepalive == KEEPALIVE
        self.epochs.append(epochs)

    async def until(self, count: int) -> None:
        await until(lambda: len(self.epochs) >= count)


async def serving(listener: Listener, *secrets: str) -> tuple[HttpEndpoint, str]:
    port = free_port()
    endpoint = HttpEndpoint(listener.app(*secrets), bind(port, "LINK_PORT"))
    await endpoint.start()
    return endpoint, f"http://127.0.0.1:{port}"


@asynccontextmanager
async def sending(*secrets: str, timeout: float = AMPLE_SECONDS) -> AsyncIterator[tuple[Sender, Answers]]:
    outbound = HttpOutbound("worker-1", secrets)
    answers = Answers()
    sender = Sender(outbound, timeout, INTERVAL, answers)
    yield sender, answers
    sender.close()
    await outbound.close()


async def test_it_reaches_every_peer_that_answers_and_tells_of_the_others() -> None:
    one, other = Listener(epoch=3), Listener(epoch=4)
    endpoints = [await serving(one, "secret"), await serving(other)]
    strange = Listener()
    strange.folder_id = "e" * 32
    endpoints.append(await serving(strange))
    peers = {
        "one": LinkPeer(endpoints[0][1], KEY),
        "other": LinkPeer(endpoints[1][1], KEY),
        "strange": LinkPeer(endpoints[2][1], KEY),
        "started anew": LinkPeer(endpoints[0][1], "6" * 32),
        "nobody": LinkPeer(f"http://127.0.0.1:{free_port()}", KEY),
        "no-url": LinkPeer("http://", KEY),
    }
    async with sending("secret") as (sender, answers):
        sender.send(KEEPALIVE, dict.fromkeys(peers.values(), True))
        await answers.until(6)
    assert sorted(answers.epochs) == [(), (), (), (), (3,), (4,)]
    assert (one.heard, other.heard) == ([KEEPALIVE], [KEEPALIVE])
    await asyncio.gather(*(endpoint.stop() for endpoint, _ in endpoints))


async def test_each_keepalive_has_a_connection_of_its_own_and_names_its_sender() -> None:
    body = json.dumps({"epochs": [3], "time": 5, "proof": "a" * 64}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with raw_peer(head + body) as (url, connections), sending() as (sender, answers):
        for count in (1, 2, 3):
            sender.send(KEEPALIVE, {LinkPeer(url, KEY): True})
            await answers.until(count)
        assert answers.epochs == 3 * [()], "whoever answers there cannot prove that it is the peer"
        assert len(connections) == 3
        assert all(received.endswith(b'"echo":null}') for _, received in connections)
        assert all(b"hanas-member: worker-1\r\n" in received.lower() for _, received in connections)


async def test_a_peer_that_never_answers_holds_up_nobody() -> None:
    listener = Listener()
    endpoint, url = await serving(listener)
    async with raw_peer() as (dead, connections), sending() as (sender, answers):
        for count in range(1, 21):
            sender.send(KEEPALIVE, {LinkPeer(dead, "6" * 32): True, LinkPeer(url, KEY): True})
            await answers.until(count)
        assert answers.epochs == 20 * [(3,)]
        assert listener.fresh == [False, *19 * [True]]
        # However long it lasts, only a few wait for the dead one.
        assert 1 <= len(connections) <= 4
    await endpoint.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"proof":"\xff"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4005\r\n\r\n" + b'{"x":' + b"[" * 4000,
    ],
    ids=["none", "no HTTP", "other JSON", "no UTF-8", "too deep"],
)
async def test_one_that_is_not_answered_well_or_in_time_is_lost(answer: bytes) -> None:
    async with raw_peer(answer) as (url, _), sending(timeout=AMPLE_SECONDS if answer else 0.05) as (sender, answers):
        sender.send(KEEPALIVE, {LinkPeer(url, KEY): True})
        await answers.until(1)
        assert answers.epochs == [()]


@pytest.mark.parametrize("url", ["http://[", f"http://{'a' * 64}:4001", "http://localhost:99999"])
async def test_an_address_that_is_none_is_an_address_where_nobody_answers(url: str) -> None:
    outbound = HttpOutbound("worker-1", ())
    with pytest.raises(OSError, match=re.escape(url)):
        await outbound.post(url, b"", AMPLE_SECONDS)
    with pytest.raises(OSError, match=re.escape(url)):
        await outbound.until_closed(url, AMPLE_SECONDS, {})
    await outbound.close()


async def test_an_answer_without_end_is_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, url = await serving(Listener())
    outbound = HttpOutbound("worker-1", ())
    assert (await outbound.post(url, b"", AMPLE_SECONDS))[0] == 404
    monkeypatch.setattr(outbound_module, "_MOST_BYTES", 10)
    with pytest.raises(ConnectionError, match="more than 10 bytes"):
        await outbound.post(url, b"", AMPLE_SECONDS)
    await outbound.close()
    await endpoint.stop()


class Wires:
    """An outbound whose peers answer, refuse or never answer, by the host in their URL."""

    def __init__(self, clock: ProcessLoop) -> None:
        self._clock = clock
        self.sent: dict[str, list[float]] = {}
        self.under_way = self.most = 0
        self.dead: set[str] = set()

    async def post(
        self, url: str, body: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        self.sent.setdefault(url.removesuffix("/v1/keepalive"), []).append(self._clock.time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if "hangs" in url:
                await asyncio.sleep(timeout)
                raise TimeoutError
            if "dead" in url or url.removesuffix("/v1/keepalive") in self.dead:
                raise ConnectionRefusedError
            answer = KeepAliveAnswer((3,), 1, "")
            content = answer.content((headers or {})[MAC_HEADER])
            return 200, msgspec.json.encode(msgspec.structs.replace(answer, proof=mac(KEY, "answer", content)))
        finally:
            self.under_way -= 1

    async def until_closed(self, url: str, timeout: float, headers: Mapping[str, str]) -> None:
        raise NotImplementedError

    async def line(self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float) -> None:
        raise NotImplementedError


def play(seconds: float, urls: Mapping[str, bool], at: Mapping[float, Mapping[str, bool]] | None = None) -> Wires:
    """Send every `INTERVAL` to ``urls``; from a time on to those of ``at``."""
    world = World(0)
    loop = ProcessLoop(world, "main")
    wires = Wires(loop)

    async def send() -> None:
        sender, present = Sender(wires, 0.25, INTERVAL, lambda *_: None), urls
        for step in range(round(seconds / INTERVAL)):
            present = (at or {}).get(round(step * INTERVAL, 2), present)
            sender.send(KEEPALIVE, {LinkPeer(url, KEY): alive for url, alive in present.items()})
            await asyncio.sleep(INTERVAL)
        sender.close()

    task = loop.spawn(send())
    try:
        world.run(seconds + 1.0, task.done)
    finally:
        asyncio._set_running_loop(None)
        loop.kill()
    assert task.exception() is None
    return wires


def test_a_peer_that_is_not_seen_to_live_and_refuses_is_asked_at_intervals_that_double() -> None:
    times = play(30.0, {"http://dead": False}).sent["http://dead"]
    pauses = [round(later - earlier, 2) for earlier, later in pairwise(times)]
    assert pauses[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert set(pauses[7:]) == {4.0}


def test_a_peer_at_first_sight_that_answers_gets_each_keepalive_at_once() -> None:
    times = play(5.0, {"http://new": False}).sent["http://new"]
    assert len(times) == 100


def test_a_peer_whose_counter_moves_gets_each_keepalive_although_its_link_is_cut() -> None:
    wires = play(5.0, {"http://dead": False}, {2.0: {"http://dead": True}})
    assert len([at for at in wires.sent["http://dead"] if at - wires.sent["http://dead"][0] > 1.99]) == 60


def test_hundreds_of_dead_ones_take_no_time_from_the_living() -> None:
    dead = {f"http://dead{number}": False for number in range(125)}
    hanging = {f"http://hangs{number}": False for number in range(124)}
    wires = play(10.0, {**dead, **hanging, "http://lives": True, "http://answers": False})
    assert len(wires.sent["http://lives"]) == 200
    assert len(wires.sent["http://answers"]) >= 150
    assert wires.most <= 16 + 2
    assert set(wires.sent) >= {*dead, *hanging}, "none is forgotten"


def test_the_connections_under_way_are_bounded_also_to_those_that_live() -> None:
    wires = play(3.0, {f"http://hangs{number}": True for number in range(250)})
    assert wires.most <= 256
    assert len(wires.sent) == 250
