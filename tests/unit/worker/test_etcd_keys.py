"""etcd's API by a client of gRPC, over the plain model: keys, transactions, compaction, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from hanas_serving.gate import Caller
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_worker.faces.etcd import errors, revisions
from hanas_worker.faces.etcd.kv import Keys
from hanas_worker.faces.etcd.messages.kv_pb2 import KeyValue
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    CompactionRequest,
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
)
from tests.unit.waiting import until
from tests.unit.worker.etcd_faces import CLUSTER, MEMBER, Failure, ask, facts_of, serving
from tests.unit.worker.etcd_model import Model
from tests.unit.worker.etcd_store import made

COMPACTED = Failure(11, "etcdserver: mvcc: required revision has been compacted")
FUTURE = Failure(11, "etcdserver: mvcc: required revision is a future revision")
DUPLICATE = Failure(3, "etcdserver: duplicate key given in txn request")
TOO_MANY = Failure(3, "etcdserver: too many operations in txn request")
EMPTY_KEY = Failure(3, "etcdserver: key is not provided")


@pytest.fixture(params=["model", "store"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with made(request.param, later=True) as store:
        yield store


@pytest.fixture
async def channel(model: Model) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(model) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connected:
        yield connected


async def put(channel: grpc.aio.Channel, key: bytes, value: bytes = b"v", **more: Any) -> Any:
    return await ask(channel, "KV/Put", PutRequest(key=key, value=value, **more))


async def get(channel: grpc.aio.Channel, key: bytes, range_end: bytes = b"", **more: Any) -> Any:
    return await ask(channel, "KV/Range", RangeRequest(key=key, range_end=range_end, **more))


def operation(request: Any) -> RequestOp:
    match request:
        case PutRequest():
            return RequestOp(request_put=request)
        case DeleteRangeRequest():
            return RequestOp(request_delete_range=request)
        case RangeRequest():
            return RequestOp(request_range=request)
        case _:
            return RequestOp(request_txn=request)


def txn(*success: Any, **more: Any) -> TxnRequest:
    return TxnRequest(success=map(operation, success), **more)


async def test_headers_tell_cluster_member_revision_and_term(channel: grpc.aio.Channel) -> None:
    header = (await put(channel, b"a")).header
    assert (header.cluster_id, header.member_id, header.revision, header.raft_term) == (CLUSTER, MEMBER, 2, 2)
    assert (await get(channel, b"a", revision=2)).header.revision == 2
    await put(channel, b"a")
    assert (await get(channel, b"a", revision=2)).header.revision == 3, "a list with an old revision in its header"


async def test_versions_count_since_the_creation(channel: grpc.aio.Channel) -> None:
    for _ in range(3):
        await put(channel, b"a")
    assert (await get(channel, b"a")).kvs == [
        KeyValue(key=b"a", create_revision=2, mod_revision=4, version=3, value=b"v")
    ]
    await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a"))
    await put(channel, b"a")
    assert (await get(channel, b"a")).kvs[0].version == 1


async def test_count_and_more_tell_of_all_keys_with_a_limit_too(channel: grpc.aio.Channel) -> None:
    for number in range(5):
        await put(channel, b"k%d" % number)
    answer = await get(channel, b"k", b"l", limit=2)
    assert ([kv.key for kv in answer.kvs], answer.count, answer.more) == ([b"k0", b"k1"], 5, True)
    answer = await get(channel, b"k3", b"l", limit=2)
    assert (answer.count, answer.more) == (2, False)
    answer = await get(channel, b"k", b"l", limit=2, min_mod_revision=4)
    assert ([kv.key for kv in answer.kvs], answer.count, answer.more) == ([b"k2", b"k3"], 5, True)
    answer = await get(channel, b"k", b"l", count_only=True)
    assert (list(answer.kvs), answer.count, answer.more) == ([], 5, False)


async def test_the_past_is_read_as_it_was_or_not_at_all(channel: grpc.aio.Channel) -> None:
    for value in (b"2", b"3", b"4"):
        await put(channel, b"a", value)
    assert [(await get(channel, b"a", revision=revision)).kvs[0].value for revision in (2, 3, 4, 0, -1)] == [
        *(b"2", b"3", b"4", b"4", b"4")
    ]
    assert await get(channel, b"a", revision=5) == FUTURE
    await ask(channel, "KV/Compact", CompactionRequest(revision=3))
    assert await get(channel, b"a", revision=2) == COMPACTED
    assert (await get(channel, b"a", revision=3)).kvs[0].value == b"3"
    assert await ask(channel, "KV/Compact", CompactionRequest(revision=3)) == COMPACTED
    assert await ask(channel, "KV/Compact", CompactionRequest(revision=9)) == FUTURE
    assert (await get(channel, b"a")).kvs[0].value == b"4", "compaction took what lives"


async def test_a_transaction_that_reads_what_is_compacted_fails(channel: grpc.aio.Channel) -> None:
    for _ in range(3):
        await put(channel, b"a")
    await ask(channel, "KV/Compact", CompactionRequest(revision=3))
    for revision, failure in ((2, COMPACTED), (-1, COMPACTED), (9, FUTURE)):
        request = txn(PutRequest(key=b"a"), RangeRequest(key=b"a", revision=revision))
        assert await ask(channel, "KV/Txn", request) == failure
    assert (await get(channel, b"a")).header.revision == 4, "a refused transaction had an effect"


async def test_lists_are_sorted_by_each_field(channel: grpc.aio.Channel) -> None:
    for key, value in ((b"a", b"3"), (b"c", b"1"), (b"b", b"2"), (b"a", b"0")):
        await put(channel, key, value)
    expected = {
        RangeRequest.KEY: b"abc",
        RangeRequest.VERSION: b"bca",
        RangeRequest.CREATE: b"acb",
        RangeRequest.MOD: b"cba",
        RangeRequest.VALUE: b"acb",
    }
    for target, order in expected.items():
        answer = await get(channel, b"a", b"z", sort_target=target, sort_order=RangeRequest.ASCEND)
        assert b"".join(kv.key for kv in answer.kvs) == order
    answer = await get(channel, b"a", b"z", sort_target=RangeRequest.MOD, sort_order=RangeRequest.DESCEND, limit=1)
    assert ([kv.key for kv in answer.kvs], answer.more) == ([b"a"], True)


async def test_a_long_list_is_encoded_in_pieces_and_whole(channel: grpc.aio.Channel, model: Model) -> None:
    model.later = False
    results: list[revisions.Decided | revisions.Refusal] = []
    for begin in range(0, 3000, 100):
        puts = tuple(revisions.Put(b"k%06d" % number, b"v" * 10) for number in range(begin, begin + 100))
        model.transact(revisions.Transaction((), puts, ()), results.append)
    await until(lambda: len(results) == 30)
    answer = await get(channel, b"k", b"l")
    assert [kv.key for kv in answer.kvs] == [b"k%06d" % number for number in range(3000)]
    assert (answer.count, answer.more, answer.header.revision) == (3000, False, 31)
    answer = await get(channel, b"k", b"l", limit=2000, keys_only=True)
    assert (len(answer.kvs), answer.more, answer.kvs[0].value) == (2000, True, b"")


class Kept:
    """A call that keeps its answer."""

    def __init__(self) -> None:
        self.done = False
        self.parts: list[bytes] = []
        self.caller = Caller({}, "", None)

    def reply(self, message: bytes) -> None:
        self.parts, self.done = [message], True

    def reply_in_parts(self, parts: list[bytes]) -> None:
        self.parts, self.done = parts, True

    def fail_with(self, error: RpcError) -> None:
        raise error


async def test_a_long_list_leaves_others_their_turns(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [revisions.Pair(b"%05d" % number, bytes(5000), 1, 1, 1) for number in range(10_000)]
    rows = revisions.Rows(5, pairs, len(pairs))
    monkeypatch.setattr(model, "read", lambda _, done: done(rows))
    call, turns = Kept(), 0
    Keys(facts_of(model)).range(call, RangeRequest(key=b"0", range_end=b"1"))
    while not call.done:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 47, "more than 1 MiB is encoded at a time"
    answer = RangeResponse.FromString(b"".join(call.parts))
    assert (len(answer.kvs), answer.count, answer.header.revision) == (10_000, 10_000, 5)
    gone = Kept()
    Keys(facts_of(model)).range(gone, RangeRequest(key=b"0", range_end=b"1"))
    gone.done = True
    await asyncio.sleep(0.01)
    assert not gone.parts, "it is encoded for nobody"


async def test_puts_build_on_what_is_there(channel: grpc.aio.Channel) -> None:
    assert await put(channel, b"a", b"", ignore_value=True) == Failure(3, "etcdserver: key not found")
    assert await put(channel, b"a", b"v", ignore_value=True) == Failure(3, "etcdserver: value is provided")
    assert await put(channel, b"a", lease=1, ignore_lease=True) == Failure(3, "etcdserver: lease is provided")
    assert await put(channel, b"a", lease=1) == Failure(5, "etcdserver: requested lease not found")
    assert await put(channel, b"") == EMPTY_KEY
    await put(channel, b"a", b"1")
    answer = await put(channel, b"a", b"", ignore_value=True, prev_kv=True)
    assert (answer.prev_kv.value, answer.prev_kv.version) == (b"1", 1)
    assert (await get(channel, b"a")).kvs[0].value == b"1"


async def test_removals_tell_what_was_there(channel: grpc.aio.Channel) -> None:
    await put(channel, b"a", b"1")
    await put(channel, b"b", b"2")
    answer = await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a", range_end=b"\0", prev_kv=True))
    assert (answer.deleted, [kv.value for kv in answer.prev_kvs], answer.header.revision) == (2, [b"1", b"2"], 4)
    answer = await ask(channel, "KV/DeleteRange", DeleteRangeRequest(key=b"a"))
    assert (answer.deleted, answer.header.revision) == (0, 4), "a removal of nothing takes no revision"


async def test_transactions_choose_by_conditions(channel: grpc.aio.Channel) -> None:
    await put(channel, b"a", b"1")
    conditions = [
        (Compare(key=b"a", target=Compare.VALUE, value=b"1"), True),
        (Compare(key=b"a", target=Compare.VALUE, value=b"2"), False),
        (Compare(key=b"x", target=Compare.VALUE, value=b"", result=Compare.NOT_EQUAL), False),
        (Compare(key=b"x", target=Compare.CREATE, create_revision=0), True),
        (Compare(key=b"a", target=Compare.MOD, result=Compare.LESS, mod_revision=3), True),
        (Compare(key=b"a", target=Compare.VERSION, result=Compare.GREATER, version=1), False),
        (Compare(key=b"a", range_end=b"\0", target=Compare.LEASE, lease=0), True),
    ]
    for condition, holds in conditions:
        answer = await ask(channel, "KV/Txn", txn(RangeRequest(key=b"a"), compare=[condition]))
        assert (answer.succeeded, len(answer.responses)) == (holds, int(holds)), condition
    unknown = await ask(channel, "KV/Txn", TxnRequest(compare=[Compare(key=b"a", target="LEASE", result=9)]))  # type: ignore[arg-type]
    assert unknown.code == StatusCode.INVALID_ARGUMENT


async def test_operations_of_a_transaction_see_those_before_and_share_a_revision(channel: grpc.aio.Channel) -> None:
    request = txn(
        RangeRequest(key=b"a", range_end=b"z"),
        PutRequest(key=b"a", value=b"1"),
        txn(PutRequest(key=b"b"), RangeRequest(key=b"a", range_end=b"z")),
        DeleteRangeRequest(key=b"c", range_end=b"d"),
    )
    answer = await ask(channel, "KV/Txn", request)
    before, stored, nested, deleted = answer.responses
    assert answer.header.revision == 2
    assert (before.response_range.count, before.response_range.header.revision) == (0, 1)
    assert stored.response_put.header.revision == 2
    assert [kv.key for kv in nested.response_txn.responses[1].response_range.kvs] == [b"a", b"b"]
    assert (deleted.response_delete_range.deleted, deleted.response_delete_range.header.revision) == (0, 2)


@pytest.mark.parametrize(
    ("request_", "failure"),
    [
        (txn(PutRequest(key=b"a"), PutRequest(key=b"a")), DUPLICATE),
        (txn(PutRequest(key=b"b"), DeleteRangeRequest(key=b"a", range_end=b"c")), DUPLICATE),
        (txn(PutRequest(key=b"b"), txn(PutRequest(key=b"b"))), DUPLICATE),
        (txn(txn(PutRequest(key=b"b")), txn(PutRequest(key=b"b"))), DUPLICATE),
        (txn(DeleteRangeRequest(key=b"a", range_end=b"c"), txn(PutRequest(key=b"b"))), DUPLICATE),
        (txn(PutRequest(key=b"a", ignore_value=True), DeleteRangeRequest(key=b"a", range_end=b"\0")), DUPLICATE),
        (txn(PutRequest()), EMPTY_KEY),
        (txn(RangeRequest()), EMPTY_KEY),
        (txn(DeleteRangeRequest()), EMPTY_KEY),
        (TxnRequest(compare=[Compare()]), EMPTY_KEY),
        (TxnRequest(success=[RequestOp()]), Failure(3, "etcdserver: key not found")),
        (txn(*[RangeRequest(key=b"a")] * 129), TOO_MANY),
        (txn(txn(*[RangeRequest(key=b"a")] * 128)), TOO_MANY),
        (txn(*[txn(*[txn(*[RangeRequest(key=b"a")] * 40)] * 40)] * 40), TOO_MANY),
        (txn(PutRequest(key=b"a", value=bytes(1_600_000))), Failure(3, "etcdserver: request is too large")),
    ],
)
async def test_transactions_that_are_refused(channel: grpc.aio.Channel, request_: TxnRequest, failure: Failure) -> None:
    assert await ask(channel, "KV/Txn", request_) == failure


async def test_transactions_that_are_not_refused(channel: grpc.aio.Channel) -> None:
    both = txn(TxnRequest(success=[operation(PutRequest(key=b"b"))], failure=[operation(PutRequest(key=b"b"))]))
    for request in (
        both,
        txn(*[RangeRequest(key=b"a")] * 128),
        txn(PutRequest(key=b"c"), DeleteRangeRequest(key=b"a", range_end=b"c")),
    ):
        assert not isinstance(await ask(channel, "KV/Txn", request), Failure)


async def test_requests_up_to_a_size_are_taken(channel: grpc.aio.Channel) -> None:
    assert (await put(channel, b"a", bytes(1_500_000))).header.revision == 2
    assert await put(channel, b"a", bytes(1_600_000)) == Failure(3, "etcdserver: request is too large")
    assert (await get(channel, b"a")).kvs[0].value == bytes(1_500_000)


REFUSALS = {
    revisions.Full: (8, "etcdserver: mvcc: database space exceeded"),
    revisions.Busy: (8, "etcdserver: too many requests"),
    revisions.Moved: (14, "etcdserver: leader changed"),
    revisions.Unknown: (14, "etcdserver: request timed out, possibly due to previous leader failure"),
    revisions.Late: (14, "etcdserver: request timed out"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_the_store_refuses_has_the_texts_of_etcd(
    channel: grpc.aio.Channel, model: Model, monkeypatch: pytest.MonkeyPatch, refusal: type[revisions.Refusal]
) -> None:
    monkeypatch.setattr(model, "transact", lambda _, done: done(refusal()))
    for method, request in (
        ("KV/Put", PutRequest(key=b"a")),
        ("KV/DeleteRange", DeleteRangeRequest(key=b"a")),
        ("KV/Txn", TxnRequest()),
    ):
        assert await ask(channel, method, request) == Failure(*REFUSALS[refusal])


async def test_an_answer_that_cannot_be_made_is_our_error_and_nobody_elses(
    channel: grpc.aio.Channel, model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = revisions.Rows(5, [revisions.Pair(b"a", b"b", 1 << 70, 1, 1)], 1)
    monkeypatch.setattr(model, "read", lambda _, done: done(bad))
    assert await get(channel, b"a") == Failure(13, "this should not have happened; the log says more")
    assert "an error of this program" in caplog.text
    long = revisions.Rows(5, [revisions.Pair(b"a", b"b", 1, 1, 1)] * 5000 + bad.pairs, 1)
    monkeypatch.setattr(model, "read", lambda _, done: done(long))
    assert await get(channel, b"a") == Failure(13, "this should not have happened; the log says more")


def test_every_refusal_has_a_code_and_a_text() -> None:
    for kind in revisions.Refusal.__subclasses__():
        error = errors.of(kind())
        assert error.text.startswith("HANas: " if kind is revisions.Unsupported else "etcdserver: ")
        assert "no leader" not in error.text, "clients would list everything again"


async def test_what_cannot_be_answered_just_now_is_held(channel: grpc.aio.Channel, model: Model) -> None:
    model.hold()
    pending = asyncio.create_task(put(channel, b"a"))
    await until(lambda: bool(model.stuck))
    assert not pending.done()
    model.release()
    assert (await pending).header.revision == 2
