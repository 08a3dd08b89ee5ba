"""What transactions do, one rule at a time; at random they are tested in test_revisions."""

from array import array
from typing import Any

import pytest

from hanas_core.log import records
from hanas_core.log.batches import Batch, Kind
from hanas_core.log.encrypted import sizes_in
from hanas_core.log.positions import Facts, Position, Version
from hanas_core.state import history, queue, transactions
from hanas_core.state.entries import DEFAULT_TYPE, facts_in, grave, pack, unpack
from hanas_core.state.history import History
from hanas_core.state.index import Index
from hanas_core.state.judge import Compaction, ForwardedWrite, Opening, Outcome, Request, Result, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.state.reports import Deleted, Put, Report, Row, Rows
from hanas_core.state.transactions import (
    BadTransaction,
    Compare,
    DeleteKeys,
    Operation,
    PutKey,
    ReadKeys,
    Relation,
    Span,
    Target,
    Transact,
    Transaction,
    check,
)
from hanas_core.volume.errors import Corruption
from tests.unit.core.test_group_commit import ROOM

PLACE = Position(3, 1, 64 << 20)
ALL = Span.prefix(b"")


def begun() -> GroupCommit[None]:
    return GroupCommit[None](Replica(), 3, 1, form=records.REVISED)


def index_of(commits: GroupCommit[None]) -> Index:
    return commits._replica.index


def commit(commits: GroupCommit[None], *requests: Request) -> list[Outcome]:
    for request in requests:
        commits.submit(request, None)
    outcomes: list[Outcome] = []
    while commits.waiting:
        assert commits.next_batch(ROOM) is not None
        outcomes += [outcome for _, outcome in commits.committed(PLACE)]
        index_of(commits).check_invariants()
    return outcomes


def transact(commits: GroupCommit[None], *then: Operation, compares: tuple[Compare, ...] = (), **more: Any) -> Outcome:
    (outcome,) = commit(commits, Transact(Transaction(compares, then, (ReadKeys(ALL, 9),)), **more))
    return outcome


def leased(lease: int) -> GroupCommit[None]:
    """Return a store that has a lease, and nothing else."""
    commits = begun()
    index_of(commits).leases.grant(lease, 9, Version(3, 1))
    return commits


def report(outcome: Outcome) -> Report:
    assert outcome.report is not None
    return outcome.report


def put(key: str, value: bytes = b"v", **more: Any) -> PutKey:
    return PutKey(key.encode(), value, **more)


# ---------------------------------------------------------------------- what it does


def test_it_is_one_record_of_one_revision() -> None:
    commits = leased(7)
    outcome = transact(commits, put("a"), put("b", lease=7), DeleteKeys(Span.one(b"c")), ReadKeys(ALL, 9))
    rows = (Row(b"a", 2), Row(b"b", 2))
    expected = Report(succeeded=True, results=(Put(), Put(), Deleted(0), Rows(rows, more=False)))
    assert outcome == Outcome(Result.TRANSACTED, Version(3, 1), 2, expected)
    index = index_of(commits)
    assert (index.sequence, index.revision) == (1, 2)
    facts = {key: (entry.version, entry.facts) for key, entry in index.page(b"", b"", 9).entries}
    assert facts == {b"a": (Version(3, 1), Facts(2, 2)), b"b": (Version(3, 1), Facts(2, 2, 1, 7))}
    outcome = transact(commits, put("a", b"w"), DeleteKeys(Span.prefix(b"b")))
    assert report(outcome).results == (Put(), Deleted(1))
    entry = index.get(b"a")
    assert entry is not None
    assert entry.facts == Facts(3, 2, 2)
    assert index.get(b"b") is None


def test_one_that_changes_nothing_makes_no_record() -> None:
    commits = begun()
    commit(commits, Write(b"a", b"v"))
    outcome = transact(commits, ReadKeys(Span.one(b"a"), 1), DeleteKeys(Span.one(b"b")), idempotency_key="i")
    results = Rows((Row(b"a", 2),), more=False), Deleted(0)
    assert outcome == Outcome(Result.TRANSACTED, None, 2, Report(succeeded=True, results=results))
    assert index_of(commits).sequence == 1
    assert index_of(commits).done("i") is None


def test_a_key_that_went_in_its_batch_is_not_there() -> None:
    commits = begun()
    read = Transact(Transaction((), (ReadKeys(ALL, 9),)))
    *_, outcome = commit(commits, Write(b"a", b"v"), Write(b"b", b"v"), Write(b"a", None), read)
    assert report(outcome).results == (Rows((Row(b"b", 3),), more=False),)


