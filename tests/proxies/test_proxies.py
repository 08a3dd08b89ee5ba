"""What clients of a proxy see: every call, a main that dies, connections that are reused, events at once."""

import asyncio
import itertools
import time

import httpx
import pytest

from tests.integration.waiting import eventually, within
from tests.proxies.proxied import Proxied

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_GAP_SECONDS = 4.0
"""A takeover of less than a second on a quiet machine, and the proxy's health check."""


async def test_every_call_of_keys(proxy: Proxied) -> None:
    large = bytes(range(256)) * 4096
    async with httpx.AsyncClient(base_url=proxy.clients, trust_env=False) as http:
        created = await http.put("/v1/kv/calls/a", content=large, headers={"content-type": "image/png"})
        assert (created.status_code, created.headers["etag"]) == (
            201,
            (await http.get("/v1/kv/calls/a")).headers["etag"],
        )
        value = await http.get("/v1/kv/calls/a")
        assert (value.content, value.headers["content-type"]) == (large, "image/png")
        part = await http.get("/v1/kv/calls/a", headers={"range": "bytes=256-259"})
        assert (part.status_code, part.content) == (206, bytes(range(4)))
        etag = created.headers["etag"]
        assert (await http.get("/v1/kv/calls/a", headers={"if-none-match": etag})).status_code == 304
        assert (await http.put("/v1/kv/calls/a", content=b"", headers={"if-none-match": "*"})).status_code == 412
        assert (await http.put("/v1/kv/calls/a", content=b"new", headers={"if-match": etag})).status_code == 204
        page = (await http.get("/v1/kv", params={"prefix": "calls/"})).json()
        assert [entry["key"] for entry in page["keys"]] == ["calls/a"]
        odd = "/v1/kv/calls%2F%C3%BC%20%3F"
        assert (await http.put(odd, content=b"x")).status_code == 201
        assert (await http.get(odd)).content == b"x"
        assert (await http.delete("/v1/kv/calls/a")).status_code == 204
        assert (await http.get("/v1/kv/calls/a")).status_code == 404


async def test_a_value_that_is_too_large(proxy: Proxied) -> None:
    async with httpx.AsyncClient(base_url=proxy.clients, trust_env=False, timeout=30) as http:
        assert (await http.put("/v1/kv/large", content=bytes(9 << 20))).status_code == 413


async def test_connections_that_were_idle(proxy: Proxied) -> None:
    """Pooled connections, of the client and of the proxy, are used again after longer than any short time-out."""
    limits = httpx.Limits(max_connections=1, keepalive_expiry=60)
    async with httpx.AsyncClient(base_url=proxy.clients, trust_env=False, limits=limits) as http:
        for number in range(3):
            assert (await http.put(f"/v1/kv/idle{number}", content=b"x")).is_success
            await asyncio.sleep(6)
        assert (await http.get("/v1/kv/idle0")).content == b"x"


async def test_events_come_at_once(proxy: Proxied) -> None:
    async with httpx.AsyncClient(base_url=proxy.dashboard, trust_env=False) as http:
        assert (await http.get("/v1/cluster")).json()["main"]["state"] == "serving"
        async with http.stream("GET", "/v1/events", timeout=5) as stream:
            lines = stream.aiter_lines()
            assert await within(2, anext(lines))


async def test_a_main_that_dies(proxy: Proxied) -> None:
    cluster = proxy.cluster
    main = await cluster.main()
    acknowledged: list[str] = []
    answers: list[float] = []
    stopping = asyncio.Event()

    async def write() -> None:
        async with httpx.AsyncClient(base_url=proxy.clients, trust_env=False, timeout=3) as http:
            while not stopping.is_set():
                key = f"writes/{len(answers)}-{time.monotonic()}"
                try:
                    answer = await http.put(f"/v1/kv/{key}", content=key, headers={"idempotency-key": key})
                except httpx.HTTPError:
                    continue
                if answer.is_success:
                    acknowledged.append(key)
                    answers.append(time.monotonic())
                else:
                    assert answer.status_code in {307, 502, 503, 504}, answer.text
                await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    await eventually(lambda: _more_than(answers, 20))
    await cluster.lab.kill(main)
    killed = time.monotonic()
    await eventually(lambda: _since(answers, killed))
    stopping.set()
    await writing
    gaps = [later - earlier for earlier, later in itertools.pairwise(answers)]
    print(f"{proxy.name}: {max(gaps):.2f} s without an acknowledged write")
    assert max(gaps) < MOST_GAP_SECONDS
    await _all_there(proxy, acknowledged)
    await cluster.settle()


async def _more_than(answers: list[float], count: int) -> bool:
    return len(answers) > count


async def _since(answers: list[float], moment: float) -> bool:
    return sum(answer > moment + 0.5 for answer in answers) > 20


async def _all_there(proxy: Proxied, keys: list[str]) -> None:
    async with httpx.AsyncClient(base_url=proxy.clients, trust_env=False) as http:
        for key in keys:
            assert (await http.get(f"/v1/kv/{key}")).text == key
