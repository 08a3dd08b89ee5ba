"""Transactions that build on what keys hold, read the past, and tell what they replace (docs/protocol.md, 3.11)."""

from collections.abc import Callable

import pytest

from hanas_core.log import records
from hanas_core.state.judge import Compaction, Outcome, Request, Result, Write
from hanas_core.state.leases import Grant
from hanas_core.state.queue import GroupCommit
from hanas_core.state.reports import Deleted, Past, Put, Report, Row, Rows
from hanas_core.state.transactions import (
    ChangedTwice,
    DeleteKeys,
    Operation,
    PutKey,
    ReadKeys,
    Span,
    Transact,
    Transaction,
    check,
)
from tests.sim.mutants import Mutant, applied
from tests.unit.core.test_transactions import ALL, begun, commit, index_of, put, report

Values = dict[bytes, tuple[int, bytes]]


@pytest.fixture(name="commits")
def _commits() -> GroupCommit[None]:
    """Return a store with the lease 7, whose keys a and b were made by the revisions 2 and 3; b has the lease."""
    commits = begun()
    commit(commits, Grant(7, 9), Write(b"a", b"first"), Write(b"b", b"other", lease=7))
    return commits


def transact(commits: GroupCommit[None], *operations: Operation, values: Values | None = None) -> Outcome:
    (outcome,) = commit(commits, Transact(Transaction((), operations), values=values or {}))
    return outcome


def refused(commits: GroupCommit[None], *requests: Request) -> Result:
    """Return why the last request is refused, which changes nothing."""
    *_, outcome = commit(commits, *requests)
    assert outcome.version is None
    return outcome.result


def test_a_put_keeps_the_value(commits: GroupCommit[None]) -> None:
    keeping = PutKey(b"a", None, lease=7)
    needed = transact(commits, keeping)
    assert (needed.result, report(needed).needed) == (Result.VALUES_NEEDED, b"a")
    old = transact(commits, keeping, values={b"a": (1, b"x")})
    assert (old.result, report(old).needed) == (Result.VALUES_NEEDED, b"a")
    done = transact(commits, keeping, values={b"a": (2, b"first")})
    assert (done.result, done.revision) == (Result.TRANSACTED, 4)
    index = index_of(commits)
    assert index.cached(b"a") == b"first"
    entry = index.get(b"a")
    assert entry is not None
    assert entry.facts == (4, 2, 2, 7)


def test_a_put_keeps_the_lease(commits: GroupCommit[None]) -> None:
    transact(commits, PutKey(b"a", b"w", lease=None), PutKey(b"b", b"w", lease=None))
    index = index_of(commits)
    assert index.leases.attached == {b"b": 7}
    assert index.cached(b"b") == b"w"


def test_the_value_that_is_kept_counts() -> None:
    request = Transact(Transaction((), (PutKey(b"a", None),)), values={b"a": (2, bytes(1000))})
    assert request.size > 1000
    assert request.value is not None
    assert Transact(Transaction((), (PutKey(b"a", None),))).size < 1000


@pytest.mark.parametrize("keeping", [PutKey(b"c", None), PutKey(b"c", b"", lease=None)])
def test_what_is_kept_must_be_there(commits: GroupCommit[None], keeping: PutKey) -> None:
    assert refused(commits, Transact(Transaction((), (keeping,)))) is Result.NOT_FOUND
    before = put("c"), Transaction((), (keeping,))
    assert refused(commits, Transact(Transaction((), before))) is Result.NOT_FOUND


def test_what_is_kept_must_be_there_in_all_places(commits: GroupCommit[None]) -> None:
    assert refused(commits, Transact(Transaction((), (PutKey(b"c", b"", lease=None),)))) is Result.NOT_FOUND


def test_the_first_operation_that_lacks_something_is_told(commits: GroupCommit[None]) -> None:
    leased, past, future = put("c", lease=8), ReadKeys(ALL, 9, revision=2), ReadKeys(ALL, 9, revision=4)
    commit(commits, Compaction(3))
    for operations, result in (
        ((leased, past), Result.LEASE_NOT_FOUND),
        ((past, leased), Result.FORGOTTEN),
        ((Transaction((), (future,)), past), Result.TO_COME),
    ):
        assert refused(commits, Transact(Transaction((), operations))) is result