def test_what_is_read_is_limited() -> None:
    commits = begun()
    commit(commits, *(Write(key.encode(), b"v") for key in "abc"))
    outcome = transact(commits, ReadKeys(ALL, 2), ReadKeys(Span(b"b", None), 2), ReadKeys(Span(b"a", b"b"), 9))
    assert [len(rows.rows) for rows in report(outcome).results if isinstance(rows, Rows)] == [2, 2, 1]
    assert [rows.more for rows in report(outcome).results if isinstance(rows, Rows)] == [True, False, False]


def test_it_sees_the_earlier_writes_of_its_batch_and_they_see_it() -> None:
    commits = begun()
    absent = Compare(Span.one(b"a"), Target.VERSION, Relation.EQUAL, 0)
    value = Compare(Span.one(b"a"), Target.VALUE, Relation.EQUAL, b"1")
    first = Transact(Transaction((absent,), (put("b"),), (put("c"),)))
    second = Transact(Transaction((value,), (put("a", b"2"),)))
    outcomes = commit(
        commits, Write(b"a", b"1"), first, second, Write(b"a", b"3", if_match=("3-3",)), Write(b"b", None)
    )
    assert [outcome.result for outcome in outcomes] == [
        Result.CREATED,
        Result.TRANSACTED,
        Result.TRANSACTED,
        Result.REPLACED,
        Result.NOT_FOUND,
    ]
    assert [outcome.revision for outcome in outcomes] == [2, 3, 4, 5, 5]
    entry = index_of(commits).get(b"a")
    assert entry is not None
    assert entry.facts == Facts(5, 2, 3)


@pytest.mark.parametrize(
    ("target", "equal"),
    [(Target.VERSION, 2), (Target.CREATE, 2), (Target.MOD, 3), (Target.LEASE, 5), (Target.VALUE, b"b")],
)
def test_compares(target: Target, equal: int | bytes) -> None:
    commits = leased(5)
    transact(commits, put("k"))
    transact(commits, put("k", b"b", lease=5))
    below: int | bytes = b"a" if isinstance(equal, bytes) else equal - 1
    above: int | bytes = b"ba" if isinstance(equal, bytes) else equal + 1
    for operand, holding in ((below, "!= >"), (equal, "="), (above, "!= <")):
        for relation in Relation:
            compare = Compare(Span.one(b"k"), target, relation, operand)
            outcome = transact(commits, compares=(compare,))
            assert report(outcome).succeeded is (relation.value in holding.split()), compare


def test_a_compare_of_a_span_holds_for_all_of_its_keys() -> None:
    commits = begun()
    commit(commits, Write(b"a", b"1"), Write(b"b", b"1"), Write(b"b", b"2"))

    def holds(span: Span, target: Target, relation: Relation, operand: int | bytes) -> bool:
        return report(transact(commits, compares=(Compare(span, target, relation, operand),))).succeeded

    assert holds(ALL, Target.VERSION, Relation.GREATER, 0)
    assert not holds(ALL, Target.VERSION, Relation.GREATER, 1)
    nobody = Span.prefix(b"z")
    assert holds(nobody, Target.MOD, Relation.EQUAL, 0)
    assert not holds(nobody, Target.MOD, Relation.GREATER, 0)
    assert not holds(nobody, Target.VALUE, Relation.NOT_EQUAL, b"")


def test_all_compares_come_before_all_operations() -> None:
    commits = begun()
    absent = Compare(Span.one(b"a"), Target.VERSION, Relation.EQUAL, 0)
    inner = Transaction((absent,), (put("b"),), (put("c"),))
    outcome = transact(commits, put("a"), inner, Transaction((), (Transaction((), (ReadKeys(ALL, 9),)),)))
    rows = Rows((Row(b"a", 2), Row(b"b", 2)), more=False)
    nested = Report(succeeded=True, results=(Report(succeeded=True, results=(rows,)),))
    assert report(outcome).results == (Put(), Report(succeeded=True, results=(Put(),)), nested)


def test_a_value_that_is_not_at_hand_is_asked_for() -> None:
    commits = GroupCommit[None](Replica(0), 3, 1, form=records.REVISED)
    commit(commits, Write(b"a", b"v"))
    compare = (Compare(ALL, Target.VALUE, Relation.EQUAL, b"v"),)
    outcome = transact(commits, put("b"), compares=compare)
    assert outcome == Outcome(Result.VALUES_NEEDED, None, 2, Report(succeeded=False, needed=b"a"))
    older = transact(commits, put("b"), compares=compare, values={b"a": (1, b"v")})
    assert older.result is Result.VALUES_NEEDED
    outcome = transact(commits, put("b"), compares=compare, values={b"a": (2, b"v")})
    assert report(outcome).succeeded


