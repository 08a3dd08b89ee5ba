"""Watchers see what a plain model says has changed: in order, once, whole revisions, whatever happens to the log."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.state import history, snapshots
from hanas_core.state.changes import Event, Lost, Reading
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.transactions import DeleteKeys, PutKey, Span, Transaction
from hanas_core.volume.blocking import run
from hanas_core.volume.folder import Folder
from tests.revisions import State
from tests.sim.mutants import Mutant, applied
from tests.unit.core.test_compaction import learn
from tests.unit.core.test_revisions import Play, signs, sizes, spans, steps, value_of

Told = tuple[int, bytes, bytes | None, bytes | None]
"""Revision, key, what it holds from then on, and what it held."""


class Watcher:
    """Has one number between two turns: the revision up to which it was told everything."""

    def __init__(self, span: Span, revision: int) -> None:
        self.span, self.begin, self.revision = span, revision, revision
        self.told: list[Told] = []
        self.lost: int | None = None

    def take(self, folder: Folder, index: Index, most: int, turns: int) -> None:
        """Read one stretch, with ``turns`` changes at a time."""
        reading, left = Reading(index.keys, self.span, self.revision, previous=True), turns

        def more() -> bool:
            nonlocal left
            left -= 1
            return left > 0

        stretch = None
        while stretch is None:
            left = turns
            try:
                stretch = reading.read(index.revision, most, more)
            except Lost as lost:
                self.lost = lost.compacted
                return
        assert self.revision <= stretch.revision <= max(index.revision, self.revision)
        self.revision = stretch.revision
        self.told += [_told(folder, event) for event in stretch.events]


def _told(folder: Folder, event: Event) -> Told:
    def value(entry: Entry | None) -> bytes | None:
        return None if entry is None else value_of(folder, entry)

    assert event.entry is None or event.entry.facts.revision == event.revision
    return event.revision, event.key, value(event.entry), value(event.before)


def _value(state: State, key: bytes) -> bytes | None:
    return state[key].value if key in state else None


class Watched(Play):
    """The same, with a record of all that ever changed, and watchers."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[int, list[Told]] = {}
        self.watchers: list[Watcher] = []

    def note(self) -> None:
        """Add to the record what the model has done since."""
        for revision in range(len(self.changes) + 2, self.model.revision + 1):
            before, after = self.model.at(revision - 1), self.model.at(revision)
            keys = [key for key in sorted(before | after) if before.get(key) != after.get(key)]
            self.changes[revision] = [(revision, key, _value(after, key), _value(before, key)) for key in keys]

    def forget(self, back: int) -> None:
        self.note()
        super().forget(back)

    def watch(self, span: Span, back: int) -> None:
        self.watchers.append(Watcher(span, max(1, self.model.revision - back)))

    def take(self, most: int, turns: int, *, at_backup: bool) -> None:
        main, index = self.main, self.main.replica.index
        if at_backup and self.backups:
            backup = self.backups[0]
            if run(backup.follow(main.claim.epoch)):
                assert main.log.committed is not None
                backup.tailer.know(main.log.committed)
                run(backup.catch_up())
                learn(backup)
                index = backup.index
        for watcher in self.watchers:
            watcher.take(main.folder, index, most, turns)
        self.compare()

    def compare(self) -> None:
        """Assert that each watcher was told exactly what has changed up to its revision, or is lost with a reason."""
        self.note()
        for watcher in self.watchers:
            expected = [
                change
                for revision in range(watcher.begin + 1, watcher.revision + 1)
                for change in self.changes.get(revision, [])
                if watcher.span.holds(change[1])
            ]
            assert sorted(watcher.told) == sorted(expected)
            assert [told[0] for told in watcher.told] == sorted(told[0] for told in watcher.told)
            assert watcher.lost is None or watcher.lost > watcher.revision
        self.watchers = [watcher for watcher in self.watchers if watcher.lost is None]

    def go(self, name: str, *arguments: Any) -> None:
        if name == "take_over":
            self.take_over(unsure=arguments[0], cold=arguments[1])
        elif name == "take":
            self.take(arguments[0], arguments[1], at_backup=arguments[2])
        else:
            getattr(self, name)(*arguments)
        self.note()


watching = (
    st.tuples(st.just("watch"), spans, st.integers(0, 8))
    | st.tuples(st.just("take"), st.integers(1, 400), st.integers(1, 4), st.booleans())
    | st.tuples(st.just("take"), st.just(1 << 20), st.just(1000), st.just(False))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps | watching | watching, max_size=30))
