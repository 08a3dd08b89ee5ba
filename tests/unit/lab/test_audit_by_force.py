"""The checker against brute force: small random histories, and every order of each of them tried out."""

import random
import time
from collections.abc import Iterator
from itertools import permutations

import msgspec

from hanas_lab.audit import judge
from hanas_lab.history import ANY, Action, Operation, OperationOutcome

OK = OperationOutcome.OK
UNTOLD = "?"
LOST = 0.2
"""Part of the writes whose answers are lost."""
HISTORIES = 3000
_Held = tuple[str, str | None] | None


def test_the_checker_agrees_with_brute_force() -> None:
    seen = {True: 0, False: 0}
    for seed in range(HISTORIES):
        operations = _history(random.Random(seed))
        expected = any(_explains(order) for order in _orders(operations))
        verdict = judge(operations)
        assert verdict.ok is expected, f"seed {seed}: brute force says {expected}\n" + "\n".join(map(str, operations))
        seen[expected] += 1
    assert min(seen.values()) > HISTORIES // 10, f"the histories are too much alike: {seen}"


def test_a_long_history_takes_seconds() -> None:
    operations = list(_run(random.Random(1), operations=20_000, keys=20, clients=16))
    started = time.process_time()
    verdict = judge(operations)
    assert verdict.ok, str(verdict)
    assert time.process_time() - started < 20


def _history(choice: random.Random) -> list[Operation]:
    """Up to six operations of a correct store, of which one answer may then be changed."""
    operations = list(_run(choice, operations=choice.randint(2, 6), keys=1, clients=3, values=choice.choice((2, 99))))
    if choice.random() < 0.6:
        place = choice.randrange(len(operations))
        operations[place] = _spoiled(choice, operations[place])
    return operations


def _spoiled(choice: random.Random, operation: Operation) -> Operation:
    replace = msgspec.structs.replace
    if operation.kind is Action.GET:
        if choice.random() < 0.5:
            return replace(operation, value=None, version=None, outcome=OperationOutcome.ABSENT)
        return replace(operation, value=f"v{choice.randint(0, 4)}", version=f"1-{choice.randint(1, 4)}", outcome=OK)
    if operation.outcome is OperationOutcome.OK and choice.random() < 0.5:
        return replace(operation, created=choice.choice((True, False, None)))
    return replace(
        operation, outcome=choice.choice((OperationOutcome.OK, OperationOutcome.UNKNOWN)), version=None, created=None
    )


def _run(choice: random.Random, operations: int, keys: int, clients: int, values: int = 1 << 60) -> Iterator[Operation]:
    """Play clients against one correct store. Some answers are lost; some of those writes are not done."""
    free = [0.0] * clients
    store: dict[str, _Held] = {}
    sequence, instant = 0, 0.0
    for number in range(operations):
        client = min(range(clients), key=free.__getitem__)
        start = free[client] + choice.random()
        instant = max(instant, start)
        end = instant + choice.random()
        key = f"k{choice.randrange(keys)}"
        held = store.get(key)
        kind = choice.choice((Action.PUT, Action.PUT, Action.GET, Action.DELETE))
        lost = kind is not Action.GET and choice.random() < LOST
        done = not lost or choice.random() < 0.5
        if_match, if_none_match = _conditions(choice, held) if kind is not Action.GET else (None, None)
        operation = Operation(
            start=start,
            client=f"c{client}",
            kind=kind,
            key=key,
            value=f"v{number % values}" if kind is Action.PUT else None,
            outcome=OperationOutcome.UNKNOWN,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        if done:
            sequence += 1
            after, answered = _answered(operation, held, f"1-{sequence}")
            store[key] = after
            if not lost:
                operation = answered
        free[client] = end
        yield msgspec.structs.replace(operation, end=None if lost else end)


def _conditions(choice: random.Random, held: _Held) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    kind = choice.random()
    if kind < 0.15:
        return None, (ANY,)
    if kind < 0.3:
        return ((held[1] if held and held[1] and choice.random() < 0.7 else "1-1"),), None
    return None, None


def _answered(operation: Operation, held: _Held, version: str) -> tuple[_Held, Operation]:
    """What a correct store holds after an operation, and the operation with its answer."""
    replace = msgspec.structs.replace
    if operation.kind is Action.GET:
        if held is None:
            return held, replace(operation, outcome=OperationOutcome.ABSENT)
        return held, replace(operation, outcome=OK, value=held[0], version=held[1])
    present = None if held is None else held[1]
    if not _holds(operation, present):
        return held, replace(operation, outcome=OperationOutcome.REFUSED, version=present)
    if operation.kind is Action.DELETE:
        if held is None:
            return held, replace(operation, outcome=OperationOutcome.ABSENT)
        return None, replace(operation, outcome=OK)
    assert operation.value is not None
    return (operation.value, version), replace(operation, outcome=OK, version=version, created=held is None)


def _holds(operation: Operation, present: str | None) -> bool:
    if operation.if_match is not None and (present is None or present not in operation.if_match):
        return False
    return operation.if_none_match is None or present is None


def _orders(operations: list[Operation]) -> Iterator[tuple[Operation, ...]]:
    """Every order of the answered operations and of some of the unknown ones that respects their times."""
    unknown = [operation for operation in operations if operation.outcome is OperationOutcome.UNKNOWN]
    known = [operation for operation in operations if operation.outcome is not OperationOutcome.UNKNOWN]
    for chosen in range(1 << len(unknown)):
        happened = known + [write for bit, write in enumerate(unknown) if chosen >> bit & 1]
        for order in permutations(happened):
            if all(
                later.end is None or earlier.start <= later.end
                for place, earlier in enumerate(order)
                for later in order[place + 1 :]
            ):
                yield order


def _explains(order: tuple[Operation, ...]) -> bool:
    """Whether every answer is right in this order, for some versions of the writes whose versions nobody was told."""
    held: str | None = None
    version = UNTOLD
    floor = 0
    for operation in order:
        told = None if operation.version is None else int(operation.version.partition("-")[2])
        present = None if held is None else version
        writes = operation.outcome in {OK, OperationOutcome.UNKNOWN} and operation.kind is not Action.GET
        observes = operation.outcome is OperationOutcome.REFUSED or (
            operation.outcome is OK and operation.kind is Action.GET
        )
        if observes and told is not None and present == UNTOLD:
            if told <= floor:
                return False
            present = version = f"1-{told}"
            floor = told
        if writes:
            may_hold = _holds(operation, present) or (present == UNTOLD and not operation.if_none_match)
            right = may_hold and operation.created is not (held is not None)
            right &= operation.kind is Action.PUT or held is not None
            right &= told is None or told > floor
            held, version = (
                (operation.value, operation.version or UNTOLD) if operation.kind is Action.PUT else (None, "")
            )
            floor = told or floor
        elif operation.outcome is OperationOutcome.ABSENT:
            right = held is None
        elif operation.kind is Action.GET:
            right = held is not None and held == operation.value and present == (operation.version or present)
        else:
            right = present == UNTOLD or not _holds(operation, present)
            right &= told is None or present == operation.version
        if not right:
            return False
    return True