def test_its_idempotency_key_covers_the_whole() -> None:
    commits = begun()
    first = transact(commits, put("a"), idempotency_key="i")
    repeated = Report(succeeded=True, repeated=True, revision=2)
    again = Transact(Transaction((), (put("a"),), (ReadKeys(ALL, 9),)), "i")
    other = Transact(Transaction((), (put("a", b"w"),)), "i")
    commit(commits, Write(b"b", b"v"))
    assert commit(commits, again, other, Write(b"a", b"v", idempotency_key="i")) == [
        Outcome(Result.TRANSACTED, first.version, 3, repeated),
        Outcome(Result.KEY_REUSED, None, 3),
        Outcome(Result.KEY_REUSED, None, 3),
    ]
    twice = Transact(Transaction((), (put("a"),)), "j")
    assert [outcome.revision for outcome in commit(commits, twice, twice)] == [4, 4]


def test_deletes_have_a_bound_and_begin_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = begun()
    commit(commits, *(Write(f"{n}".encode(), b"v") for n in range(9)))
    sweep = Transact(Transaction((), (DeleteKeys(ALL),)))
    monkeypatch.setattr(queue, "_MOST_DELETED_BYTES", 100)
    assert commit(commits, sweep) == [Outcome(Result.TOO_MANY_DELETES, None, 10)]
    monkeypatch.undo()
    for request in (Write(b"x", b"v"), sweep, Write(b"y", b"v")):
        commits.submit(request, None)
    assert [commits.next_batch(ROOM) is not None, len(commits.committed(PLACE))] == [True, 1]
    assert [commits.next_batch(ROOM) is not None, len(commits.committed(PLACE))] == [True, 2]
    assert [key for key, _ in index_of(commits).page(b"", b"", 9).entries] == [b"y"]


def test_deletes_of_single_keys_share_a_batch() -> None:
    commits = begun()
    commit(commits, *(Write(f"{n}".encode(), b"v") for n in range(3)))
    deletes = [Transact(Transaction((), (DeleteKeys(Span.one(key)),))) for key in (b"0", b"1", b"missing", b"0")]
    outcomes = commit(commits, *deletes)
    assert [report(outcome).results for outcome in outcomes] == [(Deleted(count),) for count in (1, 1, 0, 0)]
    assert [outcome.revision for outcome in outcomes] == [5, 6, 6, 6]
    assert [key for key, _ in index_of(commits).page(b"", b"", 9).entries] == [b"2"]
    assert Transact(Transaction((), (DeleteKeys(Span.one(b"k" * 900)),))).size > 900, "no room is asked for later"


def test_it_may_use_the_last_room_if_it_writes_no_value() -> None:
    assert Transact(Transaction((), (DeleteKeys(ALL),))).value is None
    assert Transact(Transaction((), (Transaction((), (), (put("a"),)),))).value is not None


def test_a_forwarded_put_of_a_key_that_is_there_tells_its_generation() -> None:
    commits = begun()
    (opened,) = commit(commits, Opening("w1"))
    assert opened.revision == 1
    assert opened.version is not None
    numbers = [records.Forwarded(opened.version, number, 1) for number in (1, 2)]
    _, outcome = commit(commits, *(ForwardedWrite(Write(b"k", b"v"), number) for number in numbers))
    assert outcome == Outcome(Result.REPLACED, Version(3, 3), 3)
    entry = index_of(commits).get(b"k")
    assert entry is not None
    assert entry.facts == Facts(3, 2, 2)


# ---------------------------------------------------------------------- what is none


def refused(*then: Operation, otherwise: tuple[Operation, ...] = (), compares: tuple[Compare, ...] = ()) -> str:
    with pytest.raises(BadTransaction) as caught:
        check(Transaction(compares, then, otherwise))
    return str(caught.value)


def test_a_branch_changes_a_key_once() -> None:
    twice = "changes the key 'a' twice"
    assert twice in refused(put("a"), put("a"))
    assert twice in refused(put("a"), DeleteKeys(Span.prefix(b"")))
    assert twice in refused(DeleteKeys(Span.one(b"a")), put("a"))
    assert twice in refused(put("a"), Transaction((), (), (put("a"),)))
    assert twice in refused(Transaction((), (DeleteKeys(ALL),)), Transaction((), (put("a"),)))
    check(Transaction((), (put("a"),), (put("a"), DeleteKeys(Span(b"b", b"c")), DeleteKeys(Span(b"b", None)))))
    check(Transaction((), (Transaction((), (put("a"),), (put("a"), ReadKeys(ALL, 1))),)))


