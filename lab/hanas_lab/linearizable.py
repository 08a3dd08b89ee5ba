"""Whether one key's history is linearizable: is there one order of its operations that explains every answer?

The search is that of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993) with Lowe's memory of where it
has been (*Testing for Linearizability*, 2017), for one key at a time, as Porcupine does it. What is added:

- Versions order the writes: each write has a greater one than those before it, so a write whose answer named its
  version has one possible place among the others.
- An observation that fits now and tells nothing new is taken at once: putting it later could not help.
- A write with an unknown outcome is taken only when something that is answered cannot be explained without it; and of
  several that nobody can tell apart, the first.
- A place that was reached before with fewer of the unknown writes used up is not searched again.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hanas_lab.history import ANY, Kind, Operation, Outcome

MOST_STEPS = 5_000_000
"""After so many steps in one key's history the search is given up."""
_TAIL = 6
"""How many of the operations that could be ordered a counterexample shows."""
_NEVER = float("inf")

Version = tuple[int, int]
_NONE: Version = (0, 0)


class State(NamedTuple):
    """What a key holds. ``version`` None: it came from a write whose version nobody has been told yet."""

    value: str | None = None
    version: Version | None = None
    floor: Version = _NONE
    """The greatest version seen so far: later writes have greater ones."""

    def __str__(self) -> str:
        """In words."""
        if self.value is None:
            return "no such key"
        return f"{self.value} (version {'{}-{}'.format(*self.version) if self.version else 'not known'})"


@dataclass(frozen=True)
class Counterexample:
    """Why no order explains a key's answers: how far the best one came, and what did not fit there."""

    ordered: tuple[Operation, ...]
    """The last operations of the longest order that explains its answers."""
    state: State
    """What the key holds after them."""
    blocked: tuple[Operation, ...]
    """What had to come next, and does not fit; that which was answered first comes first."""


class GivenUp(Exception):
    """The search took more than `MOST_STEPS` steps: neither yes nor no."""


def counterexample(operations: Sequence[Operation]) -> Counterexample | None:
    """Return why the history of one key, initially absent, is not linearizable; None if it is.

    Operations that were not done, and reads without an answer, must have been left out. Raises GivenUp, and
    ValueError for a version that is none.
    """
    return _out_of_order(operations) or _Search(operations).run()


def _out_of_order(operations: Sequence[Operation]) -> Counterexample | None:
    """Find an answer that names a lesser version than an answer which came before it was asked for.

    The search would find it too, but only after it has tried everything else.
    """
    telling = [operation for operation in operations if operation.version and operation.outcome is not Outcome.UNKNOWN]
    by_end = [(_end(operation), place, operation) for place, operation in enumerate(telling)]
    heapq.heapify(by_end)
    newest: Operation | None = None
    for operation in sorted(telling, key=lambda operation: operation.start):
        while by_end[0][0] < operation.start:
            ended = heapq.heappop(by_end)[2]
            if newest is None or _version(ended) > _version(newest):
                newest = ended
        if newest is not None and _version(operation) < _version(newest):
            state = State(newest.value, _version(newest), _version(newest))
            return Counterexample((newest,), state, (operation,))
    return None


def _version(operation: Operation) -> Version:
    return version_of(operation.version or "")


class _Node(NamedTuple):
    """Where a search is: all answered operations before ``base`` are ordered, and those marked from there on."""

    base: int
    ordered: int
    used: int
    """The unknown writes that have had their effect, as bits."""
    state: State


