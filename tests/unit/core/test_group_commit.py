"""Writes are judged in the order of the log, together with those in flight, and answered when that is committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.batches import size_of
from hanas_core.log.positions import Position, Version
from hanas_core.state import queue as queue_module
from hanas_core.state.judge import ForwardedWrite, Opening, Outcome, Request, Result, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from tests.unit.core.scenery import put_payload

ROOM = 1 << 20
PLACE = Position(3, 1, 64 << 20)
V1, V2, V3 = Version(3, 1), Version(3, 2), Version(3, 3)


def queue() -> GroupCommit[str]:
    return GroupCommit[str](Replica(), 3, 1)


def commit(commits: GroupCommit[str], *writes: Request) -> list[Outcome]:
    for n, write in enumerate(writes):
        commits.submit(write, str(n))
    assert commits.next_batch(ROOM) is not None
    answers = commits.committed(PLACE)
    assert [token for token, _ in answers] == [str(n) for n in range(len(writes))]
    return [outcome for _, outcome in answers]


def put(key: bytes = b"k", value: bytes = b"v", **conditions: tuple[str, ...]) -> Write:
    return Write(key, value, **conditions)  # type: ignore[arg-type]  # conditions only


def test_created_replaced_deleted_and_gone() -> None:
    commits = queue()
    assert commit(commits, put()) == [Outcome(Result.CREATED, V1)]
    assert commit(commits, put()) == [Outcome(Result.REPLACED, V2)]
    assert commit(commits, Write(b"k", None)) == [Outcome(Result.DELETED, V3)]
    assert commit(commits, Write(b"k", None)) == [Outcome(Result.NOT_FOUND)]


def test_writes_of_one_batch_see_the_earlier_ones() -> None:
    outcomes = commit(
        queue(),
        put(if_none_match=("*",)),
        put(if_none_match=("*",)),
        put(if_match=("3-1",)),
        Write(b"k", None, if_match=("3-1",)),
        Write(b"k", None, if_match=("3-2",)),
        put(if_match=("*",)),
        Write(b"k", None),
        put(if_none_match=("*",)),
    )
    assert outcomes == [
        Outcome(Result.CREATED, V1),
        Outcome(Result.CONDITION_FAILED, V1),
        Outcome(Result.REPLACED, V2),
        Outcome(Result.CONDITION_FAILED, V2),
        Outcome(Result.DELETED, V3),
        Outcome(Result.CONDITION_FAILED, None),
        Outcome(Result.NOT_FOUND),
        Outcome(Result.CREATED, Version(3, 4)),
    ]


@pytest.mark.parametrize(
    ("write", "result"),
    [
        (put(if_match=("3-1",)), Result.REPLACED),
        (put(if_match=("1-1", "3-1")), Result.REPLACED),
        (put(if_match=("1-1",)), Result.CONDITION_FAILED),
        (put(if_match=("*",)), Result.REPLACED),
        (put(if_match=()), Result.CONDITION_FAILED),
        (put(b"new", if_match=("*",)), Result.CONDITION_FAILED),
        (put(if_none_match=("*",)), Result.CONDITION_FAILED),
        (put(b"new", if_none_match=("*",)), Result.CREATED),
        (put(if_none_match=("3-1",)), Result.CONDITION_FAILED),
        (put(if_none_match=("1-1",)), Result.REPLACED),
        (put(if_match=("*",), if_none_match=("3-1",)), Result.CONDITION_FAILED),
        (Write(b"new", None, if_match=("*",)), Result.CONDITION_FAILED),
    ],
)
def test_conditions(write: Write, result: Result) -> None:
    commits = queue()
    commit(commits, put())
    assert commit(commits, write)[0].result is result


def test_what_arrives_while_a_batch_is_in_flight_forms_the_next_one() -> None:
    commits = queue()
    commits.submit(put(b"a"), "a")
    first = commits.next_batch(ROOM)
    assert first is not None
    assert (first.first_sequence, first.count) == (1, 1)
    commits.submit(put(b"b"), "b")
    commits.submit(put(b"c"), "c")
    assert commits.waiting == 2
    with pytest.raises(AssertionError, match="in flight"):
        commits.next_batch(ROOM)
    assert commits.committed(PLACE) == [("a", Outcome(Result.CREATED, V1))]
    second = commits.next_batch(ROOM)
    assert second is not None
    assert (second.first_sequence, second.count) == (2, 2)


def test_nothing_is_visible_and_nothing_answered_before_the_commit() -> None:
    replica = Replica()
    index, commits = replica.index, GroupCommit[str](replica, 3, 1)
    commits.submit(put(), "t")
    assert commits.next_batch(ROOM) is not None
    assert index.get(b"k") is None
    commits.committed(PLACE)
    assert index.get(b"k") is not None
    with pytest.raises(AssertionError, match="no batch"):
        commits.committed(PLACE)


def test_a_no_op_and_a_refusal_take_an_empty_batch_through_the_commit_path() -> None:
    commits = queue()
    commits.submit(None, "probe")
    commits.submit(put(if_match=("*",)), "t")
    batch = commits.next_batch(ROOM)
    assert batch is not None
    assert (batch.count, batch.payload) == (0, b"")
    assert commits.committed(PLACE) == [
        ("probe", Outcome(Result.COMMITTED)),
        ("t", Outcome(Result.CONDITION_FAILED, None)),
    ]
    assert commits.next_batch(ROOM) is None


def test_the_end_of_the_epoch_leaves_what_is_in_flight_unknown_and_the_rest_undone() -> None:
    commits = queue()
    commits.submit(put(if_match=("*",)), "refused")
    commits.submit(put(), "in flight")
    commits.submit(None, "probe")
    commits.next_batch(ROOM)
    commits.submit(put(), "waiting")
    assert commits.ended() == [
        ("probe", Outcome(Result.UNKNOWN)),
        ("refused", Outcome(Result.UNKNOWN)),
        ("in flight", Outcome(Result.UNKNOWN)),
        ("waiting", Outcome(Result.NOT_MAIN)),
    ]
    assert commits.waiting == 0


def test_a_repeated_request_is_answered_as_the_first_time() -> None:
    commits = queue()
    one = Write(b"k", b"v", idempotency_key="i")
    gone = Write(b"k", None, idempotency_key="j")
    again = Write(b"k", b"w", idempotency_key="l")
    assert commit(commits, one, one) == [Outcome(Result.CREATED, V1)] * 2
    assert commit(commits, one, put(), one, again) == [
        Outcome(Result.CREATED, V1),
        Outcome(Result.REPLACED, V2),
        Outcome(Result.CREATED, V1),
        Outcome(Result.REPLACED, V3),
    ]
    assert commit(commits, gone, gone, again) == [
        Outcome(Result.DELETED, Version(3, 4)),
        Outcome(Result.DELETED, Version(3, 4)),
        Outcome(Result.REPLACED, V3),
    ]
    assert commit(commits, gone, one) == [Outcome(Result.DELETED, Version(3, 4)), Outcome(Result.CREATED, V1)]


@pytest.mark.parametrize(
    "other",
    [
        Write(b"l", b"v", idempotency_key="i"),
        Write(b"k", b"w", idempotency_key="i"),
        Write(b"k", None, idempotency_key="i"),
        Write(b"k", b"v", "text/plain", idempotency_key="i"),
        Write(b"k", b"v", if_match=("*",), idempotency_key="i"),
        Write(b"k", b"v", if_none_match=("*",), idempotency_key="i"),
    ],
)
def test_a_key_with_another_request_is_refused(other: Write) -> None:
    commits = queue()
    assert commit(commits, Write(b"k", b"v", idempotency_key="i"), other)[1] == Outcome(Result.KEY_REUSED)
    assert commit(commits, other) == [Outcome(Result.KEY_REUSED)]


def test_a_refused_condition_is_judged_anew_when_it_is_repeated() -> None:
    commits = queue()
    write = Write(b"k", b"v", if_match=("*",), idempotency_key="i")
    assert commit(commits, write) == [Outcome(Result.CONDITION_FAILED, None)]
    commit(commits, put())
    assert commit(commits, write) == [Outcome(Result.REPLACED, V2)]


def test_a_batch_takes_what_finds_room_and_leaves_the_rest() -> None:
    commits = queue()
    write = put(value=bytes(1000))
    for n in range(5):
        commits.submit(write, str(n))
    batch = commits.next_batch(3 * write.size)
    assert batch is not None
    assert batch.count == 2
    assert size_of(len(batch.payload)) <= 3 * write.size
    assert commits.waiting == 3


def test_a_batch_is_limited_but_one_large_write_goes_alone() -> None:
    commits = queue()
    for n in range(3):
        commits.submit(put(f"k{n}".encode(), bytes(3 << 20)), str(n))
    batch = commits.next_batch(64 << 20)
    assert batch is not None
    assert batch.count == 1
    commits.committed(PLACE)
    huge = queue()
    huge.submit(put(value=bytes(8 << 20)), "t")
    assert huge.next_batch(64 << 20) is not None
    many = queue()
    for n in range(2000):
        many.submit(put(), str(n))
    batch = many.next_batch(64 << 20)
    assert batch is not None
    assert batch.count == 1024


def test_the_reserve_is_for_deletes_and_no_ops() -> None:
    commits = queue()
    write = put(value=bytes(100))
    commit(commits, write)
    commits.submit(write, "put")
    assert commits.next_batch(2000, reserve=1900) is None
    assert commits.refuse_for_space(2000, 1900) == [("put", Outcome(Result.NO_SPACE))]
    commits.submit(Write(b"k", None), "delete")
    commits.submit(None, "probe")
    assert commits.refuse_for_space(2000, 1900) == []
    batch = commits.next_batch(2000, reserve=1900)
    assert batch is not None
    assert batch.count == 1


def test_without_any_room_everything_is_refused_even_no_ops_so_that_a_probe_is_answered() -> None:
    commits = queue()
    for token, write in enumerate([put(), None, Write(b"k", None)]):
        commits.submit(write, str(token))
    assert commits.next_batch(100) is None
    assert commits.refuse_for_space(100, 0) == [(token, Outcome(Result.NO_SPACE)) for token in ("1", "0", "2")]


def test_a_probe_waits_behind_no_write_that_finds_no_room() -> None:
    commits = queue()
    commits.submit(put(value=bytes(5000)), "big")
    commits.submit(None, "probe")
    assert commits.next_batch(1000) is not None
    assert commits.committed(PLACE) == [("probe", Outcome(Result.COMMITTED))]
    assert commits.waiting == 1


def test_only_what_does_not_fit_is_refused() -> None:
    commits = queue()
    commits.submit(put(value=bytes(5000)), "big")
    commits.submit(put(), "small")
    assert commits.refuse_for_space(1000, 0) == [("big", Outcome(Result.NO_SPACE))]
    assert commits.next_batch(1000) is not None


texts = st.text(max_size=12)
writes = st.builds(
    Write,
    texts.map(str.encode),
    st.none() | st.binary(max_size=40),
    texts,
    idempotency_key=st.none() | texts,
)


forwarded_writes = st.builds(
    ForwardedWrite,
    writes,
    st.builds(records.Forwarded, st.just(V1), st.integers(1, 1024) | st.integers(1, 1 << 63), st.integers(1, 1 << 63)),
)
requests = writes | forwarded_writes | st.builds(Opening, texts)


@given(st.lists(requests, max_size=20), st.integers(0, 3000))
def test_a_batch_never_takes_more_than_its_room(some: list[Request], room: int) -> None:
    commits = queue()
    commit(commits, Opening("w1"))
    for write in some:
        commits.submit(write, "")
    batch = commits.next_batch(room)
    if batch is not None:
        assert size_of(len(batch.payload)) <= room
        assert len(records.decode(batch)[0]) == batch.count


@given(writes)
def test_the_size_of_a_write_is_an_upper_bound(write: Write) -> None:
    one = GroupCommit[str](Replica(), 3, 1)
    one.submit(put(write.key), "there")
    one.submit(write, "")
    batch = one.next_batch(ROOM)
    assert batch is not None
    before = size_of(len(put_payload(write.key.decode(), b"v"))) if batch.count == 2 else 0
    assert size_of(len(batch.payload)) - max(before, size_of(0)) <= write.size


@given(writes, st.integers(1, (1 << 63)))
def test_the_size_of_a_forwarded_write_is_an_upper_bound(write: Write, number: int) -> None:
    epoch = (1 << 32) - 1
    one = GroupCommit[str](Replica(), epoch, 1)
    commit(one, put(write.key))
    commit(one, Opening("w1"))
    request = ForwardedWrite(write, records.Forwarded(Version(epoch, 2), number, number))
    one.submit(request, "")
    batch = one.next_batch(ROOM)
    assert batch is not None
    assert batch.count == 1
    assert size_of(len(batch.payload)) - size_of(0) <= request.size


@given(texts)
def test_the_size_of_an_opening_is_an_upper_bound(member: str) -> None:
    one = queue()
    one.submit(Opening(member), "")
    batch = one.next_batch(ROOM)
    assert batch is not None
    assert size_of(len(batch.payload)) - size_of(0) <= Opening(member).size


def test_an_opening_and_a_delete_that_is_forwarded_may_use_the_reserve() -> None:
    commits = queue()
    commit(commits, put())
    large = Write(b"k", bytes(100))
    assert commit_within(2000, 1900, commits, Opening("w1")) == [Outcome(Result.SESSION_OPENED, V2)]
    commits.submit(ForwardedWrite(large, records.Forwarded(V2, 1, 1)), "")
    assert commits.next_batch(2000, 1900) is None
    commits.refuse_for_space(2000, 1900)
    gone = ForwardedWrite(Write(b"k", None), records.Forwarded(V2, 2, 1))
    assert commit_within(2000, 1900, commits, gone) == [Outcome(Result.DELETED, V3)]


def commit_within(room: int, reserve: int, commits: GroupCommit[str], write: Request) -> list[Outcome]:
    commits.submit(write, "")
    assert commits.next_batch(room, reserve) is not None
    return [outcome for _, outcome in commits.committed(PLACE)]


def test_what_waits_is_bounded_by_its_size_but_one_write_always_may() -> None:
    commits = GroupCommit[str](Replica(), 3, 1, most_bytes=1000)
    large, small = put(value=bytes(2000)), put(value=bytes(10))
    assert commits.submit(large, "large")
    assert not commits.submit(small, "small")
    assert commits.next_batch(ROOM) is not None
    assert commits.submit(small, "small")
    commits.committed(PLACE)
    for n in range(20):
        if not commits.submit(small, str(n)):
            break
    else:
        raise AssertionError("it never refused")
    assert commits.waiting > 3
    assert commits.submit(None, "probe")
    assert len(commits.refuse_for_space(0, 0)) == commits.waiting + n + 2
    assert commits.submit(large, "large")
    commits.ended()
    assert commits.submit(small, "small")


def test_what_is_judged_counts_until_it_is_answered() -> None:
    commits = GroupCommit[str](Replica(), 3, 1, most_bytes=1000)
    refused = put(value=bytes(600), if_match=("1-1",))
    small = put(value=bytes(10))
    assert commits.submit(refused, "refused")
    batch = commits.next_batch(ROOM)
    assert batch is not None
    assert batch.count == 0  # whoever sent the value still waits for the answer
    assert commits.submit(small, "first")
    assert not commits.submit(put(value=bytes(300)), "second")
    commits.committed(PLACE)
    assert commits.submit(put(value=bytes(300)), "second")
    assert commits.next_batch(ROOM) is not None
    commits.ended()
    assert commits.submit(put(value=bytes(900)), "third")


def test_what_waits_is_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MOST_WAITING", 1)
    commits = queue()
    commits.submit(put(), "")
    assert not commits.submit(put(), "")
