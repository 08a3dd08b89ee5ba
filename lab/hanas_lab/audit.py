"""The judgement on a history: it must be linearizable, and no acknowledged write may be lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from hanas_lab.history import Action, Operation, OperationOutcome
from hanas_lab.linearizable import Counterexample, GivenUp, counterexample, version_of

_THE_END = "the end"
_MAYBE_DONE = (OperationOutcome.OK, OperationOutcome.UNKNOWN)


class LastValue(NamedTuple):
    """The final value of a key, in the form of the history, and its version."""

    value: str
    version: str | None = None


@dataclass(frozen=True)
class Violation:
    """A violated guarantee. `words` has several lines: the violation, and the operations that prove it."""

    key: str
    words: str

    def __str__(self) -> str:
        return f"key {self.key!r}: {self.words}"


@dataclass(frozen=True)
class Judgement:
    """The judgement on a whole history."""

    operations: int
    keys: int
    violations: tuple[Violation, ...] = ()
    lost: tuple[Operation, ...] = ()
    """Acknowledged puts that are missing at the end although no operation can have replaced or deleted them."""
    given_up: tuple[str, ...] = ()
    """Keys whose histories took too many steps to decide."""

    @property
    def ok(self) -> bool:
        """Whether every key was decided, without a violation or a loss."""
        return not (self.violations or self.lost or self.given_up)

    def __str__(self) -> str:
        lines = [
            f"{self.operations} operations on {self.keys} keys: " + ("linearizable" if self.ok else "NOT in order")
        ]
        lines += [f"lost: {operation}" for operation in self.lost]
        lines += [str(violation) for violation in self.violations]
        lines += [f"key {key!r}: given up, its history is too hard to decide" for key in self.given_up]
        return "\n".join(lines)


def judge(history: Iterable[Operation], end: Mapping[str, LastValue] | None = None) -> Judgement:
    """Judge a history that starts without keys.

    `end` holds the final values by key, read after the last operation; other keys do not exist.
    Raises ValueError for an invalid version.
    """
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    violations: list[Violation] = []
    lost: list[Operation] = []
    given_up: list[str] = []
    for key, operations in sorted(by_key.items()):
        relevant, contradictions = _merged(filter(_is_relevant, operations))
        violations += contradictions
        if end is not None:
            lost += _lost(relevant, end.get(key))
            relevant.append(_final_read(relevant, key, end.get(key)))
        try:
            example = counterexample(relevant)
        except GivenUp:
            given_up.append(key)
        else:
            violations += [] if example is None else [Violation(key, _words(example))]
    count = sum(map(len, by_key.values()))
    return Judgement(count, len(by_key), tuple(violations), tuple(lost), tuple(given_up))


def _is_relevant(operation: Operation) -> bool:
    """Return whether an operation constrains the history."""
    if operation.outcome is OperationOutcome.NOT_DONE:
        return False
    return not (operation.kind is Action.GET and operation.outcome is OperationOutcome.UNKNOWN)


def _merged(operations: Iterable[Operation]) -> tuple[list[Operation], list[Violation]]:
    """Merge the requests with one idempotency key that may have had their single effect.

    Requests with the answer 404 or 412 had no effect, and stay separate.
    """
    single: list[Operation] = []
    attempts: defaultdict[tuple[object, ...], list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.idempotency_key is None or operation.outcome not in _MAYBE_DONE:
            single.append(operation)
        else:
            request = (operation.kind, operation.value, operation.if_match, operation.if_none_match)
            attempts[operation.idempotency_key, request].append(operation)
    violations: list[Violation] = []
    for of_one in attempts.values():
        done = [operation for operation in of_one if operation.outcome is OperationOutcome.OK]
        first = min(done or of_one, key=lambda operation: operation.end or 0.0)
        single.append(msgspec.structs.replace(first, start=min(operation.start for operation in of_one)))
        if len({(operation.version, operation.created) for operation in done}) > 1:
            answers = "".join(f"\n    {operation}" for operation in done)
            words = f"idempotency key {first.idempotency_key} has different answers:{answers}"
            violations.append(Violation(first.key, words))
    return single, violations


def _lost(operations: Sequence[Operation], last: LastValue | None) -> list[Operation]:
    deletes = (operation for operation in operations if operation.kind is Action.DELETE)
    last_delete = max((_end(operation) for operation in deletes if operation.outcome in _MAYBE_DONE), default=-1.0)
    present = version_of(last.version) if last is not None and last.version else None
    return [
        operation
        for operation in operations
        if operation.kind is Action.PUT
        and operation.outcome is OperationOutcome.OK
        and (last_delete < operation.start if last is None else _is_older(last, present, operation))
    ]


def _is_older(last: LastValue, present: tuple[int, int] | None, put: Operation) -> bool:
    if present is None or not put.version:
        return False
    version = version_of(put.version)
    return present < version or (present == version and last.value != put.value)


def _final_read(operations: Sequence[Operation], key: str, last: LastValue | None) -> Operation:
    times = [operation.end or operation.start for operation in operations]
    after = max(times, default=0.0) + 1.0
    return Operation(
        start=after,
        end=after,
        client=_THE_END,
        kind=Action.GET,
        key=key,
        value=None if last is None else last.value,
        version=None if last is None else last.version,
        outcome=OperationOutcome.ABSENT if last is None else OperationOutcome.OK,
    )


def _end(operation: Operation) -> float:
    return float("inf") if operation.end is None or operation.outcome is OperationOutcome.UNKNOWN else operation.end


def _words(example: Counterexample) -> str:
    ordered = "".join(f"\n    {operation}" for operation in example.ordered)
    blocked = "".join(f"\n    {operation}" for operation in example.blocked)
    return (
        f"no order explains every answer. The best one ends with{ordered or ' nothing'}\n"
        f"  then the key holds: {example.state}; but next comes, which does not fit,{blocked}"
    )
