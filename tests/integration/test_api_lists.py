"""`GET /v1/kv`: pages of keys in order."""

import asyncio
from typing import Any

import aiohttp
import httpx
import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 1205
AT_ONCE = 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(alone: Cluster) -> dict[str, str]:
    """More keys than a page can show, with their versions."""
    for key in ("man", "manx", "many", "many0", "mao", "🔑", "ä"):
        await alone.client.put(key, b"")
    url = await alone.main_kv("many/")
    connections = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connections) as http:

        async def write(number: int) -> tuple[str, str]:
            async with http.put(f"{url}{number:05d}", data=bytes(number % 7)) as answer:
                assert answer.status == 201
                return f"many/{number:05d}", answer.headers["etag"].strip('"')

        return dict(await asyncio.gather(*(write(number) for number in range(COUNT))))


async def page(cluster: Cluster, **parameters: str) -> httpx.Response:
    return await cluster.http.get(await cluster.main_url("/v1/kv"), params=parameters)


async def keys(cluster: Cluster, **parameters: str) -> list[str]:
    answer = await page(cluster, **parameters)
    assert answer.status_code == 200, answer.text
    return [entry["key"] for entry in answer.json()["keys"]]


@pytest.mark.parametrize("limit", ["1000", "400", "241", None])
async def test_all_pages_together_are_all_keys(alone: Cluster, many: dict[str, str], limit: str | None) -> None:
    found: list[dict[str, Any]] = []
    parameters = {"prefix": "many/"} | ({"limit": limit} if limit else {})
    pages = 0
    while True:
        answer = await page(alone, **parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["hanas-epoch"] == "1"
        document = answer.json()
        found += document["keys"]
        pages += 1
        assert len(document["keys"]) <= int(limit or 100)
        if document["next"] is None:
            break
        assert document["next"] == found[-1]["key"]
        parameters["after"] = document["next"]
    assert {entry["key"]: entry["version"] for entry in found} == many
    assert [entry["key"] for entry in found] == sorted(many)
    assert [entry["size"] for entry in found] == [number % 7 for number in range(COUNT)]
    assert pages == -(-COUNT // int(limit or 100))


async def test_a_page_that_ends_with_the_last_key_has_no_next(alone: Cluster, many: dict[str, str]) -> None:
    last = sorted(many)[-3:]
    document = (await page(alone, prefix="many/", after=f"many/{COUNT - 4:05d}", limit="3")).json()
    assert ([entry["key"] for entry in document["keys"]], document["next"]) == (last, None)


async def test_prefixes_and_beginnings(alone: Cluster, many: dict[str, str]) -> None:
    assert len(await keys(alone, limit="1000")) == 1000
    assert await keys(alone, prefix="man", limit="3") == ["man", "manx", "many"]
    assert await keys(alone, prefix="manx") == ["manx"]
    assert await keys(alone, prefix="nothing") == []
    assert await keys(alone, prefix="many", after="many/99999") == ["many0"]
    assert await keys(alone, after="many/99999") == ["many0", "mao", "ä", "🔑"]
    assert await keys(alone, prefix="mao", after="a") == ["mao"]
    assert await keys(alone, prefix="mao", after="z") == []
    assert await keys(alone, prefix="ä") == ["ä"]
    assert await keys(alone, prefix="\U0001f511") == ["🔑"]
    assert "many/00000" in many


async def test_head_of_a_list(alone: Cluster, many: dict[str, str]) -> None:
    url = await alone.main_url("/v1/kv?limit=5")
    got, head = await alone.http.get(url), await alone.http.head(url)
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(got.headers))
    assert many


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ("abc", "'abc'"),
        ("0", "'0'"),
        ("-1", "'-1'"),
        ("1001", "'1001'"),
        ("", "''"),
        ("1.5", "'1.5'"),
        ("³", "'³'"),
        ("99999999999999999999", "'99999999999999999999'"),
        ("0000001000999", "'0000001000999'"),
        ("000000001" + 5000 * "0", "'000000001"),
        (5000 * "9", "'999"),
    ],
    ids=lambda value: value[:16],
)
async def test_a_limit_that_is_none(alone: Cluster, limit: str, shown: str) -> None:
    answer = await page(alone, limit=limit)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"limit must be a number from 1 to 1000, not {shown}")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("prefx=a", "unknown parameter 'prefx'"),
        ("consistency=eventual", "consistency must be linearizable or stale, not 'eventual'"),
        ("prefix=%FF", "the query is not percent-encoded UTF-8"),
        ("&".join(f"a{number}=1" for number in range(40)), "at most 16 parameters"),
    ],
)
async def test_a_query_that_makes_no_sense(alone: Cluster, query: str, detail: str) -> None:
    answer = await alone.http.get(await alone.main_url(f"/v1/kv?{query}"))
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


async def test_a_list_is_linearizable(alone: Cluster) -> None:
    for number in range(20):
        await alone.client.put(f"seen/{number}", b"")
        assert len(await keys(alone, prefix="seen/")) == number + 1
    for number in range(20):
        await alone.client.delete(f"seen/{number}")
        assert len(await keys(alone, prefix="seen/")) == 19 - number