def test_the_compacted_revision_may_be_left_out(commits: GroupCommit[None]) -> None:
    reads = [Transact(Transaction((), (ReadKeys(ALL, 9, revision, above=True),))) for revision in (1, 2, 3)]
    assert {outcome.result for outcome in commit(commits, *reads)} == {Result.TRANSACTED}
    assert refused(commits, Compaction(2), reads[1]) is Result.FORGOTTEN
    assert refused(commits, reads[2]) is Result.TRANSACTED


def test_a_compaction_in_the_same_batch_counts(commits: GroupCommit[None]) -> None:
    read = Transact(Transaction((), (ReadKeys(ALL, 9, revision=2),)))
    assert refused(commits, Compaction(3), read) is Result.FORGOTTEN


def test_the_past_is_left_to_who_answers(commits: GroupCommit[None]) -> None:
    read = ReadKeys(ALL, 9, revision=2)
    outcome = transact(commits, put("a"), read, ReadKeys(ALL, 9))
    rows = Rows((Row(b"a", 4), Row(b"b", 3)), more=False)
    assert report(outcome) == Report(succeeded=True, results=(Put(), Past(read), rows))
    assert [key for key, _ in index_of(commits).keys.span(b"", None, 2)] == [b"a"]


def test_keys_of_the_past_in_a_span(commits: GroupCommit[None]) -> None:
    transact(commits, DeleteKeys(Span.one(b"a")), put("c"))
    keys = index_of(commits).keys
    assert [key for key, _ in keys.span(b"", None, 3)] == [b"a", b"b"]
    assert [key for key, _ in keys.span(b"b", b"c", 4)] == [b"b"]
    assert [key for key, _ in keys.span(b"", None, 4)] == [b"b", b"c"]
    assert (keys.count(b"", None), keys.count(b"b", b"c"), keys.count(b"c", b"b"), keys.count(b"x", None)) == (
        2,
        1,
        0,
        0,
    )


def test_what_is_replaced_is_told(commits: GroupCommit[None]) -> None:
    operations = PutKey(b"a", b"w", previous=True), PutKey(b"c", b"w", previous=True), DeleteKeys(Span.one(b"b"), True)
    outcome = transact(commits, *operations)
    expected = Put(Row(b"a", 2)), Put(), Deleted(1, (Row(b"b", 3),))
    assert report(outcome).results == expected


def test_keys_are_counted(commits: GroupCommit[None]) -> None:
    outcome = transact(commits, ReadKeys(ALL, 1, count=True), ReadKeys(ALL, 0, count=True), ReadKeys(ALL, 0))
    first = Rows((Row(b"a", 2),), more=True, count=2)
    assert report(outcome).results == (first, Rows((), more=True, count=2), Rows((), more=True))


def test_a_compaction_is_refused_if_it_is_asked_to_be(commits: GroupCommit[None]) -> None:
    assert refused(commits, Compaction(4, strict=True)) is Result.TO_COME
    assert refused(commits, Compaction(3, strict=True)) is Result.COMPACTED
    assert refused(commits, Compaction(3, strict=True)) is Result.FORGOTTEN
    assert index_of(commits).compacted == 3


def test_a_key_that_is_changed_twice_is_told_from_other_mistakes() -> None:
    with pytest.raises(ChangedTwice):
        check(Transaction((), (PutKey(b"a", None), DeleteKeys(ALL))))


def test_the_records_say_what_was_kept(commits: GroupCommit[None]) -> None:
    commits.submit(Transact(Transaction((), (PutKey(b"b", None, lease=None),)), values={b"b": (3, b"other")}), None)
    batch = commits.next_batch(1 << 20)
    assert batch is not None
    [record], _ = records.decode(batch)
    assert isinstance(record, records.Transacted)
    (change,) = record.changes
    assert isinstance(change, records.RevisedPut)
    assert (change.size, change.create, change.generation, change.lease) == (5, 3, 2, 7)


# ---------------------------------------------------------------------- what must be noticed


@pytest.mark.parametrize(
    ("place", "change", "test"),
    [
        ("_Judged._value", ("revision != present.facts.revision", "not revision"), test_a_put_keeps_the_value),
        ("_require", ("scene.state.get(key) is None", "False"), test_what_is_kept_must_be_there_in_all_places),
        ("_require", ("revision < scene.compacted", "False"), test_a_compaction_in_the_same_batch_counts),
    ],
)
def test_a_broken_rule_is_noticed(
    commits: GroupCommit[None],
    place: str,
    change: tuple[str, str],
    test: Callable[[GroupCommit[None]], None],
) -> None:
    mutant = Mutant(place, f"hanas_core.state.transacting:{place}", (change,))
    with applied(mutant), pytest.raises(AssertionError):
        test(commits)
