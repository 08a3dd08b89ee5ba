"""Watches, transactions and locks are judged: what is well is left alone, and each thing that is wrong is noticed."""

from typing import Any

import pytest
from msgspec.structs import replace

from hanas_lab.held import Held, judge_locks
from hanas_lab.history import Action, Operation, OperationOutcome
from hanas_lab.transacted import Transaction, judge_transactions
from hanas_lab.watched import Change, Watched, events_of, gaps_of, judge_watches

OK, UNKNOWN, NOT_DONE = OperationOutcome.OK, OperationOutcome.UNKNOWN, OperationOutcome.NOT_DONE


def told(revision: int, **values: str | None) -> dict[str, Any]:
    changes = [
        {"delete": {"key": key}}
        if value is None
        else {"put": {"key": key, "mod": revision, "etag": f"1-{revision}", "text": value}}
        for key, value in values.items()
    ]
    return {"revision": revision, "changes": changes}


def put(key: str, value: str, revision: int) -> Operation:
    version = f"1-{revision}"
    return Operation(start=1.0, end=2.0, kind=Action.PUT, key=key, value=value, outcome=OK, version=version)


def watched(*documents: dict[str, Any], prefix: str = "") -> Watched:
    watcher = Watched("one", prefix, 0)
    for document in documents:
        watcher.take(document)
    return watcher


EVENTS = (told(2, ka="1"), told(3, kb="2", la="3"), told(5, ka=None))
HISTORY = (put("ka", "1", 2), put("kb", "2", 3))


def test_watchers_who_were_told_everything_are_left_alone() -> None:
    whole, part = watched(*EVENTS, {"progress": 6}), watched(told(3, la="3"), {"progress": 4}, prefix="l")
    assert judge_watches([whole, part], HISTORY) == []
    assert (whole.cursor, part.cursor) == (6, 4)
    assert list(events_of([whole, part])) == [2, 3, 5]


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ((EVENTS[0], EVENTS[2]), "of revision 3, another one"),
        ((EVENTS[0], told(3, kb="2"), EVENTS[2]), "of revision 3, another one"),
        ((EVENTS[0], EVENTS[0], *EVENTS[1:]), "revision 2 behind 2"),
        ((EVENTS[1], EVENTS[0], EVENTS[2]), "revision 2 behind 3"),
        (({"progress": 3}, EVENTS[2]), "of revision 2, another one"),
        ((*EVENTS, {"progress": 4}), "progress 4 behind 5"),
        ((*EVENTS, {"compacted": 5}), "forgotten up to 5"),
        ((*EVENTS, told(6, ka="9") | {"changes": told(6, ka="9")["changes"] * 2}), "twice or without need"),
    ],
)
def test_a_watcher_who_was_told_something_else_is_noticed(documents: tuple[dict[str, Any], ...], words: str) -> None:
    violations = judge_watches([watched(*documents), watched(*EVENTS)], HISTORY)
    assert any(words in violation for violation in violations)


def test_an_acknowledged_write_that_nobody_was_told_is_noticed() -> None:
    (violation,) = judge_watches([watched(*EVENTS)], [*HISTORY, put("kc", "4", 4)])
    assert violation.startswith("no watcher was told")


def test_what_was_forgotten_before_it_was_told_is_not_missed() -> None:
    """One watcher was told that changes up to 3 are forgotten, and another one up to 4."""
    first, last = watched(EVENTS[0], {"compacted": 3}, told(4, kc="4")), watched(EVENTS[0], {"compacted": 4})
    for watcher in (first, last):
        watcher.take(told(6, kd="6"))
    history = [*HISTORY, put("kc", "4", 4), put("kd", "6", 6)]
    assert judge_watches([first, last], history) == []
    assert (gaps_of([first, last], "k"), gaps_of([watched(*EVENTS), last], "k")) == ([(2, 3)], [])
    late = put("ke", "7", 7)
    assert judge_watches([first, last], [*history, late]) == [f"no watcher was told: {late}"]
    for watcher in (first, last):
        watcher.gaps.append((watcher.cursor, 9))
    assert judge_watches([first, last], [*history, late]) == [], "it was not told so far"


