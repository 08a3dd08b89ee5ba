"""Who may do what over etcd's API: the rights of the file of clients, for every span of keys."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from hanas_serving import clients
from hanas_serving.callers import Callers
from hanas_serving.principals import Action, Principal, Standing
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    CompactionRequest,
    Compare,
    DeleteRangeRequest,
    HashKVRequest,
    LeaseGrantRequest,
    LeaseLeasesRequest,
    LeaseTimeToLiveRequest,
    MemberListRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    StatusRequest,
    TxnRequest,
    WatchCreateRequest,
    WatchRequest,
)
from hanas_worker.faces.etcd.revisions import EVERYTHING, Span
from hanas_worker.faces.etcd.rights import covers
from tests.unit.worker.etcd_faces import Failure, serving, stub
from tests.unit.worker.etcd_model import Model

DENIED = Failure(7, "etcdserver: permission denied")
UNKNOWN = Failure(16, "etcdserver: invalid auth token")


@pytest.mark.parametrize(
    ("span", "covered"),
    [
        (Span(b"a/x"), True),
        (Span(b"a/", b"a0"), True),
        (Span(b"a/b", b"a/c"), True),
        (Span(b"a/", b"a1"), False),
        (Span(b"a/", b""), False),
        (Span(b"a"), False),
        (Span(b"", b"b"), False),
        (Span(b"\xff\xff1", b""), True),
        (Span(b"\xff\xff1", b"\xff\xff\xff"), True),
        (EVERYTHING, False),
    ],
)
def test_a_right_covers_spans_within_its_prefix(span: Span, *, covered: bool) -> None:
    principal = Principal("x", Standing.LISTED, frozenset(), {Action.READ: (b"a/", b"\xff\xff")})
    assert covers(principal, Action.READ, span) is covered
    assert not covers(principal, Action.WRITE, span)
    assert covers(Principal("x", Standing.LISTED, frozenset({Action.READ})), Action.READ, span)


def test_the_file_of_clients_on_the_page_limits_each_to_its_keys() -> None:
    page = (Path(__file__).parents[3] / "docs/etcd.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(principals:.*?)^```", page, re.MULTILINE | re.DOTALL)
    kubernetes, patroni = (
        Principal(entry.name, Standing.LISTED, entry.everywhere, {**entry.below})
        for entry in clients.decode(example).entries
    )
    pods, all_of_it = Span(b"/registry/pods/", b"/registry/pods0"), Span(b"/registry/", b"/registry0")
    for action in (Action.READ, Action.LIST, Action.WRITE, Action.DELETE, Action.WATCH):
        for span in (pods, all_of_it, Span(b"/registry/health"), Span(b"/bootstrap/1f")):
            assert covers(kubernetes, action, span)
            assert not covers(patroni, action, span)
        for span in (EVERYTHING, Span(b"compact_rev_key"), Span(b"/registry", b"/registry0")):
            assert not covers(kubernetes, action, span)
        own = Span(b"/service/a/", b"/service/a0")
        assert covers(patroni, action, own)
        assert not covers(kubernetes, action, own)


def principal(name: str, rights: Mapping[Action, tuple[bytes, ...]]) -> Principal:
    return Principal(name, Standing.LISTED, frozenset({Action.LOCATE}), rights)


class Known(Callers):
    """Clients with tokens: one may do everything below ``a/``, one may only write there, one only watch."""

    def __init__(self) -> None:
        super().__init__((), ("all",))
        every = dict.fromkeys((Action.READ, Action.LIST, Action.WRITE, Action.DELETE, Action.WATCH), (b"a/",))
        writes: dict[Action, tuple[bytes, ...]] = {Action.WRITE: (b"a/",)}
        watches: dict[Action, tuple[bytes, ...]] = {Action.WATCH: (b"a/",)}
        named: dict[str, Mapping[Action, tuple[bytes, ...]]] = {"a": every, "w": writes, "o": watches}
        self._named = {b"Bearer " + name.encode(): principal(name, rights) for name, rights in named.items()}

    def identify(self, authorization: bytes | None, peer: Any = None) -> Principal:
        return self._named.get(authorization or b"") or super().identify(authorization, peer)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(Model(), Known()) as bound:
        yield bound


async def ask(port: int, token: str, method: str, request: Any) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            metadata = (("authorization", f"Bearer {token}"),) if token else ()
            return await stub(channel, method)(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return Failure(error.code().value[0], error.details() or "")


def txn(*operations: RequestOp, compare: bytes = b"") -> TxnRequest:
    return TxnRequest(compare=[Compare(key=compare)] if compare else [], failure=operations)


PUT, READ = RequestOp(request_put=PutRequest(key=b"a/1")), RequestOp(request_range=RangeRequest(key=b"a/1"))
ASKED = [
    ("KV/Range", RangeRequest(key=b"a/1"), "a"),
    ("KV/Range", RangeRequest(key=b"a/", range_end=b"a0"), "a"),
    ("KV/Range", RangeRequest(key=b"a/", range_end=b"a0", keys_only=True), "a"),
    ("KV/Range", RangeRequest(key=b"b"), ""),
    ("KV/Range", RangeRequest(key=b"a", range_end=b"\0"), ""),
    ("KV/Put", PutRequest(key=b"a/1"), "aw"),
    ("KV/Put", PutRequest(key=b"a/1", prev_kv=True), "a"),
    ("KV/Put", PutRequest(key=b"a/1", ignore_lease=True), "a"),
    ("KV/Put", PutRequest(key=b"b"), ""),
    ("KV/DeleteRange", DeleteRangeRequest(key=b"a/", range_end=b"a0"), "a"),
    ("KV/DeleteRange", DeleteRangeRequest(key=b"\0", range_end=b"\0"), ""),
    ("KV/Txn", txn(PUT), "aw"),
    ("KV/Txn", txn(PUT, compare=b"a/1"), "a"),
    ("KV/Txn", txn(PUT, compare=b"b"), ""),
    ("KV/Txn", txn(PUT, READ), "a"),
    ("KV/Txn", txn(RequestOp(request_txn=txn(RequestOp(request_put=PutRequest(key=b"b"))))), ""),
    ("KV/Txn", txn(RequestOp(request_delete_range=DeleteRangeRequest(key=b"a/1"))), "a"),
    ("KV/Compact", CompactionRequest(revision=1), ""),
    ("Lease/LeaseGrant", LeaseGrantRequest(TTL=60), "aw"),
    ("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=1), "aw"),
    ("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=1, keys=True), ""),
    ("Lease/LeaseLeases", LeaseLeasesRequest(), ""),
    ("Maintenance/Status", StatusRequest(), "aw"),
    ("Maintenance/HashKV", HashKVRequest(), ""),
    ("Cluster/MemberList", MemberListRequest(), "aw"),
]


@pytest.mark.parametrize(("method", "request_", "allowed"), ASKED, ids=lambda each: str(each).replace("\n", " "))
async def test_calls_need_rights(port: int, method: str, request_: Any, allowed: str) -> None:
    for token in "aw":
        answer = await ask(port, token, method, request_)
        assert (answer == DENIED) is (token not in allowed), answer
    assert await ask(port, "", method, request_) == UNKNOWN
    assert await ask(port, "guessed", method, request_) == UNKNOWN
    answer = await ask(port, "all", method, request_)
    assert not (isinstance(answer, Failure) and answer in {DENIED, UNKNOWN})


async def test_watches_need_rights(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for token, key, reason in (
            ("a", b"a/1", ""),
            ("a", b"b", DENIED.text),
            ("w", b"a/1", DENIED.text),
            ("o", b"a/1", DENIED.text),
            ("x", b"a/1", UNKNOWN.text),
        ):
            call = stub(channel, "Watch/Watch")(metadata=(("authorization", f"Bearer {token}"),))
            await call.write(WatchRequest(create_request=WatchCreateRequest(key=key)))
            answer = await call.read()
            assert (answer.canceled, answer.cancel_reason) == (bool(reason), reason)
            call.cancel()


async def test_the_gateway_asks_the_same_question(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for token, key, status in (("a", "YS8x", 200), ("a", "Yg==", 403), ("w", "YS8x", 403), ("", "YS8x", 401)):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            answer = await client.post("/v3/kv/range", json={"key": key}, headers=headers)
            assert answer.status_code == status
        page = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        assert (await client.post("/v3/kv/range", json={"key": "YQ=="}, headers=page)).status_code == 403


async def test_pages_cannot_make_their_name_lead_here() -> None:
    async with serving(Model()) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}
        assert (await client.post("/v3/kv/range", json={"key": "YQ=="}, headers=headers)).status_code == 421
        assert (await client.post("/v3/kv/range", json={"key": "YQ=="})).status_code == 200


async def test_who_guesses_is_slowed_down(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        statuses = [(await client.post("/v3/kv/range", json={"key": "YQ=="})).status_code for _ in range(102)]
    assert (statuses[0], statuses[-1]) == (401, 429)
