"""Whether one key's history is linearizable: is there one order of its operations that explains every answer?

The search is that of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993) with Lowe's memory of visited
states (*Testing for Linearizability*, 2017), for one key at a time, as in Porcupine. Additions:

- Versions order the writes: each write has a greater one than those before it, so a write with a known version has one
  possible place among the others.
- An observation that fits and adds no information is placed at once: a later place has no advantage.
- A write with an unknown outcome is placed only if an answer has no explanation without it; of several equivalent ones,
  the first.
- A state that was reached before with fewer unknown writes is not searched again.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hanas_lab.history import ANY, Action, Operation, OperationOutcome

MOST_STEPS = 5_000_000
"""The search of one key's history ends after this number of steps."""
_TAIL = 6
"""The number of ordered operations in a counterexample."""
_NEVER = float("inf")

Version = tuple[int, int]
_NONE: Version = (0, 0)


class KeyState(NamedTuple):
    """The state of a key. `version` None: no answer has named the version of its last write."""

    value: str | None = None
    version: Version | None = None
    floor: Version = _NONE
    """The greatest version so far: later writes have greater ones."""

    def __str__(self) -> str:
        """In words."""
        if self.value is None:
            return "no such key"
        return f"{self.value} (version {'{}-{}'.format(*self.version) if self.version else 'not known'})"


@dataclass(frozen=True)
class Counterexample:
    """Proof that no order explains the answers for a key: the longest partial order, and what blocks it."""

    ordered: tuple[Operation, ...]
    """The last operations of the longest valid order."""
    state: KeyState
    """The state of the key after them."""
    blocked: tuple[Operation, ...]
    """The candidates for the next place, none of which fits, in the order of their answers."""


class GivenUp(Exception):
    """The search took more than `MOST_STEPS` steps without a result."""


def counterexample(operations: Sequence[Operation]) -> Counterexample | None:
    """Return a counterexample for the history of one key, initially absent; None if it is linearizable.

    `operations` has none that was not done, and no read without an answer. Raises GivenUp, and ValueError for an
    invalid version.
    """
    return _out_of_order(operations) or _Search(operations).run()


def _out_of_order(operations: Sequence[Operation]) -> Counterexample | None:
    """Find an answer with a lesser version than an answer from before its request.

    The search would find it too, but only after all other orders.
    """
    versioned = [
        operation for operation in operations if operation.version and operation.outcome is not OperationOutcome.UNKNOWN
    ]
    by_end = [(_end(operation), place, operation) for place, operation in enumerate(versioned)]
    heapq.heapify(by_end)
    newest: Operation | None = None
    for operation in sorted(versioned, key=lambda operation: operation.start):
        while by_end[0][0] < operation.start:
            ended = heapq.heappop(by_end)[2]
            if newest is None or _version(ended) > _version(newest):
                newest = ended
        if newest is not None and _version(operation) < _version(newest):
            state = KeyState(newest.value, _version(newest), _version(newest))
            return Counterexample((newest,), state, (operation,))
    return None


def _version(operation: Operation) -> Version:
    return version_of(operation.version or "")


class _Node(NamedTuple):
    """A state of the search: all answered operations before `base` are ordered, and the marked ones after it."""

    base: int
    ordered: int
    used: int
    """The unknown writes that are placed, as bits."""
    state: KeyState


