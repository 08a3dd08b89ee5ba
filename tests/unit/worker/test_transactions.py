"""Transactions and reads at a revision over HTTP (docs/api.md)."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanas_core.log import records
from hanas_core.state.judge import Compaction, Outcome, Result, Write
from hanas_serving.answers import Answer
from hanas_serving.audit import LOGGER, Audit
from hanas_serving.settings import Audited
from hanas_worker.log import transactor
from tests.unit.waiting import until
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import MAIN_URL, MOST, Worker
from tests.unit.worker.test_rights_on_keys import filled

TXN = "/v1/txn"


@pytest.fixture(name="worker")
async def _worker() -> AsyncIterator[Worker]:
    stage = await started()
    stage.service.form = records.REVISED
    yield Worker(stage)
    stage.service.end("the test is over")


async def ask(worker: Worker, **body: Any) -> tuple[int, Any, dict[str, str]]:
    return told(await worker.by_asgi("POST", TXN, {}, json.dumps(body).encode()))


def told(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    return answer.status, json.loads(answer.body), headers


async def put(worker: Worker, key: str, value: bytes) -> Answer:
    return await worker.directly("PUT", f"/v1/kv/{key}", {}, value)


def revision(answer: Answer) -> int:
    return int(dict(answer.headers)[b"hanas-revision"])


# ---------------------------------------------------------------------- revisions


async def test_every_answer_tells_the_revision(worker: Worker) -> None:
    missing = await worker.directly("GET", "/v1/kv/a", {}, b"")
    assert (missing.status, revision(missing)) == (404, 1)
    for expected, method, status in (
        (2, "PUT", 201),
        (3, "PUT", 204),
        (3, "GET", 200),
        (4, "DELETE", 204),
        (4, "DELETE", 404),
    ):
        answer = await worker.directly(method, "/v1/kv/a", {}, b"v" if method == "PUT" else b"")
        assert (answer.status, revision(answer)) == (status, expected)
    listed = await worker.by_asgi("GET", "/v1/kv", {}, b"")
    assert revision(listed) == 4


async def test_what_keys_held_can_be_read(worker: Worker) -> None:
    await put(worker, "a", b"first")
    await put(worker, "a", b"second")
    await worker.directly("DELETE", "/v1/kv/a", {}, b"")
    await put(worker, "b", b"other")
    worker.stage.service.index.keep("a", worker.stage.service.index.at("a", 2), b"")  # type: ignore[arg-type]  # it is there
    for at, status, size in ((2, 200, "5"), (3, 200, "6"), (4, 404, None), (5, 404, None)):
        answer = await worker.by_asgi("HEAD", f"/v1/kv/a?revision={at}", {}, b"")
        assert answer.status == status
        assert size is None or dict(answer.headers)[b"content-length"].decode() == size
        assert revision(answer) == 5
    for at, keys in ((1, []), (2, ["a"]), (4, []), (5, ["b"])):
        listed = await worker.by_asgi("GET", f"/v1/kv?revision={at}", {}, b"")
        assert [each["key"] for each in json.loads(listed.body)["keys"]] == keys


async def test_the_future_and_what_is_forgotten_are_refused(worker: Worker) -> None:
    for n in range(4):
        await put(worker, "a", b"%d" % n)
    await worker.stage.service.write(Compaction(3))
    for path in ("/v1/kv/a", "/v1/kv"):
        status, document, headers = told(await worker.by_asgi("GET", f"{path}?revision=2", {}, b""))
        assert (status, document["compacted"]) == (410, 3)
        assert "revision 3 is the lowest" in document["detail"]
        status, document, headers = told(await worker.by_asgi("GET", f"{path}?revision=6", {}, b""))
        assert (status, headers["hanas-revision"]) == (400, "5")
        assert "the store has revision 5" in document["detail"]
        assert (await worker.by_asgi("HEAD", f"{path}?revision=3", {}, b"")).status == 200
        for bad in ("", "-1", "x", "1" * 19, "1&revision=2"):
            assert (await worker.by_asgi("GET", f"{path}?revision={bad}", {}, b"")).status == 400


# ---------------------------------------------------------------------- transactions


async def test_a_transaction_compares_changes_and_tells(worker: Worker) -> None:
    absent = {"key": "a", "target": "version", "number": 0}
    then = [
        {"put": {"key": "a", "text": "one", "contentType": "text/plain"}},
        {"put": {"key": "p/b", "base64": base64.b64encode(b"\xff").decode()}},
        {"get": {"key": "a"}},
        {"get": {"prefix": "p/", "limit": 1}},
    ]
    status, document, headers = await ask(worker, **{"if": [absent], "then": then, "else": [{"get": {"key": "a"}}]})
    assert status == 200
    assert headers["hanas-revision"] == "2"
    a = {"key": "a", "mod": 2, "create": 2, "version": 1, "etag": "1-1", "contentType": "text/plain", "text": "one"}
    b = {"key": "p/b", "mod": 2, "create": 2, "version": 1, "etag": "1-1", "contentType": "application/octet-stream"}
    b["base64"] = "/w=="
    assert document == {
        "succeeded": True,
        "revision": 2,
        "repeated": False,
        "results": [{"put": {}}, {"put": {}}, {"keys": [a], "more": False}, {"keys": [b], "more": False}],
    }
    status, document, _ = await ask(worker, **{"if": [absent], "then": then, "else": [{"get": {"key": "a"}}]})
    assert document == {"succeeded": False, "revision": 2, "repeated": False, "results": [{"keys": [a], "more": False}]}
    inner = {"if": [{"key": "a", "text": "one"}], "then": [{"delete": {"prefix": ""}}]}
    status, document, _ = await ask(worker, then=[{"txn": inner}, {"get": {"prefix": ""}}])
    assert document["results"] == [
        {"txn": {"succeeded": True, "results": [{"deleted": 2}]}},
        {"keys": [], "more": False},
    ]
    assert document["revision"] == 3


async def test_a_value_that_is_not_in_memory_is_fetched_to_be_compared(worker: Worker) -> None:
    await put(worker, "a", b"x" * 100)
    worker.stage.service.index._cache.drop(b"a")  # as if others had driven it out
    status, document, _ = await ask(
        worker,
        **{"if": [{"key": "a", "base64": base64.b64encode(bytes(100)).decode()}], "then": [{"get": {"key": "a"}}]},
    )
    assert (status, document["succeeded"]) == (200, True)
    assert document["results"][0]["keys"][0]["text"] == "\0" * 100


async def test_a_value_that_moves_while_it_is_fetched_is_asked_for_again(worker: Worker) -> None:
    await put(worker, "a", b"x" * 100)
    worker.stage.service.index._cache.drop(b"a")
    worker.values.moves = 3
    condition = {"key": "a", "base64": base64.b64encode(bytes(100)).decode(), "is": "!="}
    status, document, _ = await ask(worker, **{"if": [condition], "then": [], "else": [{"delete": {"key": "a"}}]})
    assert (status, document["succeeded"], document["results"]) == (200, False, [{"deleted": 1}])


async def test_a_value_that_is_never_at_hand_is_given_up(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(worker, "a", b"x" * 100)
    worker.stage.service.index._cache.drop(b"a")
    worker.values.moves = 1000
    status, document, _ = await ask(worker, **{"if": [{"key": "a", "text": "x"}], "then": []})
    assert (status, "nothing was done" in document["detail"]) == (503, True)
    monkeypatch.setattr(transactor, "MOST_BYTES", 10)
    status, document, _ = await ask(worker, then=[{"get": {"key": "a"}}])
    assert document["results"][0]["keys"][0]["omitted"]


async def test_a_transaction_is_done_once_with_its_key(worker: Worker) -> None:
    body = json.dumps({"then": [{"put": {"key": "a", "text": "x"}}, {"get": {"key": "a"}}]}).encode()
    first = told(await worker.by_asgi("POST", TXN, {"idempotency-key": "i"}, body))
    await put(worker, "b", b"later")
    status, document, headers = told(await worker.by_asgi("POST", TXN, {"idempotency-key": "i"}, body))
    assert (status, document) == (200, {"succeeded": True, "revision": 2, "repeated": True, "results": []})
    assert (first[1]["revision"], headers["hanas-revision"]) == (2, "3")
    other = body.replace(b'"x"', b'"y"')
    assert (await worker.by_asgi("POST", TXN, {"idempotency-key": "i"}, other)).status == 422
    assert (await worker.directly("PUT", "/v1/kv/a", {"idempotency-key": "i"}, b"")).status == 422
    assert (await worker.directly("GET", "/v1/kv/a", {}, b"")).body == b"x"


BAD = (
    b"",
    b"[]",
    b"{",
    b"{}",
    b'{"then":[]}',
    b'{"else":[{"txn":{"if":[],"then":[{"txn":{}}]}}]}',
    b'{"then":[{}]}',
    b'{"then":[{"put":{"key":"a"}}]}',
    b'{"then":[{"put":{"key":"","text":"x"}}]}',
    b'{"then":[{"put":{"key":"a","text":"x","base64":""}}]}',
    b'{"then":[{"put":{"key":"a","base64":"?"}}]}',
    b'{"then":[{"put":{"key":"a","text":"x","lease":"1"}}]}',
    b'{"then":[{"put":{"key":"a","text":"x","contentType":""}}]}',
    b'{"then":[{"put":{"key":"a","text":"x"},"get":{"key":"a"}}]}',
    b'{"then":[{"get":{}}]}',
    b'{"then":[{"get":{"key":"a","prefix":"a"}}]}',
    b'{"then":[{"get":{"key":"a","limit":0}}]}',
    b'{"then":[{"get":{"key":"a","limit":1001}}]}',
    b'{"then":[{"delete":{"prefix":"' + b"a" * 1025 + b'"}}]}',
    b'{"if":[{"key":"a","number":1}]}',
    b'{"if":[{"key":"a"}]}',
    b'{"if":[{"key":"a","target":"mod","text":"1"}]}',
    b'{"if":[{"key":"a","target":"mod"}]}',
    b'{"if":[{"key":"a","target":"mod","number":-1}]}',
    b'{"if":[{"key":"a","target":"mod","number":1,"is":"=="}]}',
    b'{"if":[{"key":"a","target":"colour","number":1}]}',
    b'{"unless":[]}',
    b'{"then":[{"put":{"key":"a","text":"x"}},{"put":{"key":"a","text":"y"}}]}',
    b'{"then":[{"put":{"key":"a","text":"x"}},{"delete":{"prefix":""}}]}',
    b'{"then":[{"delete":{"prefix":""}},{"txn":{"then":[{"put":{"key":"a","text":"x"}}]}}]}',
    json.dumps({"then": [{"get": {"key": "a"}}] * 129}).encode(),
    json.dumps({"if": [{"key": "a", "text": "x"}] * 129}).encode(),
    b'{"then":[{"txn":' * 9 + b'{"then":[{"get":{"key":"a"}}]}' + b"}]}" * 9,
    json.dumps({"then": [{"txn": {"then": [{"get": {"key": "a"}}] * 128}}] * 9}).encode(),
    b"[" * 100_000,
)


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
async def test_what_is_no_transaction_is_refused_and_changes_nothing(worker: Worker, body: bytes) -> None:
    status, document, _ = told(await worker.by_asgi("POST", TXN, {}, body))
    assert status == 400
    assert len(document["detail"]) > 20
    assert worker.stage.service.index.sequence == 0


async def test_how_large_it_may_be(worker: Worker) -> None:
    large = {"put": {"key": "a", "text": "x" * (MOST + 1)}}
    assert (await ask(worker, then=[large]))[0] == 413
    many = [{"put": {"key": f"{n}", "text": "x" * MOST}} for n in range(128)]
    assert (await ask(worker, then=many))[0] in {200, 507}  # the stage has a small segment
    assert (await worker.by_asgi("POST", TXN, {}, b" " * (2 << 20) + b"{}")).status == 413


async def test_what_else_is_refused(worker: Worker) -> None:
    body = b'{"then":[{"get":{"key":"a"}}]}'
    for method, path, headers, status in (
        ("GET", TXN, {}, 405),
        ("POST", f"{TXN}?a=1", {}, 400),
        ("POST", TXN, {"if-match": "*"}, 400),
        ("POST", TXN, {"range": "bytes=0-1"}, 400),
        ("POST", TXN, {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, 400),
        ("POST", TXN, {"idempotency-key": "\xe4"}, 400),
    ):
        assert (await worker.by_asgi(method, path, headers, body)).status == status


async def test_only_the_main_carries_it_out(worker: Worker) -> None:
    body = {"then": [{"put": {"key": "a", "text": "x"}}]}
    worker.stage.service.form = records.PLAIN
    status, document, _ = await ask(worker, **body)
    assert (status, "a member of an older version lives" in document["detail"]) == (503, True)
    worker.parts.state.service = None
    assert (await ask(worker, **body))[0] == 503
    worker.parts.main_url = MAIN_URL
    status, _, headers = await ask(worker, **body)
    assert (status, headers["location"]) == (307, f"{MAIN_URL}{TXN}")


async def test_it_takes_the_rights_of_all_that_it_does(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(LOGGER).propagate = True
    caplog.set_level(logging.INFO, LOGGER)
    async with filled(Audit("w1", Audited.WRITES)) as worker:
        worker.stage.service.form = records.REVISED
        read, put, delete = {"get": {"key": "a/1"}}, {"put": {"key": "a/1", "text": "x"}}, {"delete": {"key": "a/1"}}
        for who, steps, status in (
            ("all", [read, put], 200),
            ("a", [read, put], 200),
            ("a", [{"delete": {"prefix": "a/"}}, {"get": {"prefix": "a/"}}], 200),
            ("a", [read, {"put": {"key": "b/1", "text": "x"}}], 403),
            ("a", [{"delete": {"prefix": "a"}}], 403),
            ("a", [{"txn": {"else": [{"delete": {"key": "b/1"}}]}}], 403),
            ("blind", [put], 200),
            ("blind", [delete], 200),
            ("blind", [read], 403),
            ("blind", [put, {"txn": {"if": [{"key": "a/1", "text": "x"}]}}], 403),
            ("parts", [{"get": {"prefix": "c/d/"}}], 200),
            ("parts", [{"get": {"prefix": "c/"}}], 403),
            ("parts", [{"get": {"key": "c/d/1"}}], 200),
            ("parts", [{"get": {"prefix": "a/"}}], 403),
            ("state", [read], 403),
            ("", [read], 401),
        ):
            headers = {"authorization": f"Bearer {who}", "idempotency-key": "i"} if who else {}
            headers["idempotency-key"] = f"{who}{steps}"[:250]
            before = worker.stage.service.index.sequence
            answer = await worker.by_asgi("POST", TXN, headers, json.dumps({"then": steps}).encode())
            assert answer.status == status, (who, steps, answer.body)
            if status != 200:
                assert worker.stage.service.index.sequence == before
                assert b"hanas-revision" not in dict(answer.headers)
        assert (await worker.by_asgi("GET", TXN, {}, b"")).status == 401
    lines = [record.message for record in caplog.records if record.name == LOGGER]
    assert sum('"a/1"' in line and '"write"' in line for line in lines) > 1


async def test_too_many_deletes_are_refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(worker, "a", b"x")
    monkeypatch.setattr("hanas_core.state.queue._MOST_DELETED_BYTES", 10)
    status, document, _ = await ask(worker, then=[{"delete": {"prefix": ""}}])
    assert (status, "delete longer prefixes" in document["detail"]) == (413, True)
    assert (await worker.directly("GET", "/v1/kv/a", {}, b"")).status == 200


async def test_what_is_forgotten_in_the_same_batch_is_left_out(worker: Worker) -> None:
    await put(worker, "a", b"x")
    service = worker.stage.service
    answers = []
    asked = ask(worker, then=[{"get": {"key": "a"}}])
    held = service._turn
    async with held:
        task = asyncio.create_task(asked)
        await until(lambda: service._queue.waiting > 0)
        for request in (Write(b"a", b"y"), Compaction(3)):
            service.submit(request, lambda outcome, epoch: answers.append(outcome))
    status, document, _ = await task
    assert (status, document["results"]) == (200, [{"keys": [{"key": "a", "mod": 2, "omitted": True}], "more": False}])
    assert answers[1] == Outcome(Result.COMPACTED, None, 3)
