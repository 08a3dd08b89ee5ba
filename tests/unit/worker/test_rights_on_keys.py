"""Whoever has no right to a key learns nothing about it, whichever way is tried; both ways answer the same."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanas_serving.answers import Answer
from hanas_serving.audit import LOGGER, Audit
from hanas_serving.clients import decode
from hanas_serving.settings import Audited
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import Worker

GRANTS = {
    "all": "[{roles: [writer]}]",
    "a": "[{prefix: a/, roles: [writer]}]",
    "parts": "[{prefix: a/, rights: [list]}, {prefix: c/, rights: [list]}, {prefix: c/d/, rights: [list, read]}]",
    "blind": "[{prefix: a/, rights: [write, delete]}]",
    "state": "[{rights: [observe, admin]}]",
}
ENTRIES = [
    f"{{name: {name}, tokens: [{hashlib.sha256(name.encode()).hexdigest()}], grants: {grants}}}"
    for name, grants in GRANTS.items()
]
CLIENTS = decode(f"principals: [{', '.join(ENTRIES)}]")
KEYS = ("a", "a/1", "a/2", "b/1", "c/", "c/d/1", "c/e", "ß/1")


@asynccontextmanager
async def filled(audit: Audit | None = None) -> AsyncIterator[Worker]:
    """A worker with some keys."""
    stage = await started()
    worker = Worker(stage, clients=CLIENTS, audit=audit)
    for key in KEYS:
        answer = await asked(worker, "all", "PUT", key, body=key.encode())
        assert answer.status == 201
    try:
        yield worker
    finally:
        stage.service.end("the test is over")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with filled() as worker:
        yield worker


async def asked(
    worker: Worker,
    who: str,
    method: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    asgi: bool = False,
) -> Answer:
    sent = {**(headers or {}), **({"authorization": f"Bearer {who}"} if who else {})}
    ask = worker.by_asgi if asgi else worker.directly
    return await ask(method, f"/v1/kv/{quote(key)}", sent, body)


async def listed(worker: Worker, who: str, query: str = "") -> tuple[int, list[str], str | None]:
    answer = await worker.by_asgi("GET", f"/v1/kv{query}", {"authorization": f"Bearer {who}"}, b"")
    document = json.loads(answer.body)
    return answer.status, [entry["key"] for entry in document.get("keys", ())], document.get("next")


TRIES: list[tuple[str, dict[str, str], bytes]] = [
    ("GET", {}, b""),
    ("GET", {"range": "bytes=0-0"}, b""),
    ("GET", {"range": "bytes=9-"}, b""),
    ("GET", {"if-none-match": "*"}, b""),
    ("GET", {"if-match": '"9-9"'}, b""),
    ("HEAD", {}, b""),
    ("HEAD", {"if-none-match": "*"}, b""),
    ("PUT", {}, b"x"),
    ("PUT", {}, b"x" * 2000),
    ("PUT", {"if-match": "*"}, b"x"),
    ("PUT", {"if-none-match": "*"}, b"x"),
    ("PUT", {"idempotency-key": "k"}, b"x"),
    ("PUT", {"content-length": "5000000"}, b"x"),
    ("DELETE", {}, b""),
    ("DELETE", {"if-match": '"9-9"'}, b""),
    ("POST", {}, b""),
]


@pytest.mark.parametrize(("method", "headers", "body"), TRIES)
@pytest.mark.parametrize("who", ["a", "parts", "state", "nobody"])
async def test_a_key_that_is_there_and_one_that_is_not_are_answered_alike(
    worker: Worker, who: str, method: str, headers: dict[str, str], body: bytes
) -> None:
    there, not_there = [await asked(worker, who, method, key, headers, body, asgi=True) for key in ("b/1", "b/2")]
    assert there == not_there
    assert there.status == (401 if who == "nobody" else 403)
    assert b"etag" not in there.lines
    if method in {"GET", "PUT", "DELETE"}:
        assert await asked(worker, who, method, "b/1", headers, body) == there
    after = await asked(worker, "all", "GET", "b/1")
    assert after.body == b"b/1"
    assert (await asked(worker, "all", "GET", "b/2")).status == 404


async def test_each_right_is_its_own(worker: Worker) -> None:
    statuses = {}
    for who in GRANTS:
        for key in ("a/1", "c/d/1"):
            for method in ("GET", "PUT"):
                statuses[who, key, method] = (await asked(worker, who, method, key, body=b"x")).status
    assert statuses == {
        ("all", "a/1", "GET"): 200,
        ("all", "a/1", "PUT"): 204,
        ("all", "c/d/1", "GET"): 200,
        ("all", "c/d/1", "PUT"): 204,
        ("a", "a/1", "GET"): 200,
        ("a", "a/1", "PUT"): 204,
        ("a", "c/d/1", "GET"): 403,
        ("a", "c/d/1", "PUT"): 403,
        ("parts", "a/1", "GET"): 403,
        ("parts", "a/1", "PUT"): 403,
        ("parts", "c/d/1", "GET"): 200,
        ("parts", "c/d/1", "PUT"): 403,
        ("blind", "a/1", "GET"): 403,
        ("blind", "a/1", "PUT"): 204,
        ("blind", "c/d/1", "GET"): 403,
        ("blind", "c/d/1", "PUT"): 403,
        ("state", "a/1", "GET"): 403,
        ("state", "a/1", "PUT"): 403,
        ("state", "c/d/1", "GET"): 403,
        ("state", "c/d/1", "PUT"): 403,
    }


@pytest.mark.parametrize("asgi", [False, True])
@pytest.mark.parametrize("condition", [{"if-match": "*"}, {"if-match": '"1-1"'}, {"if-none-match": "*"}])
async def test_a_condition_takes_the_right_to_read(worker: Worker, condition: dict[str, str], asgi: bool) -> None:
    for key in ("a/1", "a/none"):
        for method in ("PUT", "DELETE"):
            answer = await asked(worker, "blind", method, key, condition, b"x", asgi=asgi)
            assert answer.status == 403
            assert b"no right to read" in answer.body
    assert (await asked(worker, "blind", "DELETE", "a/1", asgi=asgi)).status == 204


@pytest.mark.parametrize("asgi", [False, True])
async def test_nobody_meets_the_idempotency_keys_of_others(worker: Worker, asgi: bool) -> None:
    given = {"idempotency-key": "order-1"}
    first = await asked(worker, "all", "PUT", "a/i", given, b"x", asgi=asgi)
    assert first.status == 201
    assert await asked(worker, "all", "PUT", "a/i", given, b"x", asgi=asgi) == first
    assert (await asked(worker, "all", "PUT", "a/i", given, b"y", asgi=asgi)).status == 422
    assert (await asked(worker, "a", "PUT", "a/i", given, b"y", asgi=asgi)).status == 204
    assert (await asked(worker, "a", "PUT", "a/i", {"idempotency-key": "all\n order-1"}, b"y", asgi=asgi)).status == 400


async def test_a_list_shows_what_may_be_listed(worker: Worker) -> None:
    assert await listed(worker, "all") == (200, sorted(KEYS), None)
    assert await listed(worker, "a") == (200, ["a/1", "a/2"], None)
    assert await listed(worker, "parts") == (200, ["a/1", "a/2", "c/", "c/d/1", "c/e"], None)
    assert await listed(worker, "parts", "?prefix=c/d") == (200, ["c/d/1"], None)
    assert await listed(worker, "parts", "?prefix=c/d/1") == (200, ["c/d/1"], None)
    assert await listed(worker, "parts", "?after=a/2&consistency=stale") == (200, ["c/", "c/d/1", "c/e"], None)
    nothing = (("parts", "?prefix=b"), ("parts", "?prefix=b/1"), ("blind", ""), ("state", ""), ("a", "?prefix=b"))
    for who, query in nothing:
        assert (await listed(worker, who, query))[0] == 403
    assert (await listed(worker, "nobody"))[0] == 401
    for limit in range(1, 6):
        shown: list[str] = []
        query = f"?limit={limit}"
        while True:
            status, keys, following = await listed(worker, "parts", query)
            assert (status, len(keys) <= limit) == (200, True)
            shown += keys
            if following is None:
                break
            assert following == keys[-1]
            query = f"?limit={limit}&after={quote(following)}"
        assert shown == ["a/1", "a/2", "c/", "c/d/1", "c/e"]


_PIECES = ["a", "/", "b", "1", "%61", "%2f", "%2F", "%252f", "%", "..", "%00", "%c3%9f", "%ff", "ß"]
PATHS = st.lists(st.sampled_from(_PIECES), max_size=8).map("".join)


@given(st.lists(PATHS, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_encoding_of_a_path_leads_past_the_rights(paths: list[str]) -> None:
    async def play() -> None:
        async with filled() as worker:
            for path in paths:
                raw = f"/v1/kv/{path}"
                for method in ("PUT", "GET"):
                    if raw.isascii():
                        direct = await worker.directly(method, raw, {"authorization": "Bearer a"}, b"mine")
                        assert direct.status in {200, 201, 204, 400, 403, 404}
                    answer = await worker.by_asgi(method, raw, {"authorization": "Bearer a"}, b"mine")
                    assert answer.status in {200, 201, 204, 400, 403, 404}
            index = worker.store.index
            for key, _ in index.page(b"", b"", 1000).entries:
                if index.cached(key) == b"mine":
                    assert key.startswith(b"a/")

    asyncio.run(play())


async def test_what_the_audit_log_has(caplog: pytest.LogCaptureFixture) -> None:
    async with filled(Audit("w1", Audited.WRITES)) as worker:
        caplog.set_level(logging.INFO, LOGGER)
        await asked(worker, "a", "PUT", "a/1", body=b"geheim")
        await asked(worker, "a", "DELETE", "a/1", asgi=True)
        await asked(worker, "a", "PUT", "a/2", {"if-match": '"9-9"'}, b"geheim", asgi=True)
        await asked(worker, "a", "GET", "a/2")
        await asked(worker, "a", "GET", "b/1")
        await asked(worker, "wrong-token", "PUT", "b/1", body=b"geheim", asgi=True)
        await asked(worker, "blind", "PUT", "a/2", {"if-match": '"9-9"'}, b"geheim")
        await listed(worker, "a", "?prefix=b/")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]
    fields = ("audit", "principal", "action", "key", "status")
    assert [tuple(line[field] for field in fields) for line in lines] == [
        ("write", "a", "write", "a/1", 204),
        ("write", "a", "delete", "a/1", 204),
        ("write", "a", "write", "a/2", 412),
        ("denied", "a", "read", "b/1", 403),
        ("denied", "anonymous", "write", "b/1", 401),
        ("denied", "blind", "read", "a/2", 403),
        ("denied", "a", "list", "b/", 403),
    ]
    for secret in ("geheim", "wrong-token", "Bearer"):
        assert secret not in caplog.text


async def test_an_open_worker_tells_about_writes_too(caplog: pytest.LogCaptureFixture) -> None:
    stage = await started()
    worker = Worker(stage, audit=Audit("w1", Audited.WRITES))
    caplog.set_level(logging.INFO, LOGGER)
    assert (await asked(worker, "", "PUT", "a", {"if-none-match": "*", "idempotency-key": "k"}, b"x")).status == 201
    assert (await asked(worker, "", "GET", "a")).body == b"x"
    stage.service.end("the test is over")
    [line] = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]
    assert (line["principal"], line["standing"], line["status"]) == ("anonymous", "stranger", 201)
