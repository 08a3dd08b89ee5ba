"""What is no proper request is answered with a problem document that says what to do."""

import httpx
import pytest

from tests.integration.cluster import Cluster
from tests.integration.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/kv/key", "DELETE, GET, HEAD, PUT"),
        ("PATCH", "/v1/kv/key", "DELETE, GET, HEAD, PUT"),
        ("OPTIONS", "/v1/kv/key", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/v1/kv", "GET, HEAD"),
        ("DELETE", "/v1/kv", "GET, HEAD"),
        ("POST", "/v1/status", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_for_this(alone: Cluster, method: str, path: str, allowed: str) -> None:
    answer = await alone.http.request(method, await alone.main_url(path), content=b"x")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name.strip() for name in answer.headers["allow"].split(",")} == set(allowed.split(", "))
    assert answer.json()["detail"]
    assert answer.headers["hanas-epoch"] == "1"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/keys", "/kv/key", "/v1/status/x", "/v1/status/", "/favicon"])
async def test_a_path_that_is_not_there(alone: Cluster, path: str) -> None:
    answer = await alone.http.get(await alone.main_url(path))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"].startswith(f"there is nothing at {path};")


@pytest.mark.parametrize("path", ["/v1/status", "/healthz", "/readyz", "/metrics", "/v1/kv", "/v1/kv/none", "/none"])
async def test_each_answer_carries_the_epoch(alone: Cluster, path: str) -> None:
    assert (await alone.http.get(await alone.main_url(path))).headers["hanas-epoch"] == "1"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + 40 * b"\x00" + b"\r\n\r\n",
        b"GET /v1/kv/x HTTP/9.9\r\n\r\n",
        b"GET /v1/kv/x HTTP/1.1\r\nno colon\r\n\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["word", "tls", "version", "header", "length", "negative", "twice", "huge", "chunk", "both"],
)
async def test_what_is_no_http(alone: Cluster, request_bytes: bytes) -> None:
    reply = await exchange(await alone.main_url(), request_bytes)
    assert reply.status == 400
    assert reply.problem["detail"]
    assert reply.headers["connection"] == "close"
    assert (await alone.http.get(await alone.main_kv("x"))).status_code == 404


async def test_several_requests_on_one_connection(alone: Cluster) -> None:
    """Answers that had no use for the body leave the connection in step."""
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=1)) as http:
        url = await alone.main_url()
        for _ in range(3):
            assert (await http.post(f"{url}/v1/kv/key", content=b"x" * 100_000)).status_code == 405
            assert (await http.put(f"{url}/v1/kv/key", content=b"v")).status_code in {201, 204}
            assert (await http.put(f"{url}/v1/kv/", content=b"x" * 100_000)).status_code == 400
            assert (await http.request("DELETE", f"{url}/v1/kv/key", content=b"x" * 100_000)).status_code == 204
            assert (await http.request("GET", f"{url}/v1/kv/key", content=b"x" * 100_000)).status_code == 404


async def test_nonsense_leaves_the_worker_unharmed(alone: Cluster) -> None:
    log = alone.lab.log_of(await alone.main()).read_text()
    assert "Traceback" not in log
    assert " ERROR " not in log
