"""Backups that serve: a client talks to any worker, and notices a takeover as a pause."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster, running
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, busy, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAUSE_SECONDS = 2.0
"""The longest that a client of a surviving worker waits for its answer, where each process has a core."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    patience = {"HANAS_PATIENCE": str(PATIENCE_SECONDS)}
    async with running(tmp_path_factory.mktemp("lab"), 3, None, HANAS_BACKUPS="serve", **patience) as cluster:
        yield cluster


async def test_every_worker_reads_what_was_written_at_any_other_before(trio: Cluster) -> None:
    await trio.settle()
    for number in range(30):
        for writer in trio.names:
            put = await trio.http.put(trio.kv(writer, "shared"), content=f"{writer} {number}".encode())
            assert put.status_code in {201, 204}, put.text
            for reader in trio.names:
                read = await trio.http.get(trio.kv(reader, "shared"))
                assert (read.status_code, read.text) == (200, f"{writer} {number}")
                assert read.headers["etag"] == put.headers["etag"]


async def test_conditions_lists_and_deletions_at_a_backup(trio: Cluster) -> None:
    await trio.settle()
    backup, other = [name for name in trio.names if name != await trio.main()]
    created = await trio.http.put(trio.kv(backup, "list/a"), content=b"1", headers={"If-None-Match": "*"})
    assert created.status_code == 201
    again = await trio.http.put(trio.kv(other, "list/a"), content=b"2", headers={"If-None-Match": "*"})
    assert (again.status_code, again.headers["etag"]) == (412, created.headers["etag"])
    once = {"Idempotency-Key": "only-once"}
    first = await trio.http.put(trio.kv(backup, "list/b"), content=b"3", headers=once)
    second = await trio.http.put(trio.kv(other, "list/b"), content=b"3", headers=once)
    assert first.headers["etag"] == second.headers["etag"]
    listed = await trio.http.get(trio.url(other, "/v1/kv"), params={"prefix": "list/"})
    assert [entry["key"] for entry in listed.json()["keys"]] == ["list/a", "list/b"]
    assert (await trio.http.delete(trio.kv(other, "list/a"))).status_code == 204
    assert (await trio.http.get(trio.kv(backup, "list/a"))).status_code == 404
    large = bytes(range(256)) * 20_000
    assert (await trio.http.put(trio.kv(backup, "list/large"), content=large)).status_code == 201
    assert (await trio.http.get(trio.kv(other, "list/large"))).content == large


async def test_transactions_and_leases_at_a_backup(trio: Cluster) -> None:
    await trio.settle()
    backup, other = [name for name in trio.names if name != await trio.main()]

    async def ask(worker: str, method: str, path: str, status: int, body: object = None) -> httpx.Response:
        answer = await trio.http.request(method, trio.url(worker, path), json=body)
        assert (answer.status_code, answer.history) == (status, []), answer.text
        return answer

    lease = (await ask(backup, "POST", "/v1/leases", 201, {"ttl": 60})).json()["id"]
    transaction = {
        "if": [{"key": "owned", "target": "version", "number": 0}],
        "then": [{"put": {"key": "owned", "text": "1", "lease": lease}}],
        "else": [{"get": {"key": "owned"}}],
    }
    made = await ask(other, "POST", "/v1/txn", 200, transaction)
    assert made.json()["succeeded"]
    lost = await ask(backup, "POST", "/v1/txn", 200, transaction)
    assert not lost.json()["succeeded"]
    assert lost.json()["results"][0]["keys"][0]["text"] == "1"
    assert (await trio.http.get(trio.kv(backup, "owned"))).text == "1"
    shown = await ask(backup, "GET", f"/v1/leases/{lease}", 200)
    assert shown.json()["keys"] == ["owned"]
    assert int(shown.headers["hanas-revision"]) >= int(made.headers["hanas-revision"])
    assert (await ask(other, "POST", f"/v1/leases/{lease}/keepalive", 200)).json() == {"id": lease, "ttl": 60}
    await ask(backup, "POST", "/v1/leases", 409, {"ttl": 60, "id": lease})
    ended = await ask(other, "DELETE", f"/v1/leases/{lease}", 204)
    assert int(ended.headers["hanas-revision"]) > int(made.headers["hanas-revision"])
    assert (await trio.http.get(trio.kv(other, "owned"))).status_code == 404
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/keepalive")):
        gone = await ask(backup, method, f"/v1/leases/{lease}{path}", 404)
        assert "grant a new one" in gone.json()["detail"]
    attached = {"then": [{"put": {"key": "owned", "text": "2", "lease": lease}}]}
    assert "no such lease" in (await ask(other, "POST", "/v1/txn", 404, attached)).json()["detail"]


