"""Leases over HTTP (docs/api.md)."""

import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from hanas_core.log import records
from hanas_core.state import leases
from hanas_core.state.leases import MOST_ID, MOST_TTL
from hanas_serving.answers import Answer
from hanas_serving.audit import LOGGER, Audit
from hanas_serving.settings import Audited
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.messages import Forward, forward, write_of
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import MAIN_URL, Worker
from tests.unit.worker.test_rights_on_keys import filled

LEASES = "/v1/leases"


def lend(worker: Worker) -> None:
    """Let the worker have leases."""
    state, service = worker.parts.state, worker.stage.service
    service.form = records.REVISED
    state.lessor = Lessor(service, lambda: 100.0)
    nonces = iter(["0", "0", f"{MOST_ID - 1:x}"])
    state.host = SimpleNamespace(runtime=SimpleNamespace(nonce=lambda: next(nonces)))


@pytest.fixture(name="worker")
async def _worker() -> AsyncIterator[Worker]:
    stage = await started()
    worker = Worker(stage)
    lend(worker)
    yield worker
    stage.service.end("the test is over")


async def ask(worker: Worker, method: str, path: str = "", body: Any = None, who: str = "") -> tuple[int, Any]:
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {who}"} if who else {}
    answer = await worker.by_asgi(method, LEASES + path, headers, content)
    return answer.status, json.loads(answer.body) if answer.body else None


async def put(worker: Worker, key: str, lease: str, method: str = "PUT") -> Answer:
    answers = [
        await way(method, f"/v1/kv/{key}", {"hanas-lease": lease}, b"v") for way in (worker.directly, worker.by_asgi)
    ]
    assert answers[0].status in {answers[1].status, 201}
    return answers[0]


async def test_a_lease_from_its_grant_to_its_end(worker: Worker) -> None:
    answer = await worker.by_asgi("POST", LEASES, {}, b'{"ttl": 30, "id": 7}')
    headers = dict(answer.headers)
    assert (answer.status, json.loads(answer.body)) == (201, {"id": 7, "ttl": 30})
    assert (headers[b"hanas-epoch"], headers[b"hanas-revision"]) == (b"1", b"1")
    assert (await put(worker, "a", "7")).status == 201
    assert await ask(worker, "GET", "/7") == (200, {"id": 7, "ttl": 30, "remaining": 30, "keys": ["a"]})
    assert await ask(worker, "POST", "/7/keepalive") == (200, {"id": 7, "ttl": 30})
    ended = await worker.by_asgi("DELETE", f"{LEASES}/7", {}, b"")
    assert (ended.status, dict(ended.headers)[b"hanas-revision"]) == (204, b"4")
    assert (await worker.directly("GET", "/v1/kv/a", {}, b"")).status == 404
    for method, path in (("GET", "/7"), ("POST", "/7/keepalive"), ("DELETE", "/7")):
        status, problem = await ask(worker, method, path)
        assert (status, problem["detail"][:24]) == (404, "there is no such lease, ")


async def test_ids_are_chosen_or_made(worker: Worker) -> None:
    assert await ask(worker, "POST", "", {"ttl": 30}) == (201, {"id": 1, "ttl": 30})
    assert await ask(worker, "POST", "", {"ttl": 30}) == (201, {"id": MOST_ID, "ttl": 30})
    status, problem = await ask(worker, "POST", "", {"ttl": 30, "id": 1})
    assert (status, problem["detail"][:30]) == (409, "there is a lease with this id ")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"ttl": 0}, "ttl must be from 1 to"),
        ({"ttl": -1}, "ttl must be from 1 to"),
        ({"ttl": 10**10}, "ttl must be from 1 to"),
        ({"ttl": 1, "id": 0}, "id must be from 1 to"),
        ({"ttl": 1, "id": MOST_ID + 1}, "id must be from 1 to"),
        ({"ttl": "1"}, "this asks for no lease"),
        ({"ttl": 1.5}, "this asks for no lease"),
        ({}, "this asks for no lease"),
        ({"ttl": 1, "keys": []}, "this asks for no lease"),
    ],
)
async def test_bad_grants_say_what_to_send(worker: Worker, body: Any, word: str) -> None:
    status, problem = await ask(worker, "POST", "", body)
    assert status == 400
    assert word in problem["detail"]
    assert not worker.stage.service.index.leases


async def test_the_bounds_themselves_are_granted(worker: Worker) -> None:
    assert (await ask(worker, "POST", "", {"ttl": MOST_TTL, "id": MOST_ID}))[0] == 201
    assert (await ask(worker, "POST", "", {"ttl": 1, "id": 1}))[0] == 201


@pytest.mark.parametrize("path", ["/0", "/-1", "/x", "/", "/1/", "/1/other", f"/{MOST_ID + 1}", "/" + "1" * 99, "/%31"])
async def test_bad_paths(worker: Worker, path: str) -> None:
    for method in ("GET", "DELETE", "POST"):
        assert (await ask(worker, method, path))[0] == 400