class _Search:
    def __init__(self, operations: Sequence[Operation]) -> None:
        by_start = sorted(operations, key=lambda operation: operation.start)
        self._answered = [operation for operation in by_start if operation.outcome is not OperationOutcome.UNKNOWN]
        self._unknown = [operation for operation in by_start if operation.outcome is OperationOutcome.UNKNOWN]
        values = {operation.value for operation in self._answered if operation.kind is Action.GET}
        self._alike = [
            (write.kind, write.value if write.value in values else None, write.if_match, write.if_none_match)
            for write in self._unknown
        ]
        self._versions = sorted(
            version_of(operation.version)
            for operation in self._answered
            if operation.version and operation.kind is not Action.GET and operation.outcome is OperationOutcome.OK
        )
        self._steps = 0
        self._seen: dict[tuple[int, int, KeyState], list[int]] = {}

    def run(self) -> Counterexample | None:
        best = start = _Node(0, 0, 0, KeyState())
        path: list[tuple[Iterator[tuple[Operation, _Node]], Operation | None]] = [(self._moves(start), None)]
        tail: tuple[Operation, ...] = ()
        most = done = 0
        if not self._answered:
            return None
        while path:
            moves, last = path[-1]
            for operation, node in moves:
                if not self._is_new(node):
                    continue
                if node.base == len(self._answered):
                    return None
                path.append((self._moves(node), operation))
                done += operation.outcome is not OperationOutcome.UNKNOWN
                if done > most:
                    best, most = node, done
                    tail = tuple(step for _, step in path[-_TAIL:] if step is not None)
                break
            else:
                path.pop()
                done -= last is not None and last.outcome is not OperationOutcome.UNKNOWN
        blocked = sorted((operation for _, operation in self._candidates(best)), key=_end)
        return Counterexample(tail, best.state, tuple(blocked))

    def _is_new(self, node: _Node) -> bool:
        """Record a node, unless it was reached before with a subset of its unknown writes."""
        before = self._seen.setdefault((node.base, node.ordered, node.state), [])
        if any(used & ~node.used == 0 for used in before):
            return False
        before.append(node.used)
        return True

    def _candidates(self, node: _Node) -> list[tuple[int, Operation]]:
        """Return the answered operations that may come next: no open one ended before they started."""
        candidates: list[tuple[int, Operation]] = []
        first_end = _NEVER
        for place in range(node.base, len(self._answered)):
            operation = self._answered[place]
            if operation.start > first_end:
                break
            if not node.ordered >> (place - node.base) & 1:
                candidates.append((place, operation))
                first_end = min(first_end, _end(operation))
        return candidates

    def _moves(self, node: _Node) -> Iterator[tuple[Operation, _Node]]:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise GivenUp
        fitting: list[tuple[Operation, _Node]] = []
        blocked: list[Operation] = []
        candidates = self._candidates(node)
        for place, operation in candidates:
            state = self._after(operation, node.state)
            if state is None:
                blocked.append(operation)
            elif state == node.state and _observes(operation):
                yield operation, _ordered(node, place, state)
                return
            else:
                fitting.append((operation, _ordered(node, place, state)))
                if _observes(operation):  # its version may be that of an unknown write
                    blocked.append(operation)
        yield from fitting
        latest = min(_end(operation) for _, operation in candidates)
        yield from self._unknown_moves(node, latest, [write for write in blocked if not self._waits(write, node.state)])

    def _unknown_moves(self, node: _Node, latest: float, blocked: list[Operation]) -> Iterator[tuple[Operation, _Node]]:
        """Yield the unknown writes, started by `latest`, that a blocked operation or another of them may need."""
        if not blocked:
            return
        pending: dict[tuple[object, ...], tuple[int, Operation]] = {}
        for bit, write in enumerate(self._unknown):
            if write.start > latest:
                break
            if not node.used >> bit & 1:
                pending.setdefault(self._alike[bit], (bit, write))
        blocked += [write for _, write in pending.values() if self._after(write, node.state) is None]
        for bit, write in pending.values():
            state = self._after(write, node.state)
            if state is not None and any(self._after(other, state) is not None for other in blocked):
                yield write, node._replace(used=node.used | 1 << bit, state=state)

    def _waits(self, operation: Operation, state: KeyState) -> bool:
        """Return whether an answered write waits for others with lesser versions, and so for no unknown one."""
        if operation.kind is Action.GET or operation.outcome is not OperationOutcome.OK or operation.version is None:
            return False
        return not self._follows(version_of(operation.version), state.floor)

    def _after(self, operation: Operation, state: KeyState) -> KeyState | None:
        """Return the state after an operation with its answer; None if they do not fit."""
        match operation.outcome, operation.kind:
            case OperationOutcome.ABSENT, _:
                return state if state.value is None else None
            case OperationOutcome.REFUSED, _:
                return self._refused(operation, state)
            case _, Action.GET if operation.value is None:  # a list: the key is there
                return None if state.value is None else self._observed(state, operation.version)
            case _, Action.GET:
                return self._observed(state, operation.version) if operation.value == state.value else None
            case _:
                return self._written(operation, state)

    def _written(self, operation: Operation, state: KeyState) -> KeyState | None:
        present = state.value is not None
        if not _may_hold(operation, state) or operation.created is present:
            return None
        if operation.kind is Action.DELETE and not present:
            return None
        version = version_of(operation.version) if operation.version else None
        if version is not None and not self._follows(version, state.floor):
            return None
        return KeyState(
            operation.value if operation.kind is Action.PUT else None,
            version if operation.kind is Action.PUT else None,
            version or state.floor,
        )

    def _refused(self, operation: Operation, state: KeyState) -> KeyState | None:
        if not _may_fail(operation, state):
            return None
        if operation.version is None:
            return state
        return self._observed(state, operation.version) if state.value is not None else None

    def _observed(self, state: KeyState, version_text: str | None) -> KeyState | None:
        if version_text is None:
            return state
        version = version_of(version_text)
        if state.version is not None:
            return state if state.version == version else None
        return KeyState(state.value, version, version) if self._follows(version, state.floor) else None

    def _follows(self, version: Version, floor: Version) -> bool:
        """Return whether a write may have this version: it is greater, and no other write has one in between."""
        return version > floor and bisect_left(self._versions, version) == bisect_right(self._versions, floor)


@lru_cache(maxsize=1 << 16)
def version_of(text: str) -> Version:
    """Return a version as an ordered pair. Raises ValueError."""
    epoch, _, sequence = text.partition("-")
    try:
        return int(epoch), int(sequence)
    except ValueError:
        raise ValueError(f"{text!r} is not a version such as 3-1042") from None


def _observes(operation: Operation) -> bool:
    return operation.kind is Action.GET or operation.outcome in {OperationOutcome.REFUSED, OperationOutcome.ABSENT}


def _end(operation: Operation) -> float:
    return _NEVER if operation.end is None else operation.end


def _ordered(node: _Node, place: int, state: KeyState) -> _Node:
    base, ordered = node.base, node.ordered | 1 << (place - node.base)
    while ordered & 1:
        base, ordered = base + 1, ordered >> 1
    return _Node(base, ordered, node.used, state)


def _may_hold(operation: Operation, state: KeyState) -> bool:
    match, none_match = operation.if_match, operation.if_none_match
    if state.value is None:
        return match is None
    version = None if state.version is None else "{}-{}".format(*state.version)
    if match is not None and ANY not in match and version is not None and version not in match:
        return False
    return none_match is None or not (ANY in none_match or version in none_match)


def _may_fail(operation: Operation, state: KeyState) -> bool:
    match, none_match = operation.if_match, operation.if_none_match
    if state.value is None:
        return match is not None
    if match is not None and ANY not in match and (state.version is None or not _is_in(state.version, match)):
        return True
    return none_match is not None and (ANY in none_match or state.version is None or _is_in(state.version, none_match))


def _is_in(version: Version, texts: tuple[str, ...]) -> bool:
    return "{}-{}".format(*version) in texts
