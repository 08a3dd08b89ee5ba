"""The judgement on transactions over several keys: whether they are strictly serializable.

Every change has a revision, and every answer names the one that it rests on. So the order is known, and checking it
takes one pass: replay the changes in the order of the revisions, compare each answer with the state at its place, and
see that no answer names a lower revision than one that came before its request. A transaction without an answer has
its effect as a whole at one place, or none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from hanas_lab.history import OperationOutcome
from hanas_lab.watched import Events, Gap

State = dict[str, tuple[int, str]]
"""Of each key the revision that changed it last, and its value."""


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """If each key of ``conditions`` was changed last by that revision (0: it is not there), ``puts`` is written.

    In either case all keys are read before.
    """

    client: str
    start: float
    end: float | None = None
    conditions: dict[str, int]
    puts: dict[str, str]
    """All values of a history are different."""
    outcome: OperationOutcome
    """OK, NOT_DONE or UNKNOWN."""
    succeeded: bool = False
    revision: int = 0
    read: State | None = None
    """None: it was told that this is a repetition, and nothing else."""


def judge_transactions(
    history: Sequence[Transaction], events: Events, prefix: str, gaps: Sequence[Gap] = ()
) -> list[str]:
    """Return the violations. ``events``: all changes of the keys with ``prefix``, which nobody else writes.

    Behind the first one of ``gaps``, where changes are not known, answers are not compared with the state.
    """
    known = min((begin for begin, _ in gaps), default=1 << 63)
    revisions, states = _replayed(events, prefix)
    violations = _out_of_order(history)
    for each in history:
        if each.outcome is OperationOutcome.OK and each.revision <= known:
            after = states[bisect_right(revisions, each.revision) - 1]
            before = states[bisect_right(revisions, each.revision - 1) - 1] if each.succeeded else after
            if wrong := _wrong(each, before, after):
                violations.append(f"{wrong}: {each}")
        places = {revision for state in states for revision, value in state.values() if value in each.puts.values()}
        if len(places) > 1 or (places and each.outcome is OperationOutcome.NOT_DONE):
            violations.append(f"what it writes has the revisions {sorted(places)}: {each}")
        elif places:
            (place,) = places
            state = states[bisect_right(revisions, place) - 1]
            if place <= known and any(state.get(key) != (place, value) for key, value in each.puts.items()):
                violations.append(f"not all that it writes is of revision {place}: {each}")
    return violations


def _replayed(events: Events, prefix: str) -> tuple[list[int], list[State]]:
    revisions, states = [0], [State()]
    for revision, changes in sorted(events.items()):
        state = dict(states[-1])
        for key, change in changes.items():
            if not key.startswith(prefix):
                continue
            if change.version and change.value is not None:
                state[key] = revision, change.value
            else:
                state.pop(key, None)
        if state != states[-1]:
            revisions.append(revision)
            states.append(state)
    return revisions, states


def _wrong(each: Transaction, before: State, after: State) -> str:
    """Return what does not fit in an answer, empty: nothing."""
    held = all(before.get(key, (0, ""))[0] == revision for key, revision in each.conditions.items())
    if held is not each.succeeded:
        return f"its conditions {'held' if held else 'did not hold'}"
    if each.read is not None and each.read != before:
        return f"it read what was not there, but {before}"
    expected = before | {key: (each.revision, value) for key, value in each.puts.items()} if held else before
    return "" if after == expected else f"it left {after}"


def _out_of_order(history: Sequence[Transaction]) -> list[str]:
    """Find answers with a lower revision than one that came before the request."""
    done = [each for each in history if each.outcome is OperationOutcome.OK and each.end is not None]
    by_end = sorted(done, key=lambda each: each.end or 0.0)
    violations, highest, place = [], 0, 0
    for each in sorted(done, key=lambda each: each.start):
        while place < len(by_end) and (by_end[place].end or 0.0) < each.start:
            highest = max(highest, by_end[place].revision)
            place += 1
        if each.revision < highest:
            violations.append(f"revision {highest} was told before it was asked: {each}")
    return violations
