"""The judgement on a history: is it linearizable, and is every acknowledged write there at the end?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from hanas_lab.history import Kind, Operation, Outcome
from hanas_lab.linearizable import Counterexample, GivenUp, counterexample, version_of

_THE_END = "the end"


class Found(NamedTuple):
    """What a key held at the end: the value as it stands in the history, and its version."""

    value: str
    version: str | None = None


@dataclass(frozen=True)
class Violation:
    """A promise that was broken to somebody."""

    key: str
    words: str
    """What is wrong, with the operations that show it; several lines."""

    def __str__(self) -> str:
        """The key and the words."""
        return f"key {self.key!r}: {self.words}"


@dataclass(frozen=True)
class Verdict:
    """The judgement on a whole history."""

    operations: int
    keys: int
    violations: tuple[Violation, ...] = ()
    lost: tuple[Operation, ...] = ()
    """Acknowledged puts that are not there at the end although nothing can have overwritten or deleted them."""
    given_up: tuple[str, ...] = ()
    """Keys whose histories were too hard to decide."""

    @property
    def ok(self) -> bool:
        """Everything was decided, and nothing is wrong."""
        return not (self.violations or self.lost or self.given_up)

    def __str__(self) -> str:
        """One line if all is well, otherwise what is wrong."""
        lines = [
            f"{self.operations} operations on {self.keys} keys: " + ("linearizable" if self.ok else "NOT in order")
        ]
        lines += [f"lost: {operation}" for operation in self.lost]
        lines += [str(violation) for violation in self.violations]
        lines += [f"key {key!r}: given up, its history is too hard to decide" for key in self.given_up]
        return "\n".join(lines)


def judge(history: Iterable[Operation], end: Mapping[str, Found] | None = None) -> Verdict:
    """Judge a history that begins with no keys at all.

    ``end`` is what was found when every operation was over, by key; a key that is not in it was not there.
    Raises ValueError for a version that is none.
    """
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    verdict = Verdict(sum(map(len, by_key.values())), len(by_key))
    for key, operations in sorted(by_key.items()):
        verdict = _add(verdict, key, operations, end)
    return verdict


def _add(verdict: Verdict, key: str, operations: list[Operation], end: Mapping[str, Found] | None) -> Verdict:
    telling, doubled = _merged([operation for operation in operations if _tells(operation)])
    violations = list(doubled)
    lost: list[Operation] = []
    given_up = list(verdict.given_up)
    if end is not None:
        found = end.get(key)
        lost = _lost(telling, found)
        telling.append(_last_look(telling, key, found))
    try:
        against = counterexample(telling)
    except GivenUp:
        against = None
        given_up.append(key)
    if against is not None:
        violations.append(Violation(key, _words(against)))
    return replace(
        verdict,
        violations=(*verdict.violations, *violations),
        lost=(*verdict.lost, *lost),
        given_up=tuple(given_up),
    )


def _tells(operation: Operation) -> bool:
    """Whether anything follows from an operation."""
    if operation.outcome is Outcome.NOT_DONE:
        return False
    return not (operation.kind is Kind.GET and operation.outcome is Outcome.UNKNOWN)


def _merged(operations: Iterable[Operation]) -> tuple[list[Operation], list[Violation]]:
    """Make one operation of all requests that carry one idempotency key and may have had their one effect.

    Requests that were answered 404 or 412 had none, and are judged by themselves.
    """
    single: list[Operation] = []
    tries: defaultdict[tuple[object, ...], list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.idempotency_key is None or operation.outcome not in {Outcome.OK, Outcome.UNKNOWN}:
            single.append(operation)
        else:
            request = (operation.kind, operation.value, operation.if_match, operation.if_none_match)
            tries[operation.idempotency_key, request].append(operation)
    violations: list[Violation] = []
    for of_one in tries.values():
        done = [operation for operation in of_one if operation.outcome is Outcome.OK]
        first = min(done or of_one, key=lambda operation: operation.end or 0.0)
        single.append(msgspec.structs.replace(first, start=min(operation.start for operation in of_one)))
        if len({(operation.version, operation.created) for operation in done}) > 1:
            answers = "".join(f"\n    {operation}" for operation in done)
            words = f"idempotency key {first.idempotency_key} was answered in different ways:{answers}"
            violations.append(Violation(first.key, words))
    return single, violations


def _lost(operations: Sequence[Operation], found: Found | None) -> list[Operation]:
    deletes = [operation for operation in operations if operation.kind is Kind.DELETE and _may_be_done(operation)]
    last_delete = max((_end(operation) for operation in deletes), default=-1.0)
    there = version_of(found.version) if found is not None and found.version else None
    return [
        operation
        for operation in operations
        if operation.kind is Kind.PUT
        and operation.outcome is Outcome.OK
        and (last_delete < operation.start if found is None else _is_older(found, there, operation))
    ]


def _is_older(found: Found, there: tuple[int, int] | None, put: Operation) -> bool:
    if there is None or not put.version:
        return False
    version = version_of(put.version)
    return there < version or (there == version and found.value != put.value)


def _may_be_done(operation: Operation) -> bool:
    return operation.outcome in {Outcome.OK, Outcome.UNKNOWN}


def _last_look(operations: Sequence[Operation], key: str, found: Found | None) -> Operation:
    times = [operation.end or operation.start for operation in operations]
    after = max(times, default=0.0) + 1.0
    return Operation(
        start=after,
        end=after,
        client=_THE_END,
        kind=Kind.GET,
        key=key,
        value=None if found is None else found.value,
        version=None if found is None else found.version,
        outcome=Outcome.ABSENT if found is None else Outcome.OK,
    )


def _end(operation: Operation) -> float:
    return float("inf") if operation.end is None or operation.outcome is Outcome.UNKNOWN else operation.end


def _words(against: Counterexample) -> str:
    ordered = "".join(f"\n    {operation}" for operation in against.ordered)
    blocked = "".join(f"\n    {operation}" for operation in against.blocked)
    return (
        f"no order explains every answer. The best one ends with{ordered or ' nothing'}\n"
        f"  then the key holds: {against.state}; but next comes, which does not fit,{blocked}"
    )