def test_how_much_there_may_be() -> None:
    read = ReadKeys(ALL, 1)
    compare = Compare(ALL, Target.MOD, Relation.EQUAL, 1)
    check(Transaction((compare,) * 128, (read,) * 128, (read,) * 128))
    assert "129 operations in one list; at most 128" in refused(*(read,) * 129)
    assert "129 operations in one list; at most 128" in refused(otherwise=(read,) * 129)
    assert "129 compares in one list; at most 128" in refused(compares=(compare,) * 129)
    assert "129 operations in one list" in refused(Transaction((), (read,) * 129))
    nested = Transaction((compare,), (read,))
    for _ in range(7):
        nested = Transaction((), (nested,))
    check(nested)
    assert "more than 8 deep" in refused(nested)
    assert "has 1040 compares and operations" in refused(*(Transaction((compare,) * 2, (read,) * 127),) * 8)


def test_spans() -> None:
    assert Span.prefix(b"a") == Span(b"a", b"b")
    assert Span.prefix(b"a\xff\xff") == Span(b"a\xff\xff", b"b")
    assert Span.prefix("\ud7ff".encode()).end == b"\xed\x9f\xc0"
    assert Span.prefix(b"\xff\xff") == Span(b"\xff\xff", None)
    assert Span.prefix(b"") == Span(b"", None)
    assert Span.one(b"a").holds(b"a")
    assert not Span.one(b"a").holds(b"a\0")


def test_an_upper_bound_of_its_size() -> None:
    for value in (b"", bytes(70_000)):
        request = Transact(Transaction((), (put("\U0001f600" * 9, value, lease=1 << 62), put("k")), ()), "i" * 9)
        commits = leased(1 << 62)
        commits.submit(request, None)
        batch = commits.next_batch(ROOM)
        assert batch is not None
        assert len(batch.payload) <= request.size + 32
        assert sizes_in(records.decode(batch)[0]) == [len(value), 1]


# ---------------------------------------------------------------------- entries and history


@pytest.mark.parametrize("content_type", [DEFAULT_TYPE, "text/plain", ""])
@pytest.mark.parametrize(
    "facts", [Facts(9, 9), Facts(9, 9, 1, 4), Facts(9, 9, 5), Facts(9, 3, 5), Facts(9, 3, 1 << 40, 1 << 62)]
)
def test_an_entry_is_what_was_packed(content_type: str, facts: Facts) -> None:
    packed = pack(1, 2, 3, 4, 5, 6, 7, content_type, *facts)
    entry = unpack(packed)
    assert entry == (1, 2, 3, 4, 5, 6, 7, content_type, packed)
    assert facts_in(packed) == facts
    assert len(packed) >= 44


def test_revisions_that_are_far_apart_are_kept_apart() -> None:
    changes = History()
    revisions = [5, 6, 5 + (1 << 32) - 1, 5 + (1 << 33)]
    for revision in revisions[:3]:
        changes.note(revision, b"k", None if revision == 5 else grave(revision - 1))
    with pytest.raises(OverflowError):
        array("I", [1 << 32])
    changes.drop(6)
    changes.note(revisions[3] - (1 << 32), b"l", None)
    assert [changes[at].revision for at in range(len(changes))] == [revisions[2], revisions[3] - (1 << 32)]
    changes.drop(1 << 40)
    assert (len(changes), changes.bytes, changes.dropped) == (0, 0, 4)


def test_the_revision_behind_which_a_share_is_kept() -> None:
    changes = History()
    assert changes.revision_keeping(0.0) == 0
    for revision in range(10):
        changes.note(revision + 2, f"{revision}".encode(), None)
    half = changes.revision_keeping(0.5)
    assert half == 6
    changes.drop(half)
    assert len(changes) == 5
    assert changes.revision_keeping(1.0) == 0
    assert changes.revision_keeping(0.0) == 11


def test_history_goes_on_however_far_revisions_are_apart() -> None:
    changes = History()
    for revision in (10, 20):
        changes.note(revision, b"k", None)
    changes.drop(10)
    changes.note((1 << 32) + 15, b"k", grave(20))
    assert [changes[at] for at in range(2)] == [(20, b"k", None), ((1 << 32) + 15, b"k", grave(20))]
    changes.drop(1 << 40)
    changes.note(1 << 41, b"l", None)
    assert changes[0] == (1 << 41, b"l", None)
    changes.check_invariants()


