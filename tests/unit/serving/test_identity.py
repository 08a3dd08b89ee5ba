"""Whose folder answers, and a request that is meant for another one, on both ways."""

import json

import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving.answers import Answer, send_answer
from hanas_serving.callers import Callers
from hanas_serving.direct import Exchange
from hanas_serving.http1 import Server
from hanas_serving.identity import Identified
from hanas_serving.problems import Problem
from tests.unit.serving.connections import Echo, Wire, application, connected
from tests.unit.waiting import until

OWN, OTHER = "a" * 32, "b" * 32


def request(*headers: str, method: str = "PUT", path: str = "/v1/kv/a", body: bytes = b"v") -> bytes:
    length = f"Content-Length: {len(body)}"
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", length, *headers, "", ""]).encode() + body


async def ask(server: Server, *requests: bytes) -> bytes:
    """Return all that was answered, over one connection."""
    connection, wire = connected(server)
    for number, one in enumerate(requests):
        connection.data_received(one)
        await until(lambda number=number: wire.content.count(b"HTTP/1.1 ") > number)  # type: ignore[misc]
    connection.connection_lost(None)
    return wire.content


def serving(handler: Echo, *readers: str) -> Server:
    server = Server(Identified(application, OWN, Callers(tokens=readers)), handler)
    assert server.heads is not None
    server.heads.belong_to(OWN)
    return server


async def test_every_answer_names_the_folder_on_both_ways() -> None:
    answer = await ask(serving(Echo()), request(), request(), request(path="/v1/kv/a?x=1"))
    assert (answer.count(b"way: direct"), answer.count(b"way: ordinary")) == (2, 1)
    assert answer.count(b"hanas-folder: " + OWN.encode()) == 3


async def test_a_request_for_this_folder_stays_plain() -> None:
    handler = Echo()
    answer = await ask(serving(handler), *[request(f"HANas-Folder: {OWN}")] * 3)
    assert answer.count(b"way: direct") == 3


@pytest.mark.parametrize("path", ["/v1/kv/a", "/v1/kv/a?x=1", "/healthz"])
@pytest.mark.parametrize("headers", [[OTHER], [OTHER, OWN], [OWN, OTHER], [""]])
async def test_a_request_for_another_folder_is_refused_and_does_nothing(path: str, headers: list[str]) -> None:
    handler = Echo()
    server = serving(handler)
    await ask(server, request(f"HANas-Folder: {OWN}"), request())
    handler.held.clear()
    answer = await ask(server, *[request(*(f"HANas-Folder: {one}" for one in headers), path=path)] * 2)
    assert answer.count(b"HTTP/1.1 421 ") == 2
    assert b"way:" not in answer
    assert OWN in json.loads(answer.rpartition(b"\r\n\r\n")[2])["detail"]
    assert handler.held == []


async def test_before_the_folder_is_known_no_request_that_names_one_is_plain() -> None:
    answer = await ask(Server(application, Echo()), request(f"HANas-Folder: {OWN}"))
    assert b"way: ordinary" in answer


async def test_strangers_are_not_told_which_folder_this_is() -> None:
    server = serving(Echo(), "token")
    for headers in ([], [f"HANas-Folder: {OTHER}"], ["Authorization: Bearer wrong"]):
        answer = await ask(server, request(*headers, path="/healthz"))
        assert OWN.encode() not in answer
    known = await ask(server, request("Authorization: Bearer token", path="/v1/status"))
    assert OWN.encode() in known


async def test_a_direct_answer_to_a_stranger_does_not_name_the_folder() -> None:
    class Guard(Echo):
        def __call__(self, exchange: Exchange) -> None:
            exchange.answer(Problem(401, "a bearer token is needed").answer())

    answer = await ask(serving(Guard()), request())
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"hanas-folder" not in answer


async def test_what_is_no_request_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        seen.append(scope["type"])
        await send_answer(Answer(200, b""), send)

    async def nothing(*_: object) -> None:
        return None

    await Identified(app, OWN, Callers())({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert Wire().content == b""
