"""The store with revisions does what a plain model does, whatever is killed, compacted, merged or read anew."""

from collections.abc import Callable
from itertools import islice
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.batches import Batch
from hanas_core.log.cells import checksum_of, read_part
from hanas_core.log.segments import open_values
from hanas_core.members import cluster
from hanas_core.state import history, reports, snapshots
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.judge import Compaction, Outcome, Request, Result, Write
from hanas_core.state.leases import Checkpoint, Grant, Revoke
from hanas_core.state.reports import Report
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
from hanas_core.upkeep import fsck
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.folder import Folder
from tests.revisions import KeyValue, Model, NoLease, Told
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Backup, bare_folder, serve
from tests.unit.core.test_compaction import LARGE, compact, learn, sources
from tests.unit.core.test_snapshots import started, write_snapshot

KEYS = (b"a", b"ab", b"b", b"b\xff\x00a", "\xe4".encode())
"""One of them is no text."""


def value_of(folder: Folder, entry: Entry) -> bytes:
    """Return the value from the place that the index knows."""
    file, cipher = run(open_values(folder, *entry.place[:2]))
    name, part = names.segment(*entry.place[:2]), (0, entry.size)
    return run(read_part(file, name, entry.place.offset, entry.size, entry.checksum, part, cipher))


def state_at(folder: Folder, index: Index, revision: int) -> dict[bytes, KeyValue]:
    """Return all keys as of a revision, with their values as they lie in the folder."""
    state = {}
    for key, entry in index.page(b"", b"", 1000, revision).entries:
        facts = entry.facts
        value = value_of(folder, entry)
        state[key] = KeyValue(value, facts.create, facts.revision, facts.generation, facts.lease, entry.content_type)
        assert index.at(key, revision) == entry
    return state


def compare(folder: Folder, index: Index, model: Model) -> None:
    """Assert that the index tells what the model tells, at every revision that can be read."""
    assert (index.revision, index.compacted) == (model.revision, model.compacted)
    assert {lease: (held.ttl, held.remaining) for lease, held in index.leases.all()} == model.leases
    for revision in range(model.compacted, model.revision + 1):
        assert state_at(folder, index, revision) == model.at(revision), revision
    assert dict(index.page(b"", b"", 1000).entries) == dict(index.page(b"", b"", 1000, index.revision).entries)


def told_by(report: Report, model: Model) -> Told:
    """Return what a report tells, as the model does."""
    told: list[object] = []
    for result in report.results:
        match result:
            case reports.Put():
                told.append(None)
            case reports.Deleted(count=count):
                told.append(count)
            case reports.Rows(rows=rows, more=more):
                told.append(([(row.key, row.revision) for row in rows], more))
            case reports.Past():
                raise AssertionError
            case Report():
                told.append(told_by(result, model))
    return report.succeeded, told


def without_values(told: Told) -> Told:
    """Return what the model tells, as a report does: with revisions in place of values."""
    plain: list[object] = []
    for each in told[1]:
        match each:
            case (list() as rows, bool() as more):
                plain.append(([(key, held.mod) for key, held in rows], more))
            case (bool() as succeeded, list() as inner):
                plain.append(without_values((succeeded, inner)))
            case _:
                plain.append(each)
    return told[0], plain