class _Search:
    def __init__(self, operations: Sequence[Operation]) -> None:
        known = [operation for operation in operations if operation.outcome is not Outcome.UNKNOWN]
        self._known = sorted(known, key=lambda operation: operation.start)
        self._unknown = sorted(
            (operation for operation in operations if operation.outcome is Outcome.UNKNOWN),
            key=lambda operation: operation.start,
        )
        found = {operation.value for operation in known if operation.kind is Kind.GET}
        self._alike = [
            (write.kind, write.value if write.value in found else None, write.if_match, write.if_none_match)
            for write in self._unknown
        ]
        self._versions = sorted(
            version_of(operation.version)
            for operation in self._known
            if operation.version and operation.kind is not Kind.GET and operation.outcome is Outcome.OK
        )
        self._steps = 0
        self._seen: dict[tuple[int, int, State], list[int]] = {}

    def run(self) -> Counterexample | None:
        best = start = _Node(0, 0, 0, State())
        path: list[tuple[Iterator[tuple[Operation, _Node]], Operation | None]] = [(self._moves(start), None)]
        tail: tuple[Operation, ...] = ()
        most = done = 0
        if not self._known:
            return None
        while path:
            moves, last = path[-1]
            for operation, node in moves:
                if not self._is_new(node):
                    continue
                if node.base == len(self._known):
                    return None
                path.append((self._moves(node), operation))
                done += operation.outcome is not Outcome.UNKNOWN
                if done > most:
                    best, most = node, done
                    tail = tuple(step for _, step in path[-_TAIL:] if step is not None)
                break
            else:
                path.pop()
                done -= last is not None and last.outcome is not Outcome.UNKNOWN
        blocked = sorted((operation for _, operation in self._candidates(best)), key=_end)
        return Counterexample(tail, best.state, tuple(blocked))

    def _is_new(self, node: _Node) -> bool:
        """Note a node, unless it was reached before with no other unknown writes used than now."""
        before = self._seen.setdefault((node.base, node.ordered, node.state), [])
        if any(used & ~node.used == 0 for used in before):
            return False
        before.append(node.used)
        return True

    def _candidates(self, node: _Node) -> list[tuple[int, Operation]]:
        """The answered operations that may come next: none that waits ended before they began."""
        found: list[tuple[int, Operation]] = []
        first_end = _NEVER
        for place in range(node.base, len(self._known)):
            operation = self._known[place]
            if operation.start > first_end:
                break
            if not node.ordered >> (place - node.base) & 1:
                found.append((place, operation))
                first_end = min(first_end, _end(operation))
        return found

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
                if _observes(operation):  # that tells a version, which might be that of an unknown write
                    blocked.append(operation)
        yield from fitting
        latest = min(_end(operation) for _, operation in candidates)
        yield from self._unknown_moves(node, latest, [write for write in blocked if not self._waits(write, node.state)])

    def _unknown_moves(self, node: _Node, latest: float, blocked: list[Operation]) -> Iterator[tuple[Operation, _Node]]:
        """The unknown writes, begun by ``latest``, that something blocked or another one of them may need."""
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

    def _waits(self, operation: Operation, state: State) -> bool:
        """Whether an answered write waits for others with lesser versions, and so for no unknown one."""
        if operation.kind is Kind.GET or operation.outcome is not Outcome.OK or operation.version is None:
            return False
        return not self._follows(version_of(operation.version), state.floor)

    def _after(self, operation: Operation, state: State) -> State | None:
        """Return the state after an operation that is answered as it was; None if that cannot be."""
        match operation.outcome, operation.kind:
            case Outcome.ABSENT, _:
                return state if state.value is None else None
            case Outcome.REFUSED, _:
                return self._refused(operation, state)
            case _, Kind.GET:
                return self._observed(state, operation.version) if operation.value == state.value else None
            case _:
                return self._written(operation, state)

    def _written(self, operation: Operation, state: State) -> State | None:
        present = state.value is not None
        if not _may_hold(operation, state) or operation.created is present:
            return None
        if operation.kind is Kind.DELETE and not present:
            return None
        version = version_of(operation.version) if operation.version else None
        if version is not None and not self._follows(version, state.floor):
            return None
        return State(
            operation.value if operation.kind is Kind.PUT else None,
            version if operation.kind is Kind.PUT else None,
            version or state.floor,
        )

    def _refused(self, operation: Operation, state: State) -> State | None:
        if not _may_fail(operation, state):
            return None
        if operation.version is None:
            return state
        return self._observed(state, operation.version) if state.value is not None else None

    def _observed(self, state: State, version_text: str | None) -> State | None:
        if version_text is None:
            return state
        version = version_of(version_text)
        if state.version is not None:
            return state if state.version == version else None
        return State(state.value, version, version) if self._follows(version, state.floor) else None

    def _follows(self, version: Version, floor: Version) -> bool:
        """Whether a write may have this version: it is greater, and no write with a version between was left out."""
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
    return operation.kind is Kind.GET or operation.outcome in {Outcome.REFUSED, Outcome.ABSENT}


def _end(operation: Operation) -> float:
    return _NEVER if operation.end is None else operation.end


def _ordered(node: _Node, place: int, state: State) -> _Node:
    base, ordered = node.base, node.ordered | 1 << (place - node.base)
    while ordered & 1:
        base, ordered = base + 1, ordered >> 1
    return _Node(base, ordered, node.used, state)


def _may_hold(operation: Operation, state: State) -> bool:
    wanted, unwanted = operation.if_match, operation.if_none_match
    if state.value is None:
        return wanted is None
    named = None if state.version is None else "{}-{}".format(*state.version)
    if wanted is not None and ANY not in wanted and named is not None and named not in wanted:
        return False
    return unwanted is None or not (ANY in unwanted or named in unwanted)


def _may_fail(operation: Operation, state: State) -> bool:
    wanted, unwanted = operation.if_match, operation.if_none_match
    if state.value is None:
        return wanted is not None
    if wanted is not None and ANY not in wanted and (state.version is None or not _is_in(state.version, wanted)):
        return True
    return unwanted is not None and (ANY in unwanted or state.version is None or _is_in(state.version, unwanted))


def _is_in(version: Version, texts: tuple[str, ...]) -> bool:
    return "{}-{}".format(*version) in texts