def test_a_write_that_was_done_twice_is_noticed() -> None:
    unknown = replace(HISTORY[0], outcome=UNKNOWN, version=None)
    (violation,) = judge_watches([watched(EVENTS[0], told(3, ka="1"))], [unknown])
    assert violation.startswith("one write has the revisions [2, 3]")


# ---------------------------------------------------------------------- transactions

STATES = {2: {"t0": Change("a", "1-2"), "t1": Change("b", "1-2")}, 4: {"t0": Change("c", "1-4")}}
FIRST = Transaction(
    client="one",
    start=1.0,
    end=2.0,
    conditions={"t0": 0},
    puts={"t0": "a", "t1": "b"},
    outcome=OK,
    succeeded=True,
    revision=2,
    read={},
)
SECOND = Transaction(
    client="two",
    start=3.0,
    end=4.0,
    conditions={"t0": 2},
    puts={"t0": "c"},
    outcome=OK,
    succeeded=True,
    revision=4,
    read={"t0": (2, "a"), "t1": (2, "b")},
)
FAILED = replace(SECOND, start=5.0, end=6.0, succeeded=False, puts={"t0": "x"}, read={"t0": (4, "c"), "t1": (2, "b")})


def test_transactions_in_order_are_left_alone() -> None:
    unknown = replace(FIRST, outcome=UNKNOWN, puts={"t0": "never"})
    repeated = replace(SECOND, read=None)
    assert (
        judge_transactions([FIRST, repeated, FAILED, unknown], STATES | {3: {"other": Change("o", "1-3")}}, "t") == []
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(SECOND, read={"t0": (2, "a")}), "it read what was not there"),
        (replace(SECOND, conditions={"t1": 3}), "its conditions did not hold"),
        (replace(SECOND, puts={"t0": "c", "t1": "lost"}), "it left"),
        (
            replace(SECOND, start=7.0, end=8.0, conditions={}, revision=2, succeeded=False),
            "was told before it was asked",
        ),
        (replace(FAILED, conditions={"t0": 4}), "its conditions held"),
        (replace(FAILED, outcome=NOT_DONE, puts={"t0": "c"}), "has the revisions [4]"),
        (replace(FAILED, outcome=UNKNOWN, puts={"t0": "a", "t1": "c"}), "has the revisions [2, 4]"),
        (replace(FAILED, outcome=UNKNOWN, puts={"t0": "c", "t1": "y"}), "not all that it writes is of revision 4"),
    ],
)
def test_a_transaction_that_does_not_fit_is_noticed(wrong: Transaction, words: str) -> None:
    assert any(words in violation for violation in judge_transactions([FIRST, SECOND, wrong], STATES, "t"))


def test_answers_behind_unknown_changes_are_compared_with_nothing() -> None:
    wrong = replace(FAILED, conditions={"t0": 4})
    assert judge_transactions([FIRST, SECOND, wrong], STATES, "t", [(3, 4)]) == []


def test_a_key_that_was_deleted_is_not_there() -> None:
    deleted = STATES | {5: {"t0": Change(None, "")}}
    reader = replace(FAILED, start=7.0, end=8.0, revision=5, conditions={"t0": 4}, read={"t1": (2, "b")})
    assert judge_transactions([FIRST, SECOND, reader], deleted, "t") == []


# ---------------------------------------------------------------------- locks


def test_a_lock_that_goes_from_hand_to_hand_is_left_alone() -> None:
    one, two = (Held(client=name, lock="l", began=began, until=began + 2.0) for name, began in (("a", 1.0), ("b", 3.0)))
    other = Held(client="c", lock="m", began=2.0, until=9.0)
    assert judge_locks([two, other, one]) == []


def test_a_lock_that_two_hold_is_noticed() -> None:
    long = Held(client="a", lock="l", began=1.0, until=9.0)
    short, late = (
        Held(client=name, lock="l", began=began, until=began + 1.0) for name, began in (("b", 2.0), ("c", 5.0))
    )
    assert len(judge_locks([short, late, long])) == 2
