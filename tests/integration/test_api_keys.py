"""Keys on the wire: 1 to 1024 bytes of UTF-8 after percent-decoding, with slashes."""

from urllib.parse import quote

import pytest

from hanas_client import NotFound
from tests.integration.cluster import Cluster
from tests.integration.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [
    "a",
    "a/b/c",
    "/",
    "//",
    "a//b",
    "/a/",
    "..",
    ".",
    "a/../b",
    "a b",
    "a+b",
    "100%",
    "%2F",
    "a?b=c&d#e",
    "a\tb\r\nc\x00d",
    "Straße/日本/🔑",
    "e\u0301",
    "k" * 1024,
    "ß" * 512,
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.encode()[:12].hex())
async def test_a_key_comes_back_as_it_was_given(alone: Cluster, key: str) -> None:
    written = await alone.client.put(key, key.encode())
    got = await alone.client.get(key)
    assert (got.value, got.version) == (key.encode(), written.version)
    [entry] = [entry async for entry in alone.client.list(key) if entry.key == key]
    assert (entry.version, entry.size) == (written.version, len(key.encode()))
    await alone.client.delete(key)
    with pytest.raises(NotFound):
        await alone.client.get(key)


async def test_encoded_and_plain_are_the_same_key(alone: Cluster) -> None:
    await alone.client.put("dir/one", b"1")
    for path in ("dir/one", "dir%2Fone", "%64ir%2fone", "dir/%6Fne"):
        assert (await alone.http.get(await alone.main_kv(path))).content == b"1"
    # A plus is a plus: this is a path, not a form.
    await alone.client.put("a b", b"blank")
    assert (await alone.http.get(await alone.main_kv("a+b"))).status_code == 404
    assert (await alone.http.get(await alone.main_kv("a%20b"))).content == b"blank"


async def test_a_query_is_no_part_of_the_key(alone: Cluster) -> None:
    await alone.client.put("plain", b"1")
    assert (await alone.http.get(await alone.main_kv("plain?consistency=linearizable"))).content == b"1"
    for query in ("x=y", "cas=0", "recurse=true", "consistency=stale"):
        refused = await alone.http.put(await alone.main_kv(f"plain?{query}"), content=b"2")
        assert refused.status_code == 400
        assert refused.json()["detail"].startswith(f"unknown parameter '{query.partition('=')[0]}'")
    assert (await alone.http.put(await alone.main_kv("plain?"), content=b"2")).status_code == 204
    assert (await alone.client.get("plain")).value == b"2"


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    ("key", "detail"),
    [
        ("", "the key is empty"),
        ("k" * 1025, "the key has 1025 bytes; at most 1024 are allowed"),
        (quote("ß" * 513), "the key has 1026 bytes; at most 1024 are allowed"),
        ("%FF", "the key is not UTF-8"),
        ("a%C3", "the key is not UTF-8"),
        ("%ED%A0%80", "the key is not UTF-8"),
    ],
    ids=["empty", "1025", "1026", "FF", "C3", "surrogate"],
)
async def test_a_bad_key_is_refused(alone: Cluster, method: str, key: str, detail: str) -> None:
    request = f"{method} /v1/kv/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    reply = await exchange(await alone.main_url(), request)
    assert (reply.status, reply.headers["hanas-epoch"]) == (400, "1")
    if method != "HEAD":
        assert detail in reply.problem["detail"]


async def test_broken_escapes_are_taken_literally(alone: Cluster) -> None:
    assert (await exchange(await alone.main_url(), put("/v1/kv/50%/x%zz"))).status == 201
    assert (await alone.client.get("50%/x%zz")).value == b"1"


@pytest.mark.parametrize(
    "path", ["/v1/kvx", "/v1/kvxhello", "/v1/kv%2Fhello", "/v1/%6Bv/hello", "/v1/k", "/v2/kv/hello"]
)
async def test_what_only_begins_like_the_path_of_a_key_is_nothing(alone: Cluster, path: str) -> None:
    before = await alone.until_alike()
    for request in (put(path), f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()):
        reply = await exchange(await alone.main_url(), request)
        assert reply.status == 404
        assert "there is nothing at" in reply.problem["detail"]
    assert await alone.until_alike() == before


async def test_bytes_that_no_url_may_hold(alone: Cluster) -> None:
    reply = await exchange(await alone.main_url(), b"GET /v1/kv/\xc3\x9f HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status == 400
    assert reply.problem["detail"]


def put(path: str) -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1".encode()