@pytest.mark.parametrize("hashes", [(1 << 32) - 1, 0])
def test_a_change_is_found_from_both_sides(monkeypatch: pytest.MonkeyPatch, hashes: int) -> None:
    monkeypatch.setattr(history, "_BLOCK", 2)
    monkeypatch.setattr(history, "_HASH", hashes)
    changes, rare, some = History(), {3, 40, 90}, set(range(10, 90, 10)) - {40}
    last = {b"often": 0, b"rare": 0, b"some": 0}
    for revision in range(2, 100):
        key = b"rare" if revision in rare else b"some" if revision in some else b"often"
        changes.note(revision, key, grave(last[key]) if last[key] else None)
        last[key] = revision
    for revision in range(99):
        for key, revisions in ((b"rare", rare), (b"some", some), (b"often", set(range(2, 100)) - rare - some)):
            later = [one for one in sorted(revisions) if one > revision]
            if later:
                assert changes[changes.first_after(key, revision, last[key])].revision == later[0]


def test_a_batch_that_follows_another_revision_is_corruption() -> None:
    index = Index()
    payload = records.encode([records.Delete(b"k")], (), 7)
    with pytest.raises(Corruption, match="at offset 0 follows revision 7, and the one before it ends with 1"):
        index.apply(Batch(1, 1, 1, payload, format=records.REVISED))


def test_a_key_that_is_created_was_not_there_whatever_is_left_of_it() -> None:
    index = Index()
    created = records.Put(b"k", 1, 7, "", None, created=True)
    written: list[records.Record] = [created, records.Compacted(2), created]
    payload = records.encode(written, [b"v", b"w"], 1)
    index.apply(Batch(1, 1, 3, payload, format=records.REVISED, epoch=1, number=1))
    assert index.at(b"k", 2) is None, "its delete was forgotten, and so was what it had been"
    assert index.at(b"k", 3) == index.get(b"k")
    index.check_invariants()


def test_what_is_forgotten_has_no_place() -> None:
    commits = begun()
    commit(commits, Write(b"k", b"v"), Write(b"k", b"w"), Compaction(3))
    index, place = index_of(commits), Position(9, 1, 4096)
    before = index.get(b"k")
    index.keys.move(b"k", 2, Version(3, 1), place)
    assert index.get(b"k") == before
    index.keys.move(b"k", 3, Version(3, 2), place)
    assert index.get(b"k") != before


def test_another_version_of_the_past_gets_no_place() -> None:
    commits = begun()
    commit(commits, Write(b"k", b"v"), Write(b"k", b"w"))
    index, place = index_of(commits), Position(9, 1, 4096)
    before = index.at(b"k", 2)
    index.keys.move(b"k", 2, Version(9, 9), place)
    assert index.at(b"k", 2) == before
    index.keys.move(b"k", 2, Version(3, 1), place)
    assert index.at(b"k", 2) != before


def test_a_transaction_that_is_re_logged_gives_places_and_nothing_else() -> None:
    commits = begun()
    commit(commits, Write(b"a", b"v"), Write(b"b", b"v"))
    commits.submit(Transact(Transaction((), (DeleteKeys(Span.one(b"a")), put("b", b"w")))), None)
    batch = commits.next_batch(ROOM)
    assert batch is not None
    commits.committed(PLACE)
    index = index_of(commits)
    before = index.get(b"b")
    index.apply(batch._replace(epoch=4, number=1, offset=4096))
    after = index.get(b"b")
    assert before is not None
    assert after is not None
    assert after.place[:2] == (4, 1)
    assert (after.version, after.facts, len(index), index.revision) == (before.version, before.facts, 1, 4)
    assert index.same(b"b", before) == after
    assert index.same(b"a", before) is None
    past = index.at(b"b", 3)
    assert past is not None
    assert index.same(b"b", past) == past
    commit(commits, Compaction(4))
    assert index.same(b"b", past) is None


def test_a_merged_part_of_a_log_without_revisions_has_no_past() -> None:
    index, value = Index(), b"v"
    merged: list[records.Merged] = [
        records.Kept(1, 1, b"a", 1, 7, ""),
        records.Kept(1, 2, b"a", 1, 7, ""),
        records.Gone(1, 3, b"b"),
        records.Reached(3),
    ]
    index.apply(Batch(1, 0, 4, records.encode_merged(merged, [value, value], records.PLAIN), Kind.MERGED, 1, 1))
    assert (index.revision, index.compacted, len(index.keys.history)) == (4, 4, 0)
    assert index.at(b"a", 4) == index.get(b"a")
    assert index.at(b"b", 4) is None


def test_names_are_those_that_are_documented() -> None:
    assert (transactions.MOST_OPERATIONS, transactions.MOST_IN_ALL, transactions.MOST_DEPTH) == (128, 1024, 8)
