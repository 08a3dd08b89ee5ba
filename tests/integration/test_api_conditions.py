"""Conditions: a version as ETag, If-Match and If-None-Match."""

import asyncio

import aiohttp
import pytest

from tests.integration.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_only_over_the_version_that_one_knows(alone: Cluster) -> None:
    url = await alone.main_kv("match")
    first = (await alone.http.put(url, content=b"1")).headers["etag"]
    second = await alone.http.put(url, content=b"2", headers={"If-Match": first})
    assert second.status_code == 204
    refused = await alone.http.put(url, content=b"3", headers={"If-Match": first})
    assert (refused.status_code, refused.headers["etag"]) == (412, second.headers["etag"])
    assert refused.json()["detail"].startswith(f"the key has version {second.headers['etag'].strip(chr(34))}; nothing")
    assert (await alone.http.get(url)).content == b"2"
    assert (await alone.http.delete(url, headers={"If-Match": first})).status_code == 412
    listed = await alone.http.put(url, content=b"4", headers={"If-Match": f'"9-9", {second.headers["etag"]}'})
    assert listed.status_code == 204
    assert (await alone.http.delete(url, headers={"If-Match": listed.headers["etag"]})).status_code == 204


async def test_only_a_key_that_is_there(alone: Cluster) -> None:
    url = await alone.main_kv("any")
    refused = await alone.http.put(url, content=b"1", headers={"If-Match": "*"})
    assert (refused.status_code, refused.json()["detail"]) == (412, "the key is not there; nothing was changed")
    assert "etag" not in refused.headers
    assert (await alone.http.delete(url, headers={"If-Match": "*"})).status_code == 412
    await alone.http.put(url, content=b"1")
    assert (await alone.http.put(url, content=b"2", headers={"If-Match": "*"})).status_code == 204
    assert (await alone.http.delete(url, headers={"If-Match": "*"})).status_code == 204


async def test_only_a_new_key(alone: Cluster) -> None:
    url = await alone.main_kv("new")
    created = await alone.http.put(url, content=b"1", headers={"If-None-Match": "*"})
    assert created.status_code == 201
    refused = await alone.http.put(url, content=b"2", headers={"If-None-Match": "*"})
    assert (refused.status_code, refused.headers["etag"]) == (412, created.headers["etag"])
    assert (await alone.http.get(url)).content == b"1"
    await alone.http.delete(url)
    again = await alone.http.put(url, content=b"3", headers={"If-None-Match": "*"})
    assert again.status_code == 201
    assert again.headers["etag"] != created.headers["etag"]


async def test_only_over_another_version(alone: Cluster) -> None:
    url = await alone.main_kv("other")
    tag = (await alone.http.put(url, content=b"1")).headers["etag"]
    assert (await alone.http.put(url, content=b"2", headers={"If-None-Match": tag})).status_code == 412
    assert (await alone.http.put(url, content=b"2", headers={"If-None-Match": '"9-9"'})).status_code == 204


async def test_a_read_of_what_one_has_already(alone: Cluster) -> None:
    url = await alone.main_kv("known")
    tag = (await alone.http.put(url, content=b"1")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"9-9", {tag}', "*"):
        answer = await alone.http.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["hanas-epoch"] == "1"
    assert (await alone.http.head(url, headers={"If-None-Match": tag})).status_code == 304
    assert (await alone.http.get(url, headers={"If-None-Match": '"9-9"'})).content == b"1"
    assert (await alone.http.get(url, headers={"If-None-Match": tag, "Range": "bytes=0-0"})).status_code == 304
    assert (await alone.http.get(url, headers={"If-Match": tag})).status_code == 200
    assert (await alone.http.get(url, headers={"If-Match": '"9-9"'})).status_code == 412
    # The connection is in step after answers without a body.
    assert (await alone.http.get(url)).content == b"1"


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["1-1", '"1-1', "", '"1-1" "1-2"', "any", ","])
async def test_what_is_no_etag(alone: Cluster, header: str, value: str) -> None:
    url = await alone.main_kv("no-etag")
    for answer in (
        await alone.http.put(url, content=b"1", headers={header: value}),
        await alone.http.delete(url, headers={header: value}),
        await alone.http.get(url, headers={header: value}),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"{header} must be * or ETags in double quotes")
    assert (await alone.http.get(url)).status_code == 404


async def test_fifty_increments_at_once(alone: Cluster) -> None:
    """Compare-and-set: each adds one to what it read, and tries again when another one was first."""
    url = await alone.main_kv("counter")
    await alone.http.put(url, content=b"0")
    async with aiohttp.ClientSession() as http:

        async def increment() -> None:
            while True:
                async with http.get(url) as present:
                    value, tag = int(await present.read()), present.headers["etag"]
                async with http.put(url, data=b"%d" % (value + 1), headers={"If-Match": tag}) as answer:
                    assert answer.status in {204, 412}
                    if answer.status == 204:
                        return

        await asyncio.gather(*(increment() for _ in range(50)))
    assert (await alone.http.get(url)).content == b"50"


async def test_one_of_fifty_creates_a_key(alone: Cluster) -> None:
    url = await alone.main_kv("contended")
    answers = await asyncio.gather(
        *(alone.http.put(url, content=b"%d" % number, headers={"If-None-Match": "*"}) for number in range(50))
    )
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [201] + 49 * [412]
    winner = statuses.index(201)
    assert (await alone.http.get(url)).content == b"%d" % winner
    assert {answer.headers["etag"] for answer in answers} == {answers[winner].headers["etag"]}