class Play:
    """A main after the other, and whoever reads their log."""

    def __init__(self) -> None:
        self.main = serve(bare_folder(), 1, form=records.REVISED)
        self.model = Model()
        self.backups: list[Backup] = []

    def write(self, *requests: Request) -> list[Outcome]:
        if self.main.log.spare is None:
            self.main.spare()
        return self.main.write(*requests)

    def put(self, key: bytes, size: int, sign: int, lease: int = 0) -> None:
        value = bytes([sign]) * size
        (outcome,) = self.write(Write(key, value, "text/plain", lease=lease))
        try:
            self.model.put(key, value, "text/plain", lease)
        except NoLease:
            assert outcome.result is Result.LEASE_NOT_FOUND
        assert outcome.revision == self.model.revision

    def grant(self, lease: int, ttl: int) -> None:
        (outcome,) = self.write(Grant(lease, ttl))
        assert (outcome.result is Result.LEASE_GRANTED) is self.model.grant(lease, ttl)
        assert outcome.revision == self.model.revision

    def checkpoint(self, lease: int, remaining: int) -> None:
        granted = self.main.replica.index.leases.get(lease)
        if granted is not None and remaining <= granted.ttl:
            (outcome,) = self.write(Checkpoint(((lease, granted.granted, remaining),)))
            assert outcome == Outcome(Result.CHECKPOINTED, None, self.model.revision)
            assert self.model.checkpoint(lease, remaining)

    def revoke(self, lease: int) -> None:
        (outcome,) = self.write(Revoke(lease))
        assert (outcome.result is Result.LEASE_REVOKED) is self.model.revoke(lease)
        assert outcome.revision == self.model.revision

    def delete(self, key: bytes) -> None:
        (outcome,) = self.write(Write(key, None))
        assert (outcome.result is Result.DELETED) is self.model.delete(key)
        assert outcome.revision == self.model.revision

    def transact(self, transaction: Transaction) -> None:
        try:
            check(transaction)
        except BadTransaction:
            return
        if Transact(transaction).size > SEGMENT_BYTES // 2:
            return
        outcome = self._transact(transaction)
        try:
            told = self.model.transact(transaction)
        except NoLease:
            assert outcome.result is Result.LEASE_NOT_FOUND
            return
        assert outcome.report is not None
        assert told_by(outcome.report, self.model) == without_values(told)
        assert outcome.revision == self.model.revision

    def _transact(self, transaction: Transaction) -> Outcome:
        values = dict[bytes, tuple[int, bytes]]()
        while True:
            (outcome,) = self.write(Transact(transaction, values=values))
            if outcome.result in {Result.TRANSACTED, Result.LEASE_NOT_FOUND}:
                return outcome
            assert outcome.result is Result.VALUES_NEEDED
            assert outcome.report is not None
            key = outcome.report.needed
            entry = self.main.replica.index.get(key)
            assert entry is not None
            assert values.get(key, (0,))[0] != entry.facts.revision
            values[key] = entry.facts.revision, value_of(self.main.folder, entry)

    def together(self, steps: list[tuple[bytes, int | None, int]]) -> None:
        """Commit plain writes as one batch."""
        writes = [Write(key, None if size is None else bytes([sign]) * size) for key, size, sign in steps]
        outcomes = self.write(*writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if write.value is None:
                self.model.delete(write.key)
            else:
                self.model.put(write.key, write.value, "")
            assert outcome.revision == self.model.revision

    def forget(self, back: int) -> None:
        """Compact history."""
        revision = max(1, self.model.revision - back)
        (outcome,) = self.write(Compaction(revision))
        assert outcome == Outcome(Result.COMPACTED, None, self.model.revision)
        self.model.compact(revision)

    def merge(self, first: int, count: int, meanwhile: list[tuple[Any, ...]]) -> None:
        if len(sources(self.main)) > first:
            self.main = run(compact(self.main, first, count, self._going_on(meanwhile)))

    def take_over(self, *, unsure: bool, cold: bool) -> None:
        """Let another member follow; ``unsure``: of the last write of the former main nothing was told."""
        main = self.main
        if unsure:
            if main.log.spare is None:
                main.spare()
            main.append("a", "unsure")
            self.model.put(b"a", b"unsure", "")
        known = main.log.committed
        replica = None if cold else started(main)
        member = "b" if main.claim.member == "a" else "a"
        self.main = serve(
            main.folder.other(), main.claim.epoch + 1, member, replica=replica, known=known, form=records.REVISED
        )
        if self.main.replica.unread:
            learn(self.main.replica)

    def fall_behind(self) -> None:
        """Begin a backup that reads on only at the end."""
        self.backups.append(started(self.main))

    def snapshot(self, meanwhile: list[tuple[Any, ...]]) -> None:
        write_snapshot(self.main, self._going_on(meanwhile))

    def _going_on(self, meanwhile: list[tuple[Any, ...]]) -> Callable[[], None]:
        left = iter(meanwhile)

        def go_on() -> None:
            for name, *arguments in islice(left, 1):
                getattr(self, name)(*arguments)

        return go_on

    def step(self, name: str, *arguments: Any, **more: Any) -> None:
        getattr(self, name)(*arguments, **more)
        compare(self.main.folder, self.main.replica.index, self.model)

    def end(self) -> None:
        """Assert that whoever reads the log, from wherever, has the same."""
        main = self.main
        for backup in (started(main), *self.backups):
            assert run(backup.follow(main.claim.epoch))
            assert main.log.committed is not None
            backup.tailer.know(main.log.committed)
            run(backup.catch_up())
            learn(backup)
            backup.check_invariants()
            compare(main.folder, backup.index, self.model)
            assert +backup.index.live == +main.replica.index.live


keys = st.sampled_from(KEYS)
sizes = st.integers(0, 30) | st.just(LARGE)
signs = st.integers(97, 122)
leases = st.integers(1, 2)
spans = (
    st.builds(Span.one, keys)
    | st.builds(Span.prefix, st.sampled_from((b"", b"a", b"b\xff", b"\xff")))
    | st.builds(Span, keys, st.none() | keys)
)
numbers = st.sampled_from((Target.VERSION, Target.CREATE, Target.MOD, Target.LEASE))
compares = st.builds(Compare, spans, numbers, st.sampled_from(Relation), st.integers(0, 20)) | st.builds(
    Compare,
    spans,
    st.just(Target.VALUE),
    st.sampled_from(Relation),
    st.builds(lambda sign, size: bytes([sign]) * size, signs, st.integers(0, 30)),
)
puts = st.builds(
    PutKey, keys, st.builds(lambda sign, size: bytes([sign]) * size, signs, sizes), lease=st.integers(0, 2)
)
operations: st.SearchStrategy[Operation] = st.recursive(
    puts | st.builds(DeleteKeys, spans) | st.builds(ReadKeys, spans, st.integers(1, 4)),
    lambda inner: st.builds(
        Transaction,
        st.lists(compares, max_size=2).map(tuple),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=6,
)
transactions = st.builds(
    Transaction,
    st.lists(compares, max_size=2).map(tuple),
    st.lists(operations, max_size=4).map(tuple),
    st.lists(operations, max_size=3).map(tuple),
)
traffic = (
    st.tuples(st.just("put"), keys, sizes, signs)
    | st.tuples(st.just("put"), keys, st.just(LARGE), signs)
    | st.tuples(st.just("put"), keys, sizes, signs, leases)
    | st.tuples(st.just("grant"), leases, st.integers(1, 9))
    | st.tuples(st.just("revoke"), leases)
    | st.tuples(st.just("checkpoint"), leases, st.integers(1, 9))
    | st.tuples(st.just("delete"), keys)
    | st.tuples(st.just("transact"), transactions)
    | st.tuples(st.just("together"), st.lists(st.tuples(keys, st.none() | st.integers(0, 9), signs), min_size=1))
    | st.tuples(st.just("forget"), st.integers(-1, 12))
)
steps = (
    traffic
    | st.tuples(st.just("merge"), st.integers(0, 2), st.integers(1, 3), st.lists(traffic, max_size=4))
    | st.builds(lambda unsure, cold: ("take_over", unsure, cold), st.booleans(), st.booleans())
    | st.tuples(st.just("fall_behind"))
    | st.tuples(st.just("snapshot"), st.lists(traffic, max_size=6))
)


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=30))
def test_the_store_is_what_the_model_is(story: list[tuple[Any, ...]]) -> None:
    with patch.object(snapshots, "KEYS_AT_ONCE", 2), patch.object(history, "_BLOCK", 3):
        play = Play()
        played(play, story)
        play.end()


