"""etcd's API as JSON over HTTP/1.1, over the plain model, and the pages beside it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from hanas_serving.gate import Gate
from hanas_serving.http1 import Server
from hanas_worker.faces.etcd.face import Face
from hanas_worker.faces.etcd.facts import VERSION
from tests.unit.serving.connections import application
from tests.unit.serving.http2_peers import Client
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.etcd_faces import facts_of, serving
from tests.unit.worker.etcd_model import Model


@pytest.fixture
async def model() -> Model:
    return Model(later=True)


@pytest.fixture
async def client(model: Model) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(model) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as opened:
        yield opened


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


async def post(client: httpx.AsyncClient, path: str, document: Any) -> Any:
    response = await client.post(path, json=document)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


HEADER = {"cluster_id": "193", "member_id": "62", "raft_term": "2"}


async def test_bytes_are_base64_numbers_are_strings_and_defaults_are_left_out(client: httpx.AsyncClient) -> None:
    put = await post(client, "/v3/kv/put", {"key": b64(b"a"), "value": b64(b"\xff"), "lease": 0})
    assert put == {"header": {**HEADER, "revision": "2"}}
    answer = await post(client, "/v3/kv/range", {"key": b64(b"a"), "limit": "5", "revision": 2})
    kv = {"key": "YQ==", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "/w=="}
    assert answer == {"header": {**HEADER, "revision": "2"}, "kvs": [kv], "count": "1"}
    assert "kvs" not in await post(client, "/v3/kv/range", {"key": b64(b"b")})


async def test_names_may_be_camel_case_and_unknown_ones_are_ignored(client: httpx.AsyncClient) -> None:
    await post(client, "/v3/kv/put", {"key": b64(b"a"), "value": b64(b"1")})
    request = {"key": b64(b"a"), "rangeEnd": b64(b"b"), "countOnly": True, "nothing": {"at": ["all"]}}
    assert (await post(client, "/v3/kv/range", request))["count"] == "1"
    request = {"key": b64(b"a"), "range_end": "Yg", "sort_order": "DESCEND", "sort_target": 3}
    assert len((await post(client, "/v3/kv/range", request))["kvs"]) == 1


async def test_transactions_as_patroni_makes_them(client: httpx.AsyncClient) -> None:
    compare = {"key": b64(b"leader"), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    put = {"request_put": {"key": b64(b"leader"), "value": b64(b"one")}}
    request = {"compare": [compare], "success": [put], "failure": [{"request_range": {"key": b64(b"leader")}}]}
    first = await post(client, "/v3/kv/txn", request)
    assert first == {
        "header": {**HEADER, "revision": "2"},
        "succeeded": True,
        "responses": [{"response_put": {"header": {"revision": "2"}}}],
    }
    second = await post(client, "/v3/kv/txn", request)
    assert "succeeded" not in second
    assert second["responses"][0]["response_range"]["kvs"][0]["value"] == b64(b"one")


async def test_every_path_of_the_gateway(client: httpx.AsyncClient) -> None:
    lease = (await post(client, "/v3/lease/grant", {"TTL": 60}))["ID"]
    assert (await post(client, "/v3/kv/lease/timetolive", {"ID": lease}))["grantedTTL"] == "60"
    assert (await post(client, "/v3/lease/leases", {}))["leases"] == [{"ID": lease}]
    assert (await post(client, "/v3/lease/keepalive", {"ID": lease}))["result"]["TTL"] == "60"
    await post(client, "/v3/kv/lease/revoke", {"ID": lease})
    assert (await post(client, "/v3/kv/deleterange", {"key": b64(b"a")}))["header"]["revision"] == "1"
    assert (await post(client, "/v3/maintenance/status", {}))["version"] == VERSION
    assert (await post(client, "/v3/cluster/member/list", {}))["members"][0]["ID"] == "62"
    assert (await post(client, "/v3/auth/status", {}))["authRevision"] == "1"
    assert (await post(client, "/v3/maintenance/hashkv", {}))["hash_revision"] == "1"
    assert await post(client, "/v3/maintenance/defragment", {}) == {}
    assert "alarms" not in await post(client, "/v3/maintenance/alarm", {"action": "GET"})
    assert (await client.post("/v3/kv/compaction", json={"revision": 9})).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("/v3/kv/range", b"{}", 400, (3, "etcdserver: key is not provided")),
        ("/v3/kv/range", b"", 400, (3, "etcdserver: key is not provided")),
        ("/v3/kv/range", b'{"key":', 400, (3, "unexpected EOF")),
        ("/v3/lease/revoke", b'{"ID":"5"}', 404, (5, "etcdserver: requested lease not found")),
        ("/v3/kv/range", b'{"key":"YQ==","revision":"9"}', 400, (11, None)),
        ("/v3/nothing", b"{}", 404, (5, "Not Found")),
        ("/v3/kv/range", b'{"key":5}', 400, (3, None)),
        ("/v3/kv/range", b"[]", 400, (3, None)),
        ("/v3/kv/range", b'{"key":"YQ==","limit":"x"}', 400, (3, None)),
        ("/v3/kv/range", b"\xff", 400, (3, None)),
        ("/v3/kv/range", b"[" * 100_000, 400, (3, None)),
        ("/v3/watch", b'{"create_request":5}', 400, (3, None)),
    ],
)
async def test_errors_are_those_of_the_gateway(
    client: httpx.AsyncClient, path: str, body: bytes, status: int, answer: tuple[int, str | None]
) -> None:
    response = await client.post(path, content=body)
    document = response.json()
    assert (response.status_code, document["code"]) == (status, answer[0])
    assert answer[1] in {None, document["message"]}


async def test_bodies_have_a_bound(client: httpx.AsyncClient) -> None:
    response = await client.post("/v3/kv/put", json={"key": b64(b"a"), "value": b64(bytes(1_500_000))})
    assert response.status_code == 200
    response = await client.post("/v3/kv/put", json={"key": b64(b"a"), "value": b64(bytes(1_600_000))})
    assert (response.status_code, response.json()["message"]) == (400, "etcdserver: request is too large")
    response = await client.post("/v3/kv/put", content=b"{" + b" " * (4 << 20))
    assert (response.status_code, response.json()["message"]) == (400, "etcdserver: request is too large")
    response = await client.post("/v3/watch", content=b"{" + b" " * (1 << 20))
    assert (response.status_code, response.json()["message"]) == (400, "etcdserver: request is too large")


async def test_structure_has_a_bound(client: httpx.AsyncClient) -> None:
    for body in (b'{"success":[' + b"{}," * 20_000 + b"{}]}", b'{"a":' * 11_000, b'{"filters":[' + b"0," * 11_000):
        response = await client.post("/v3/kv/txn", content=body)
        assert (response.status_code, response.json()["message"]) == (400, "etcdserver: request is too large")


async def test_a_watch_is_a_line_for_each_response(client: httpx.AsyncClient, model: Model) -> None:
    request = {"create_request": {"key": b64(b"a"), "start_revision": "1"}}
    async with client.stream("POST", "/v3/watch", json=request) as response, asyncio.timeout(AMPLE_SECONDS):
        lines = response.aiter_lines()
        first = msgspec.json.decode(await anext(lines))
        assert first == {"result": {"header": {**HEADER, "revision": "1"}, "created": True}}
        await post(client, "/v3/kv/put", {"key": b64(b"a"), "value": b64(b"1")})
        second = msgspec.json.decode(await anext(lines))
        assert second["result"]["events"][0]["kv"]["value"] == b64(b"1")
        assert model.feeds
    await until(lambda: not model.feeds)


async def test_a_lost_watch_and_an_error_are_lines_too(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await post(client, "/v3/kv/put", {"key": b64(b"a")})
    await post(client, "/v3/kv/compaction", {"revision": "3"})
    lost, canceled = b'{"create_request":{"key":"YQ==","start_revision":"2"}}', b'{"cancel_request":{"watch_id":"7"}}'
    body = lost + b" " + canceled + b'\n{"create_request":5}'
    response = await client.post("/v3/watch", content=body)
    lines = [msgspec.json.decode(line) for line in response.text.splitlines()]
    assert lines[0]["result"]["created"] is True
    assert lines[-1]["error"]["code"] == 3


async def test_a_client_that_leaves_ends_its_call(client: httpx.AsyncClient, model: Model) -> None:
    model.hold()
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v3/kv/put", json={"key": b64(b"a")}, timeout=0.1)
    model.release()
    assert (await post(client, "/v3/kv/range", {"key": b64(b"a")}))["count"] == "1"


async def test_the_gateway_answers_over_http2_too(model: Model) -> None:
    face, server = Face(facts_of(model), Gate()), Server(application)
    peer = Client(server, face.dispatch)

    async def send(path: bytes, document: Any) -> int:
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
        stream = peer.engine.send_request([*head, (b"content-type", b"application/json")])
        peer.engine.send_data(stream, msgspec.json.encode(document), end_stream=True)
        await peer.turn(20)
        return stream

    put = await send(b"/v3/kv/put", {"key": b64(b"a")})
    assert msgspec.json.decode(peer.answers[put].body)["header"]["revision"] == "2"
    watch = await send(b"/v3/watch", {"create_request": {"key": b64(b"a"), "start_revision": 1}})
    await until(lambda: len(model.feeds) == 1)
    await peer.turn(20)
    lines = [msgspec.json.decode(line)["result"] for line in peer.answers[watch].body.splitlines()]
    assert [line.get("created", False) for line in lines] == [True, False]
    peer.engine.reset_stream(watch)
    await peer.turn()
    await until(lambda: not model.feeds and not server.tasks)


async def test_the_pages_beside_it(client: httpx.AsyncClient, model: Model) -> None:
    assert (await client.get("/version")).json() == {"etcdserver": VERSION, "etcdcluster": "3.6.0", "storage": "3.6.0"}
    assert (await client.get("/health")).json() == {"health": "true", "reason": ""}
    assert [(await client.get(path)).text for path in ("/livez", "/readyz")] == ["ok\n", "ok\n"]
    model.full = True
    health = await client.get("/health")
    assert (health.status_code, health.json()["health"]) == (503, "false")
    model.full, model.serving = False, False
    assert [(await client.get(path)).status_code for path in ("/health", "/livez", "/readyz")] == [503, 200, 503]
    assert (await client.get("/nothing")).text == "404 page not found\n"
    assert (await client.get("/metrics")).status_code == 404
    assert (await client.post("/version")).status_code == 405
    wrong = await client.get("/v3/kv/range")
    assert (wrong.status_code, wrong.json()) == (501, {"code": 12, "message": "Method Not Allowed"})
