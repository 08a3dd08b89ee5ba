"""Forwarded writes are done once, and every reader of the log has the same sessions (docs/protocol.md, 3.10)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.positions import Position, Version
from hanas_core.log.records import Forwarded
from hanas_core.members import cluster
from hanas_core.state import sessions, snapshots
from hanas_core.state.index import Index
from hanas_core.state.judge import ForwardedWrite, Judge, Opening, Outcome, Request, Result, Write, recorded
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.state.sessions import WINDOW, Change, Sessions
from hanas_core.upkeep import fsck
from hanas_core.upkeep.archive import Item
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.restoring import Restoration
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Backup, Main, bare_folder, contents, fresh_backup, serve
from tests.unit.core.test_compaction import LARGE, compact, fill, learn, merged_records, sources
from tests.unit.core.test_snapshots import alike, started, write_snapshot

PLACE = Position(3, 1, 64 << 20)
S1 = Version(3, 1)
"""The session that is opened first."""
OPENED = Outcome(Result.SESSION_OPENED, S1)
ENDED = Outcome(Result.SESSION_ENDED)
OUT_OF_WINDOW = Outcome(Result.NUMBER_OUT_OF_WINDOW)


def queue() -> GroupCommit[None]:
    return GroupCommit[None](Replica(), 3, 1)


def commit(commits: GroupCommit[None], *requests: Request) -> list[Outcome]:
    for request in requests:
        commits.submit(request, None)
    assert commits.next_batch(1 << 20) is not None
    return [outcome for _, outcome in commits.committed(PLACE)]


def opened() -> GroupCommit[None]:
    commits = queue()
    assert commit(commits, Opening("w1")) == [OPENED]
    return commits


def forward(
    number: int, lowest: int = 1, value: bytes | None = b"v", session: Version = S1, **options: Any
) -> ForwardedWrite:
    return ForwardedWrite(Write(b"k", value, **options), Forwarded(session, number, lowest))


# ---------------------------------------------------------------------- judging


def test_a_number_is_done_once_and_answered_as_the_first_time() -> None:
    commits = opened()
    created, replaced = Outcome(Result.CREATED, Version(3, 2)), Outcome(Result.REPLACED, Version(3, 3))
    assert commit(commits, forward(1)) == [created]
    assert commit(commits, forward(1), forward(2), forward(1)) == [created, replaced, created]
    assert commit(commits, forward(2)) == [replaced]
    deleted = Outcome(Result.DELETED, Version(3, 4))
    assert commit(commits, forward(3, value=None), Write(b"k", b"again"), forward(3, value=None)) == [
        deleted,
        Outcome(Result.CREATED, Version(3, 5)),
        deleted,
    ]
    assert commit(commits, forward(3, value=None)) == [deleted]


def test_a_number_that_comes_again_in_its_batch_gets_the_same_outcome() -> None:
    commits = opened()
    refused = forward(1, if_match=("*",))
    assert commit(commits, refused, Write(b"k", b"v"), refused, forward(2), forward(2)) == [
        Outcome(Result.CONDITION_FAILED),
        Outcome(Result.CREATED, Version(3, 2)),
        Outcome(Result.CONDITION_FAILED),
        Outcome(Result.REPLACED, Version(3, 3)),
        Outcome(Result.REPLACED, Version(3, 3)),
    ]
    assert commit(commits, refused) == [Outcome(Result.REPLACED, Version(3, 4))], "nothing of it was recorded"


def test_a_session_that_is_not_known_is_told_so() -> None:
    commits = opened()
    assert commit(commits, forward(1, session=Version(3, 2)), forward(1, session=Version(2, 1))) == [ENDED, ENDED]
    assert commits.next_sequence == 2


def test_a_member_has_one_session_at_most() -> None:
    commits = opened()
    commit(commits, forward(1))
    other = Outcome(Result.SESSION_OPENED, Version(3, 4))
    outcomes = commit(commits, forward(2), Opening("w1"), forward(1), forward(3), forward(1, session=Version(3, 4)))
    assert outcomes[1:] == [other, ENDED, ENDED, Outcome(Result.REPLACED, Version(3, 5))]
    assert commit(commits, forward(1), Opening("w2")) == [ENDED, Outcome(Result.SESSION_OPENED, Version(3, 6))]
    assert commit(commits, forward(2, session=Version(3, 4))) == [Outcome(Result.REPLACED, Version(3, 7))]


def test_the_session_that_was_opened_first_ends_when_there_are_too_many() -> None:
    with limits(most=2):
        commits = opened()
        commit(commits, Opening("w2"))
        outcomes = commit(commits, forward(1), Opening("w3"), forward(2), forward(1, session=Version(3, 2)))
        assert [outcome.result for outcome in outcomes] == [
            Result.CREATED,
            Result.SESSION_OPENED,
            Result.SESSION_ENDED,
            Result.REPLACED,
        ]
        assert commit(commits, forward(1)) == [ENDED]


def test_a_number_below_the_lowest_is_refused_and_so_is_one_far_above() -> None:
    commits = opened()
    assert commit(commits, forward(2, 3), forward(0, 0), forward(WINDOW + 1)) == [OUT_OF_WINDOW] * 3
    outcomes = commit(commits, forward(WINDOW), forward(WINDOW + 1, 2), forward(1), forward(1, 2))
    assert [outcome.result for outcome in outcomes[:2]] == [Result.CREATED, Result.REPLACED]
    assert outcomes[2:] == [OUT_OF_WINDOW] * 2, "nobody asks about 1 any more"
    assert commit(commits, forward(1)) == [OUT_OF_WINDOW]
    assert commit(commits, forward(2))[0].result is Result.REPLACED


def test_a_write_that_changes_nothing_moves_no_window() -> None:
    commits = opened()
    outcomes = commit(commits, forward(9, 9, if_match=()), forward(1))
    assert [outcome.result for outcome in outcomes] == [Result.CONDITION_FAILED, Result.CREATED]
    assert commit(commits, forward(9, 9, if_match=()))[0].result is Result.CONDITION_FAILED
    assert commit(commits, forward(1))[0].result is Result.CREATED


def test_the_session_comes_before_the_idempotency_key_and_both_are_recorded() -> None:
    commits = opened()
    first = commit(commits, forward(1, idempotency_key="i"))
    assert commit(commits, forward(2, idempotency_key="i"), Write(b"k", b"v", idempotency_key="i")) == first * 2
    assert commit(commits, forward(1, idempotency_key="j", value=b"other")) == first
    assert commit(commits, forward(1, session=Version(2, 2), idempotency_key="i")) == [ENDED]
    assert commit(commits, forward(3, value=b"other", idempotency_key="i")) == [Outcome(Result.KEY_REUSED)]
    assert commits.next_sequence == 3


def test_what_the_log_tells_of_a_number() -> None:
    replica = Replica()
    commits = GroupCommit[None](replica, 3, 1)
    commit(commits, Opening("w1"))
    outcomes = commit(commits, forward(1), forward(2, value=None), forward(3))
    session = replica.index.sessions.get(S1)
    assert [recorded(session, number) for number in (1, 2, 3, 4)] == [*outcomes, None]
    commit(commits, forward(4, 3))
    assert recorded(session, 2) == OUT_OF_WINDOW
    assert recorded(replica.index.sessions.get(Version(3, 9)), 1) == ENDED


# ---------------------------------------------------------------------- the table


def test_nothing_below_the_lowest_is_kept() -> None:
    table = Sessions()
    table.open(S1, "w1")
    change = Change(Version(3, 2), created=True, deleted=False)
    for number in (3, 1, 2):
        table.note(Forwarded(S1, number, 1), change)
    table.note(Forwarded(S1, 4, 2), change)
    session = table.get(S1)
    assert session is not None
    assert (session.lowest, sorted(session.changes)) == (2, [2, 3, 4])
    table.note(Forwarded(S1, 1, 1), change)
    assert sorted(session.changes) == [2, 3, 4], "what comes late is not kept"
    far = 1 << 60
    table.note(Forwarded(S1, far, far), change)
    assert (session.lowest, sorted(session.changes)) == (far, [far])
    table.note(Forwarded(Version(3, 9), 1, 1), change)
    table.check_invariants()


@contextmanager
def limits(most: int = 3) -> Iterator[None]:
    """Make the limits so small that stories reach them."""
    with (
        patch.object(sessions, "MOST_SESSIONS", most),
        patch.object(sessions, "WINDOW", 4),
        patch.object(snapshots, "SESSIONS_AT_ONCE", 2),
    ):
        yield


Rows = list[tuple[Version, str, int, dict[int, Change]]]


def rows(index: Index) -> Rows:
    """Return what every reader holds: not the revisions, which no snapshot and no merged segment tells."""
    return [
        (version, session.member, session.lowest, {number: _told(each) for number, each in session.changes.items()})
        for version, session in index.sessions.all()
    ]


def _told(change: Change) -> Change:
    return msgspec.structs.replace(change, revision=0)


class Model:
    """The sessions as the documentation defines them, from the whole list of records."""

    def __init__(self) -> None:
        self.log: list[tuple[Version, str | tuple[Forwarded, Change]]] = []

    def rows(self) -> Rows:
        opened = {what: version for version, what in self.log if isinstance(what, str)}
        latest = sorted((version, member) for member, version in opened.items())[-sessions.MOST_SESSIONS :]
        return [(version, member, *self._content(version)) for version, member in latest]

    def _content(self, session: Version) -> tuple[int, dict[int, Change]]:
        own = [what for _, what in self.log if not isinstance(what, str) and what[0].session == session]
        lowest = max((forwarded.lowest for forwarded, _ in own), default=1)
        return lowest, {forwarded.number: change for forwarded, change in own if forwarded.number >= lowest}


MEMBERS = ("w1", "w2", "w3", "w4")


class Play:
    """A cluster and its forwarders, which keep to no rules."""

    def __init__(self) -> None:
        self.main = serve(bare_folder(), 1)
        self.model = Model()
        self.opened: list[Version] = []
        self.backups: list[Backup] = []

    def open(self, member: str) -> None:
        (outcome,) = self._write(Opening(member))
        assert outcome.version is not None
        self.opened.append(outcome.version)
        self.model.log.append((outcome.version, member))

    def forward(self, back: int, number: int, window: int, size: int | None, idempotency: str | None) -> None:
        """Forward a write in one of the last sessions, with a number that is new in it or was used before."""
        if not self.opened:
            return
        session, key = self.opened[-1 - back % len(self.opened)], f"k{number % 3}"
        forwarding = Forwarded(session, number, max(1, number - window))
        write = Write(key.encode(), None if size is None else bytes(size), idempotency_key=idempotency)
        before = self.main.replica.index.sequence
        (outcome,) = self._write(ForwardedWrite(write, forwarding))
        if self.main.replica.index.sequence > before:
            assert outcome.version is not None
            created, deleted = outcome.result is Result.CREATED, outcome.result is Result.DELETED
            self.model.log.append((outcome.version, (forwarding, Change(outcome.version, created, deleted))))

    def _write(self, request: Request) -> list[Outcome]:
        if self.main.log.spare is None:
            self.main.spare()
        return self.main.write(request)

    def compact(self, first: int, count: int, meanwhile: list[tuple[Any, ...]]) -> None:
        if len(sources(self.main)) > first:
            self.main = run(compact(self.main, first, count, self._going_on(meanwhile)))

    def take_over(self) -> None:
        """Let another member follow, whose copy comes from the folder alone."""
        epoch = self.main.claim.epoch + 1
        self.main = serve(self.main.folder.other(), epoch, "b" if self.main.claim.member == "a" else "a")

    def fall_behind(self) -> None:
        """Begin a backup that reads on only at the end."""
        self.backups.append(started(self.main))

    def snapshot(self, meanwhile: list[tuple[Any, ...]]) -> None:
        write_snapshot(self.main, self._going_on(meanwhile))

    def _going_on(self, meanwhile: list[tuple[Any, ...]]) -> Callable[[], None]:
        """Return what takes the next of these steps each time."""
        left = iter(meanwhile)

        def go_on() -> None:
            for step in islice(left, 1):
                self.step(*step)

        return go_on

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, name)(*arguments)
        assert rows(self.main.replica.index) == self.model.rows()


idempotency_keys = st.none() | st.sampled_from("ij")
traffic = (
    st.tuples(st.just("open"), st.sampled_from(MEMBERS))
    | st.tuples(
        st.just("forward"),
        st.integers(0, 3),
        st.integers(1, 12),
        st.integers(0, 5),
        st.none() | st.integers(0, LARGE),
        idempotency_keys,
    )
    | st.tuples(st.just("forward"), st.just(0), st.integers(1, 9), st.just(3), st.just(LARGE), st.none())
)
steps = (
    traffic
    | st.tuples(st.just("compact"), st.integers(0, 2), st.integers(1, 3), st.lists(traffic, max_size=4))
    | st.tuples(st.just("take_over"))
    | st.tuples(st.just("fall_behind"))
    | st.tuples(st.just("snapshot"), st.lists(traffic, max_size=4))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=40))
def test_every_reader_has_the_same_sessions(story: list[tuple[Any, ...]]) -> None:
    with limits():
        play = Play()
        for step in story:
            play.step(*step)
        main = play.main
        for backup in (started(main), *play.backups):
            assert run(backup.follow(main.claim.epoch))
            assert main.log.committed is not None
            backup.tailer.know(main.log.committed)
            run(backup.catch_up())
            learn(backup)
            assert rows(backup.index) == play.model.rows()
            backup.check_invariants()


# ---------------------------------------------------------------------- merged segments and snapshots


def busy(folder: MemoryFolder | None = None) -> Main:
    """A main with segments of which a session, its writes and two sessions that have ended are a part."""
    main = serve(folder or bare_folder(), 1)
    (outcome,) = main.write(Opening("w2"))
    assert outcome.version is not None
    main.write(Opening("w1"), forward(1, session=outcome.version))
    main.write(Opening("w2"))
    (outcome,) = main.write(Opening("w1"))
    assert outcome.version is not None
    for number in (1, 2, 3):
        main.write(forward(number, 2 if number == 3 else 1, b"f", outcome.version))
    main.write(forward(4, 2, None, outcome.version))
    fill(main, "a", "b", "c", "a", "b", "c")
    return main


def test_compaction_keeps_what_a_forwarder_may_ask_for_and_nothing_else() -> None:
    new = run(compact(busy()))
    merged = merged_records(new.folder, 2)
    assert [record.member for record in merged if isinstance(record, records.Session)] == ["w2", "w1"]
    assert [record.forwarded.number for record in merged if isinstance(record, records.Answered)] == [2, 3, 4]
    cold = fresh_backup(new.folder.other(), 2, new.log.committed)
    assert rows(cold.index) == rows(new.replica.index)
    session = rows(cold.index)[1][0]
    assert new.write(forward(3, 2, b"f", session), forward(4, 2, None, session)) == [
        Outcome(Result.REPLACED, Version(1, 8)),
        Outcome(Result.DELETED, Version(1, 9)),
    ]
    again = run(compact(new))
    assert rows(fresh_backup(new.folder.other(), 3, again.log.committed).index) == rows(new.replica.index)


def test_who_starts_from_a_snapshot_knows_the_sessions() -> None:
    main = busy()
    write_snapshot(main)
    main.put("after", "x")
    cold = started(main)
    assert cold.index.cached(b"a") is None, "it was never read"
    assert alike(cold.index, main.replica.index)
    assert rows(cold.index) == rows(main.replica.index)


def test_fsck_reads_sessions_and_names_a_write_that_was_done_twice() -> None:
    folder = MemoryFolder()
    run(cluster.initialise(folder, FOLDER_ID))
    main = busy(folder)
    assert run(fsck.check(folder.other())).errors == 0
    new = run(compact(main))
    session = rows(new.replica.index)[1][0]
    new.write(forward(5, 2, b"f", session))
    assert run(fsck.check(folder.other())).errors == 0
    with patch.object(Judge, "_judge_forwarded", lambda judge, write, *rest: judge.judge(write, rest[1], rest[0])):
        new.write(forward(2, 2, b"f", session), forward(9, 9, b"f", Version(1, 1)))
    findings = [one for one in run(fsck.check(folder.other())).findings if one.severity == "error"]
    assert [(one.name, one.what) for one in findings] == [
        (names.segment(2, 1), f"write 2 of the session {session} was done before")
    ]


def test_a_restored_folder_has_no_sessions_and_all_keys() -> None:
    main = busy()
    copy = FolderCopy(main.folder.other())
    assert main.log.committed is not None
    run(copy.read(main.log.committed))
    items: list[Item] = []
    while taken := run(copy.take()):
        items += taken
    folder = MemoryFolder()
    restoration = run(Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, "", lambda: 0.0, copy.store_revision))
    run(restoration.add(items))
    run(restoration.finish())
    index = serve(folder.other(), 2, "b").replica.index
    assert contents(index) == contents(main.replica.index)
    assert rows(index) == []


def test_a_forwarder_asks_the_next_main() -> None:
    main = busy()
    session = rows(main.replica.index)[1][0]
    taker = serve(main.folder.other(), 2, "b", known=main.log.committed)
    assert taker.write(forward(3, 2, b"f", session), forward(5, 4, b"f", session)) == [
        Outcome(Result.REPLACED, Version(1, 8)),
        Outcome(Result.CREATED, Version(2, 16)),
    ]


def test_sessions_are_in_the_order_in_which_they_were_opened() -> None:
    index = Index()
    index.sessions.open(Version(3, 2), "w1")
    index.check_invariants()
    index.sessions.open(Version(3, 1), "w2")
    with pytest.raises(AssertionError):
        index.check_invariants()