def played(play: Play, story: list[tuple[Any, ...]]) -> None:
    for name, *arguments in story:
        if name == "take_over":
            play.step(name, unsure=arguments[0], cold=arguments[1])
        else:
            play.step(name, *arguments)


def test_a_snapshot_that_is_not_read_on_is_sound() -> None:
    play = Play()
    for sign in (97, 98):
        play.put(b"a", 9, sign)
    play.put(b"b", 9, 97)
    with patch.object(snapshots, "KEYS_AT_ONCE", 1):
        play.snapshot([("put", b"b", 9, 98), ("delete", b"a"), ("put", b"c", 9, 97)])
    cold = Backup(play.main.folder.other())
    assert run(cold.follow(play.main.claim.epoch))
    assert (cold.index.revision, cold.index.keys.noted) == (4, 7)
    cold.check_invariants()
    play.backups.append(cold)
    play.end()


def test_what_is_forgotten_during_a_merge_does_not_come_back() -> None:
    play = Play()
    for size in (0, LARGE, 0, LARGE, LARGE):
        play.put(b"a", size, 97)
    play.delete(b"a")
    play.put(b"b", 0, 97)
    play.merge(0, 1, [])
    play.merge(0, 2, [("forget", 0)])
    play.end()


def test_a_key_that_was_deleted_in_between_is_not_what_it_was_before() -> None:
    play = Play()
    play.put(b"b", LARGE, 97)
    play.put(b"k", LARGE, 97)
    play.put(b"c", LARGE, 97)
    play.put(b"d", LARGE, 97)
    play.delete(b"k")
    play.put(b"e", LARGE, 97)
    play.forget(0)
    play.put(b"f", LARGE, 97)
    play.put(b"k", LARGE, 98)
    play.put(b"g", LARGE, 98)
    play.delete(b"g")
    play.put(b"h", LARGE, 98)
    play.put(b"i", LARGE, 98)
    play.merge(1, 3, [])
    play.merge(0, 9, [])
    play.end()