def test_watchers_are_told_what_changed(story: list[tuple[Any, ...]]) -> None:
    with patch.object(snapshots, "KEYS_AT_ONCE", 2), patch.object(history, "_BLOCK", 3):
        play = Watched()
        play.watch(Span(b"", None), 0)
        for step in story:
            play.go(*step)
        play.take(1 << 20, 1000, at_backup=False)
        for watcher in play.watchers:
            assert watcher.revision == play.model.revision


@given(sizes, signs)
@settings(max_examples=10, deadline=None)
def test_a_revision_is_never_cut(size: int, sign: int) -> None:
    play = Watched()
    play.watch(Span(b"", None), 0)
    value = bytes([sign]) * min(size, 30)
    play.transact(Transaction((), (PutKey(b"a", value), PutKey(b"ab", value), PutKey(b"b", value))))
    play.transact(Transaction((), (DeleteKeys(Span.prefix(b"a")),)))
    (watcher,) = play.watchers
    counts = []
    for _ in range(3):
        watcher.take(play.main.folder, play.main.replica.index, 1, 1)
        counts.append(len(watcher.told))
    assert counts == [3, 5, 5]
    play.compare()


def test_a_watcher_that_is_compacted_away_while_it_reads_is_lost() -> None:
    play = Watched()
    for sign in (97, 98, 99):
        play.put(b"a", 3, sign)
    index = play.main.replica.index
    reading = Reading(index.keys, Span(b"", None), 1, previous=False)
    assert reading.read(index.revision, 1, lambda: False) is None
    play.forget(0)
    with pytest.raises(Lost) as lost:
        reading.read(index.revision, 1, lambda: True)
    assert lost.value.compacted == 4


def test_what_is_not_known_to_be_committed_is_not_told() -> None:
    play = Watched()
    for sign in (97, 98, 99):
        play.put(b"a", 3, sign)
    index = play.main.replica.index
    stretch = Reading(index.keys, Span(b"", None), 1, previous=False).read(3, 1 << 20, lambda: True)
    assert stretch is not None
    assert ([event.revision for event in stretch.events], stretch.revision) == ([2, 3], 3)
    waiting = Reading(index.keys, Span(b"", None), 9, previous=False).read(4, 1 << 20, lambda: True)
    assert waiting is not None
    assert (waiting.events, waiting.revision) == ((), 9)


# ---------------------------------------------------------------------- what must be noticed

_BEGIN, _READ = "hanas_core.state.changes:Reading.__init__", "hanas_core.state.changes:Reading.read"
MUTANTS = (
    Mutant("a change is told again after a takeover", _BEGIN, (("behind(after)", "behind(after - 1)"),)),
    Mutant("a change is lost at a takeover", _BEGIN, (("behind(after)", "behind(after + 1)"),)),
    Mutant("a revision is cut", _READ, (("change.revision > self._events[-1].revision", "True"),)),
    Mutant("a turn begins with the change before", _READ, (("dropped + at", "dropped + at - 1"),)),
    Mutant("a turn leaves a change out", _READ, (("history.dropped + at", "history.dropped + at + 1"),)),
    Mutant("progress is ahead of events", _READ, (("max(last, self._after)", "max(last, self._after) + 1"),)),
    Mutant("a stretch that is full skips what follows", _READ, (("change.revision - 1", "change.revision"),)),
    Mutant("a watch goes on above what is forgotten", _READ, (("self._after < self.keys.compacted", "False"),)),
)


def _watch_over_a_takeover() -> None:
    play = Watched()
    play.watch(Span(b"", None), 0)
    play.watch(Span.prefix(b"a"), 0)
    for sign in (97, 98):
        play.put(b"a", 3, sign)
        play.transact(Transaction((), (PutKey(b"a", b"x"), PutKey(b"ab", b"y"), PutKey(b"b", b"z"))))
        play.take(1, 2, at_backup=False)
    play.take_over(unsure=True, cold=True)
    play.put(b"b", 3, 99)
    for _ in range(8):
        play.take(1, 9, at_backup=False)
    assert [watcher.revision for watcher in play.watchers] == [play.model.revision] * 2
    play.put(b"a", 3, 99)
    play.forget(0)
    play.put(b"a", 3, 100)
    play.take(1 << 20, 9, at_backup=False)
    assert play.watchers == []


def test_a_watch_over_a_takeover_is_exact() -> None:
    _watch_over_a_takeover()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_broken_watch_is_noticed(mutant: Mutant) -> None:
    with applied(mutant), pytest.raises(AssertionError):
        _watch_over_a_takeover()
