"""Idempotency keys: a write that is sent twice is done once, also over takeovers and restarts."""

import asyncio

import httpx
import pytest

from tests.integration.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(cluster: Cluster, key: str, value: bytes, mark: str, **headers: str) -> httpx.Response:
    return await cluster.http.put(
        await cluster.main_kv(key), content=value, headers={"Idempotency-Key": mark, **headers}
    )


def told(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("etag")


async def test_a_repeated_write_is_answered_as_before(pair: Cluster) -> None:
    first = await put(pair, "once", b"1", "mark-1")
    assert first.status_code == 201
    assert told(await put(pair, "once", b"1", "mark-1")) == told(first)
    second = await put(pair, "once", b"2", "mark-2")
    assert second.status_code == 204
    # The answer to the first is still the first's, although the key has moved on.
    assert told(await put(pair, "once", b"1", "mark-1")) == told(first)
    assert told(await put(pair, "once", b"2", "mark-2")) == told(second)
    read = await pair.http.get(await pair.main_kv("once"))
    assert (read.content, read.headers["etag"]) == (b"2", second.headers["etag"])


async def test_a_condition_is_part_of_the_request(pair: Cluster) -> None:
    created = await put(pair, "conditional", b"1", "mark-3", **{"If-None-Match": "*"})
    assert created.status_code == 201
    # Sent again it does not meet its own key.
    assert told(await put(pair, "conditional", b"1", "mark-3", **{"If-None-Match": "*"})) == told(created)
    assert (await put(pair, "conditional", b"1", "mark-3")).status_code == 422


async def test_a_repeated_delete(pair: Cluster) -> None:
    url, mark = await pair.main_kv("deleted"), {"Idempotency-Key": "mark-4"}
    await pair.http.put(url, content=b"1")
    assert (await pair.http.delete(url, headers=mark)).status_code == 204
    assert (await pair.http.delete(url, headers=mark)).status_code == 204
    assert (await pair.http.delete(url)).status_code == 404
    await pair.http.put(url, content=b"2")
    assert (await pair.http.delete(url, headers=mark)).status_code == 204
    assert (await pair.http.get(url)).content == b"2"


async def test_one_key_for_another_request(pair: Cluster) -> None:
    await put(pair, "reused", b"1", "mark-5")
    others = [
        await put(pair, "reused", b"2", "mark-5"),
        await put(pair, "other", b"1", "mark-5"),
        await put(pair, "reused", b"1", "mark-5", **{"Content-Type": "text/plain"}),
        await pair.http.delete(await pair.main_kv("reused"), headers={"Idempotency-Key": "mark-5"}),
    ]
    for answer in others:
        assert answer.status_code == 422
        assert "use a new one for each write" in answer.json()["detail"]
        assert answer.headers["hanas-epoch"]
    assert (await pair.http.get(await pair.main_kv("reused"))).content == b"1"
    assert (await pair.http.get(await pair.main_kv("other"))).status_code == 404


async def test_twenty_at_once(pair: Cluster) -> None:
    answers = await asyncio.gather(*(put(pair, "at-once", b"1", "mark-6") for _ in range(20)))
    assert {told(answer) for answer in answers} == {told(answers[0])}
    assert answers[0].status_code == 201


@pytest.mark.parametrize("mark", [b"", 257 * b"x", b"schl\xfcssel", b"\x01"], ids=["empty", "long", "ü", "control"])
async def test_what_is_no_key(pair: Cluster, mark: bytes) -> None:
    answer = await pair.http.put(await pair.main_kv("bad"), content=b"1", headers=[(b"Idempotency-Key", mark)])
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert (await pair.http.get(await pair.main_kv("bad"))).status_code == 404


@pytest.mark.long
async def test_after_a_takeover_and_a_restart_of_everything(pair: Cluster) -> None:
    first = await put(pair, "lasting", b"1", "mark-7")
    moved_on = await put(pair, "lasting", b"2", "mark-8")
    url, mark = await pair.main_kv("short"), {"Idempotency-Key": "mark-9"}
    await pair.http.put(url, content=b"1")
    assert (await pair.http.delete(url, headers=mark)).status_code == 204
    await pair.until_alike()
    main = await pair.main()
    await pair.lab.kill(main)
    await pair.client.put("wait", b"for the next main")
    await check(pair, first, moved_on)
    for name in pair.running():
        await pair.lab.kill(name)
    await pair.settle()
    await check(pair, first, moved_on)


async def check(cluster: Cluster, first: httpx.Response, moved_on: httpx.Response) -> None:
    assert told(await put(cluster, "lasting", b"1", "mark-7")) == told(first)
    assert (await put(cluster, "lasting", b"3", "mark-7")).status_code == 422
    deleting = {"Idempotency-Key": "mark-9"}
    assert (await cluster.http.delete(await cluster.main_kv("short"), headers=deleting)).status_code == 204
    read = await cluster.http.get(await cluster.main_kv("lasting"))
    assert (read.content, read.headers["etag"]) == (b"2", moved_on.headers["etag"])