# ---------------------------------------------------------------------- the check of a folder


def checked(play: Play) -> list[str]:
    """Return what is wrong with the log."""
    report = run(fsck.check(play.main.folder.other()))
    return [finding.what for finding in report.findings if finding.severity == "error"]


def in_a_folder() -> Play:
    """A play whose folder is one that can be checked."""
    folder = MemoryFolder()
    run(cluster.initialise(folder, FOLDER_ID))
    play = Play()
    play.main = serve(folder, 1, form=records.REVISED)
    return play


A_MERGED_PART_KNOWS_WHAT_THE_LOG_FORGETS_LATER: list[tuple[Any, ...]] = [
    *3 * [("put", b"a", 5000, 97)],
    *2 * [("put", b"a", 0, 97)],
    ("forget", 0),
    ("put", b"a", 0, 97),
    ("merge", 0, 1, []),
]


AN_EPOCH_WITHOUT_WRITES_IS_MERGED: list[tuple[Any, ...]] = [
    ("put", b"a", 0, 97),
    ("take_over", False, False),
    ("put", b"a", 0, 97),
    *2 * [("take_over", False, False)],
    *3 * [("put", b"a", 0, 97)],
    ("merge", 2, 1, []),
]


@settings(max_examples=20, deadline=None)
@example(AN_EPOCH_WITHOUT_WRITES_IS_MERGED)
@example(A_MERGED_PART_KNOWS_WHAT_THE_LOG_FORGETS_LATER)
@given(st.lists(steps, min_size=5, max_size=30))
def test_a_store_that_works_has_no_errors(story: list[tuple[Any, ...]]) -> None:
    with patch.object(snapshots, "KEYS_AT_ONCE", 2), patch.object(history, "_BLOCK", 3):
        play = in_a_folder()
        played(play, story)
        assert checked(play) == []


def test_a_log_with_revisions_is_checked() -> None:
    play = in_a_folder()
    for key in (b"a", b"b", b"a", b"b"):
        play.put(key, LARGE, 97)
    play.grant(3, 9)
    play.transact(Transaction((), (DeleteKeys(Span.one(b"a")), PutKey(b"b", b"x", lease=3), PutKey(b"c", b"y"))))
    play.forget(0)
    play.put(b"a", LARGE, 98)
    play.put(b"a", LARGE, 99)
    assert checked(play) == []
    play.merge(0, 2, [])
    play.snapshot([("put", b"c", 5, 97)])
    play.take_over(unsure=True, cold=True)
    assert checked(play) == []
    play.end()


def appended(play: Play, revision: int, *changes: records.Put) -> None:
    """Commit records that no judge has made."""
    main, index = play.main, play.main.replica.index
    payload = records.encode(changes, [b""] * len(changes), revision)
    batch = Batch(main.claim.epoch, index.sequence + 1, len(changes), payload, format=records.REVISED)
    run(main.log.commit(batch))


def test_a_revision_that_does_not_go_on_is_an_error() -> None:
    play = in_a_folder()
    play.put(b"a", 1, 97)
    appended(play, 9, records.Put(b"b", 0, checksum_of(b"", b""), "", None, created=True))
    assert checked(play) == ["follows revision 9, and the batch before it ends with 2"]


def test_a_generation_that_does_not_go_on_is_an_error() -> None:
    play = in_a_folder()
    for _ in range(3):
        play.put(b"a", 1, 97)
    nothing = checksum_of(b"", b"")
    again = records.RevisedPut(b"a", 0, nothing, "", None, False, 2, 3)
    early = records.RevisedPut(b"b", 0, nothing, "", None, False, 99, 2)
    appended(play, 4, again, early)
    assert checked(play) == [
        "'a' has the generation 3 since revision 2, as it had before",
        "'b' has the generation 2 since revision 99, as it had before",
    ]
