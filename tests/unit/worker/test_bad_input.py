"""Wrong transactions, leases, watches and reads of the past: each client is told what to do, and nothing is done."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from hanas_core.state.judge import Compaction
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import MOST, Worker
from tests.unit.worker.test_lease_calls import lend

TXN, LEASES, WATCH, KEYS = "/v1/txn", "/v1/leases", "/v1/watch", "/v1/kv"


class Case(NamedTuple):
    """A request, and what is answered to it."""

    method: str
    target: str
    body: Any
    status: int
    words: str
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def txn(body: Any, status: int, words: str, **headers: str) -> Case:
    return Case("POST", TXN, body, status, words, {name.replace("_", "-"): value for name, value in headers.items()})


def grant(body: Any, status: int, words: str) -> Case:
    return Case("POST", LEASES, body, status, words)


def get(target: str, status: int, words: str, **headers: str) -> Case:
    return Case("GET", target, b"", status, words, {name.replace("_", "-"): value for name, value in headers.items()})


def put(key: str = "x", **more: Any) -> dict[str, Any]:
    return {"put": {"key": key, **(more or {"text": "v"})}}


def nested(depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {"then": [put()]}
    for _ in range(depth):
        body = {"then": [{"txn": body}]}
    return body


_DEEP = b'{"then":[{"txn":' * 5000 + b"{}" + b"}]}" * 5000
_WRONG_TYPES: list[Any] = [
    None,
    [],
    "then",
    7,
    {"then": {}},
    {"then": [7]},
    {"then": [put(text=7)]},
    {"then": [put(text="v", lease="7")]},
    {"if": [{"key": "a", "target": "mod", "number": "1"}]},
    {"if": [{"key": "a", "target": "mood", "number": 1}]},
    {"then": [{"get": {"key": "a", "limit": 1.5}}]},
    {"then": [put(base64=[1])]},
]

CASES = [
    # ------------------------------------------------------------------ transactions
    txn({"then": [put(f"k{number}") for number in range(129)]}, 400, "128"),
    txn({"if": [{"key": "a", "target": "mod", "number": 1}] * 129, "then": [put()]}, 400, "128"),
    txn({"then": [put("x"), put("x")]}, 400, "'x'"),
    txn({"then": [put("x"), {"txn": {"then": [put("x")]}}]}, 400, "'x'"),
    txn({"then": [put("x"), {"delete": {"prefix": ""}}]}, 400, "'x'"),
    txn(nested(9), 400, "8"),
    txn({}, 400, "the transaction is empty: send JSON like"),
    txn({"then": []}, 400, "the transaction is empty: send JSON like"),
    txn({"than": [put()]}, 400, "unknown field `than`"),
    txn({"then": [put(text="v", ttl=7)]}, 400, "unknown field `ttl`"),
    txn({"then": [{"put": {"key": "x", "text": "v"}, "delete": {"key": "y"}}]}, 400, "exactly one of put, delete, get"),
    txn({"then": [{}]}, 400, "exactly one of put, delete, get"),
    txn({"then": [put(text="v", base64="dg==")]}, 400, "either text or base64"),
    txn({"then": [put(contentType="text/plain")]}, 400, "either text or base64"),
    txn({"then": [put(base64="%%%")]}, 400, "base64"),
    txn({"then": [put(base64="dg")]}, 400, "base64"),
    txn({"then": [put(text="v", contentType="täxt")]}, 400, "contentType must have 1 to 256 printable ASCII"),
    txn({"then": [put(text="v", lease=-1)]}, 400, "lease must be the id of a lease"),
    txn({"then": [put(text="v", lease=1 << 63)]}, 400, "lease must be the id of a lease"),
    txn({"then": [put(text="v", lease=1 << 70)]}, 400, "lease must be the id of a lease"),
    txn({"then": [put(text="v", lease=99)]}, 404, "lease"),
    txn({"then": [put("")]}, 400, "the key is empty"),
    txn({"then": [put("k" * 1025)]}, 400, "at most 1024 are allowed"),
    txn({"then": [{"delete": {"prefix": "k" * 1025}}]}, 400, "at most 1024 bytes"),
    txn({"then": [{"delete": {"key": "a", "prefix": "a"}}]}, 400, "a delete takes either key or prefix"),
    txn({"then": [{"get": {}}]}, 400, "a get takes either key or prefix"),
    txn({"then": [{"get": {"key": "a", "limit": 0}}]}, 400, "limit must be a number from 1 to 1000"),
    txn({"then": [{"get": {"key": "a", "limit": 1001}}]}, 400, "limit must be a number from 1 to 1000"),
    txn({"if": [{"key": "a", "target": "mod", "text": "v"}]}, 400, "takes number, and neither text nor base64"),
    txn({"if": [{"key": "a", "number": 1}]}, 400, "takes text or base64, not number"),
    txn({"if": [{"key": "a", "target": "mod", "number": -1}]}, 400, "number must be from 0 to"),
    txn({"if": [{"key": "a", "target": "mod", "number": 1 << 63}]}, 400, "number must be from 0 to"),
    txn({"then": [put(text="v" * (MOST + 1))]}, 413, "HANAS_VALUE_BYTES"),
    txn({"then": [put(base64=base64.b64encode(bytes(MOST + 1)).decode())]}, 413, "HANAS_VALUE_BYTES"),
    txn(b" " * (5 << 20), 413, "too much for one; nothing was done"),
    txn(b"", 400, "this is no transaction, and nothing was done"),
    txn(b"{", 400, "this is no transaction, and nothing was done"),
    txn(b'{"then": [{"put": {"key": "x", "text": "\xff"}}]}', 400, "this is no transaction, and nothing was done"),
    txn(b'{"then": [{"put": {"key": "\\ud800", "text": "v"}}]}', 400, "this is no transaction, and nothing was done"),
    txn(b'{"if":[{"key":"a","target":"mod","number":' + b"9" * 5000 + b"}]}", 400, "nothing was done"),
    txn(b'{"then":[{"get":{"key":"a","limit":' + b"9" * 5000 + b"}}]}", 400, "nothing was done"),
    txn(_DEEP, 400, "this is no transaction, and nothing was done"),
    txn(b"[" * 100_000, 400, "this is no transaction, and nothing was done"),
    *(txn(wrong, 400, "this is no transaction, and nothing was done") for wrong in _WRONG_TYPES),
    txn({"then": [put()]}, 400, "conditions of a transaction stand in its body", if_match='"1-1"'),
    txn({"then": [put()]}, 400, "Idempotency-Key must have 1 to 256", idempotency_key="k" * 257),
    Case("GET", TXN, b"", 405, "POST only"),
    Case("POST", TXN + "?dry=1", {"then": [put()]}, 400, "unknown parameter 'dry': this call takes none"),
    # ------------------------------------------------------------------ leases
    grant({"ttl": 0}, 400, "ttl must be from 1 to 9000000000 seconds, not 0"),
    grant({"ttl": -1}, 400, "ttl must be from 1 to 9000000000 seconds, not -1"),
    grant({"ttl": 10**10}, 400, "ttl must be from 1 to 9000000000 seconds"),
    grant({"ttl": 1 << 70}, 400, "ttl must be from 1 to 9000000000 seconds"),
    grant(b'{"ttl":' + b"9" * 4000 + b"}", 400, "nothing was done"),
    grant({"ttl": 30, "id": 0}, 400, "id must be from 1 to 9223372036854775807"),
    grant({"ttl": 30, "id": -7}, 400, "id must be from 1 to 9223372036854775807"),
    grant({"ttl": 30, "id": 1 << 63}, 400, "id must be from 1 to 9223372036854775807"),
    grant({"ttl": 30, "id": 7}, 409, "lease"),
    grant({"ttl": 30, "name": "x"}, 400, "unknown field `name`"),
    grant({}, 400, "this asks for no lease, and nothing was done"),
    grant({"ttl": "30"}, 400, "this asks for no lease, and nothing was done"),
    grant({"ttl": 1.5}, 400, "this asks for no lease, and nothing was done"),
    grant(b"", 400, "Send JSON like"),
    grant(b"[" * 4000, 400, "this asks for no lease, and nothing was done"),
    grant(b" " * 5000, 413, "send JSON with ttl"),
    Case("POST", LEASES + "/99/keepalive", b"", 404, "lease"),
    Case("POST", LEASES + "/0/keepalive", b"", 400, "9223372036854775807"),
    Case("POST", LEASES + "/x/keepalive", b"", 400, "9223372036854775807"),
    Case("POST", LEASES + "/7/renew", b"", 400, "9223372036854775807"),
    Case("POST", LEASES + "/7", b"", 405, "DELETE, GET, HEAD"),
    Case("DELETE", LEASES, b"", 405, "POST"),
    Case("DELETE", LEASES + "/99", b"", 404, "lease"),
    Case("DELETE", LEASES + f"/{1 << 63}", b"", 400, "9223372036854775807"),
    Case("DELETE", LEASES + "/7?force=1", b"", 400, "unknown parameter 'force': this call takes none"),
    get(LEASES + "/99", 404, "lease"),
    get(LEASES + "/-7", 400, "9223372036854775807"),
    get(LEASES + "/" + "7" * 5000, 400, "9223372036854775807"),
    *(
        Case("PUT", KEYS + "/x", b"v", status, words, {"hanas-lease": lease})
        for lease, status, words in (
            ("99", 404, "lease"),
            ("x", 400, "HANas-Lease"),
            ("0", 400, "HANas-Lease"),
            ("-1", 400, "HANas-Lease"),
            (str(1 << 63), 400, "HANas-Lease"),
            ("", 400, "HANas-Lease"),
        )
    ),
    # ------------------------------------------------------------------ the past
    get(KEYS + "/a?revision=99", 400, "revision"),
    get(KEYS + "/a?revision=2", 410, "forgotten"),
    get(KEYS + "/a?revision=0", 410, "forgotten"),
    get(KEYS + "/a?revision=-1", 400, "revision must be a number"),
    get(KEYS + "/a?revision=x", 400, "revision must be a number"),
    get(KEYS + "/a?revision=", 400, "revision must be a number"),
    get(KEYS + "/a?revision=" + "9" * 19, 400, "revision must be a number"),
    get(KEYS + "/a?revision=3&revision=4", 400, "given twice"),
    get(KEYS + "/a?revisions=3", 400, "unknown parameter 'revisions'"),
    get(KEYS + "?revision=99", 400, "revision"),
    get(KEYS + "?revision=2", 410, "forgotten"),
    get(KEYS + "?revision=x", 400, "revision must be a number"),
    # ------------------------------------------------------------------ watches
    get(WATCH + "?from=99", 400, "watch from 6 at most, or without from"),
    get(WATCH + "?from=3", 410, "forgotten"),
    get(WATCH + "?from=0", 410, "forgotten"),
    get(WATCH + "?from=x", 400, "from must be a number"),
    get(WATCH + "?from=-1", 400, "from must be a number"),
    get(WATCH + "?from=" + "9" * 5000, 400, "from must be a number"),
    get(WATCH + "?prev=yes", 400, "prev must be 0 or 1"),
    get(WATCH + "?prev=", 400, "prev must be 0 or 1"),
    get(WATCH + "?since=3", 400, "unknown parameter 'since'"),
    get(WATCH + "?prefix=a&prefix=b", 400, "given twice"),
    get(WATCH + "?prefix=%ff", 400, "percent-encoded UTF-8"),
    *(
        get(WATCH, status, words, last_event_id=last)
        for last, status, words in (
            ("rubbish", 400, "Last-Event-ID must be a number"),
            ("", 400, "Last-Event-ID must be a number"),
            ("1.5", 400, "Last-Event-ID must be a number"),
            ("\xb2", 400, "Last-Event-ID must be a number"),
            ("9" * 5000, 400, "Last-Event-ID must be a number"),
            ("99", 400, "watch from 6 at most"),
            ("1", 410, "forgotten"),
        )
    ),
    Case("POST", WATCH, b"", 405, "GET only"),
]


@pytest_asyncio.fixture(name="worker", scope="module", loop_scope="module")
async def _worker() -> AsyncIterator[Worker]:
    """A store at revision 5 that has forgotten what was before 3, with the lease 7."""
    stage = await started()
    worker = Worker(stage)
    lend(worker)
    assert (await worker.by_asgi("POST", LEASES, {}, b'{"ttl": 30, "id": 7}')).status == 201
    for key in "abca":
        await worker.directly("PUT", f"{KEYS}/{key}", {}, b"v")
    await stage.service.write(Compaction(3))
    yield worker
    stage.service.end("the test is over")


def state(worker: Worker) -> tuple[object, ...]:
    index = worker.stage.service.index
    keys = [(key, entry.version) for key, entry in index.page(b"", b"", 99).entries]
    return index.sequence, index.revision, index.compacted, keys, index.leases.all(), len(worker.store.feeds)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "case", CASES, ids=[f"{number}-{case.method}{case.target[:24]}" for number, case in enumerate(CASES)]
)
async def test_bad_input_is_told_what_to_do_and_does_nothing(worker: Worker, case: Case) -> None:
    before = state(worker)
    assert before[:3] == (6, 5, 3)
    answer = await worker.by_asgi(case.method, case.target, dict(case.headers), case.content)
    headers = dict(answer.headers)
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"]) == (case.status, case.status), problem
    assert headers[b"content-type"] == b"application/problem+json"
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert case.words in problem["detail"], problem["detail"]
    assert len(problem["detail"]) < 600, "what a client sent is not repeated without end"
    assert state(worker) == before