async def test_methods_and_bodies(worker: Worker) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/7"), ("PUT", "/7"), ("GET", "/7/keepalive")):
        assert (await ask(worker, method, path))[0] == 405
    answer = await worker.by_asgi("POST", LEASES, {}, b" " * 5000)
    assert answer.status == 413
    assert (await worker.by_asgi("GET", f"{LEASES}/7?x=1", {}, b"")).status == 400


async def test_a_key_needs_a_lease_that_is_there(worker: Worker) -> None:
    assert (await put(worker, "a", "7")).status == 404
    for bad in ("0", "", "x", "-1", str(MOST_ID + 1), "\xb2"):
        assert (await put(worker, "a", bad)).status == 400
    assert (await put(worker, "a", "7", "DELETE")).status == 400
    assert len(worker.stage.service.index) == 0


async def test_a_transaction_attaches(worker: Worker) -> None:
    await ask(worker, "POST", "", {"ttl": 30, "id": 7})
    for lease, status in ((7, 200), (8, 404), (-1, 400), (MOST_ID + 1, 400)):
        body = json.dumps({"then": [{"put": {"key": "a", "text": "x", "lease": lease}}]}).encode()
        assert (await worker.by_asgi("POST", "/v1/txn", {}, body)).status == status
    assert (await ask(worker, "GET", "/7"))[1]["keys"] == ["a"]


async def test_so_many_and_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_LEASES", 1)
    monkeypatch.setattr(leases, "MOST_KEY_BYTES", leases.cost_of(b"a"))
    await ask(worker, "POST", "", {"ttl": 30, "id": 7})
    assert (await ask(worker, "POST", "", {"ttl": 30, "id": 8}))[0] == 429
    assert (await put(worker, "a", "7")).status == 201
    assert (await put(worker, "b", "7")).status == 413


async def test_only_the_main_has_leases(worker: Worker) -> None:
    worker.parts.main_url, worker.parts.state.lessor = MAIN_URL, None
    for method, path in (("POST", ""), ("GET", "/7"), ("DELETE", "/7"), ("POST", "/7/keepalive")):
        answer = await worker.by_asgi(method, LEASES + path, {}, b'{"ttl": 30}')
        assert (answer.status, dict(answer.headers)[b"location"].decode()) == (307, MAIN_URL + LEASES + path)


async def test_an_epoch_that_ends_grants_and_tells_nothing(worker: Worker) -> None:
    worker.stage.service.end("the test says so")
    for method, path in (("POST", ""), ("GET", "/7"), ("DELETE", "/7"), ("POST", "/7/keepalive")):
        assert (await ask(worker, method, path, {"ttl": 30}))[0] == 503


async def test_a_crowd_of_reads_is_refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(worker.stage.service), "crowded", True)
    for method, path in (("GET", "/7"), ("POST", "/7/keepalive")):
        assert (await ask(worker, method, path))[0] == 503


async def test_a_log_without_revisions_has_no_leases(worker: Worker) -> None:
    worker.stage.service.form = records.PLAIN
    status, problem = await ask(worker, "POST", "", {"ttl": 30})
    assert status == 503
    assert "update it" in problem["detail"]


async def test_a_forwarded_write_carries_its_lease(worker: Worker) -> None:
    write = write_of(Forward(1, "k", b"v", "", None, None, None, 7))
    assert (write.lease, forward(1, write).lease) == (7, 7)


async def test_a_revoke_is_audited_as_the_deletes_that_it_is(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(LOGGER).propagate = True
    caplog.set_level(logging.INFO, LOGGER)
    async with filled(Audit("w1", Audited.WRITES)) as worker:
        lend(worker)
        await ask(worker, "POST", "", {"ttl": 30, "id": 7}, "all")
        headers = {"authorization": "Bearer all", "hanas-lease": "7"}
        await worker.directly("PUT", "/v1/kv/a/1", headers, b"v")
        caplog.clear()
        await ask(worker, "DELETE", "/7", None, "all")
        [line] = [record.message for record in caplog.records if record.name == LOGGER]
        assert "delete" in line
        assert "a/1" in line


async def test_rights_on_leases() -> None:
    async with filled() as worker:
        lend(worker)
        assert (await ask(worker, "POST", "", {"ttl": 30}))[0] == 401
        assert (await ask(worker, "POST", "", {"ttl": 30}, "state"))[0] == 403
        assert (await ask(worker, "POST", "", {"ttl": 30, "id": 7}, "a"))[0] == 201
        headers = {"authorization": "Bearer all", "hanas-lease": "7"}
        for key in ("a/1", "b/1"):
            assert (await worker.directly("PUT", f"/v1/kv/{key}", headers, b"v")).status == 204
        assert (await ask(worker, "GET", "/7", None, "all"))[1]["keys"] == ["a/1", "b/1"]
        assert (await ask(worker, "GET", "/7", None, "a"))[1]["keys"] == ["a/1"]
        assert (await ask(worker, "GET", "/7", None, "blind"))[1]["keys"] == []
        assert (await ask(worker, "DELETE", "/7", None, "a"))[0] == 403
        assert (await ask(worker, "DELETE", "/7", None, "all"))[0] == 204