async def test_a_takeover_is_a_pause_for_transactions_and_leases_too(trio: Cluster) -> None:
    main = await trio.settle()
    survivors = [name for name in trio.names if name != main]
    done = dict.fromkeys(survivors, 0)
    stopping = asyncio.Event()

    async def count(worker: str) -> None:
        lease = (await trio.http.post(trio.url(worker, "/v1/leases"), json={"ttl": 60})).json()["id"]
        while not stopping.is_set():
            number = done[worker] + 1
            transaction = {
                "if": [{"key": f"count-{worker}", "target": "version", "number": number - 1}],
                "then": [{"put": {"key": f"count-{worker}", "text": str(number), "lease": lease}}],
            }
            once = {"Idempotency-Key": f"{worker} {number}"}
            answer = await trio.http.post(trio.url(worker, "/v1/txn"), json=transaction, headers=once)
            assert (answer.status_code, answer.history) == (200, []), answer.text
            assert answer.json()["succeeded"], "it is done once, and its key tells that"
            renewed = await trio.http.post(trio.url(worker, f"/v1/leases/{lease}/keepalive"))
            assert (renewed.status_code, renewed.history) == (200, []), renewed.text
            done[worker] = number

    async with asyncio.TaskGroup() as group:
        for worker in survivors:
            group.create_task(count(worker))
        await eventually(lambda: _reached(done, dict.fromkeys(survivors, 20)))
        await _outlived(trio, main, done)
        stopping.set()
    await trio.lab.start_worker(main)


async def test_a_takeover_is_a_pause_and_no_error(trio: Cluster) -> None:
    main = await trio.settle()
    pauses, last = dict[str, float](), dict[str, int]()
    stopping = asyncio.Event()

    async def write(worker: str) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            began = time.monotonic()
            answer = await trio.http.put(trio.kv(worker, f"of-{worker}"), content=str(number).encode())
            assert answer.status_code in {201, 204}, answer.text
            pauses[worker] = max(pauses.get(worker, 0.0), time.monotonic() - began)
            last[worker] = number

    async with asyncio.TaskGroup() as group:
        survivors = [name for name in trio.names if name != main]
        for worker in survivors:
            group.create_task(write(worker))
        await eventually(lambda: _reached(last, dict.fromkeys(survivors, 50)))
        await _outlived(trio, main, last)
        stopping.set()
    assert max(pauses.values()) < PAUSE_SECONDS * SLOWNESS * busy()
    for worker in survivors:
        for reader in survivors:
            assert (await trio.http.get(trio.kv(reader, f"of-{worker}"))).text == str(last[worker])


async def _reached(last: dict[str, int], goals: dict[str, int]) -> bool:
    return all(last.get(worker, 0) >= goal for worker, goal in goals.items())


async def _outlived(trio: Cluster, main: str, last: dict[str, int]) -> None:
    """Kill the main, and wait until another one serves all of those who count in ``last``."""
    epoch = await trio.epoch()
    await trio.lab.kill(main)

    async def taken_over() -> bool:
        return await trio.epoch() > epoch

    await eventually(taken_over)
    goals = {worker: number + 20 for worker, number in last.items()}
    await eventually(lambda: _reached(last, goals))
