"""The judgement on locks that are held by leases: none is held by two, and none is lost before its time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a client believed that it holds a lock, by the clock of this machine, seconds."""

    client: str
    lock: str
    began: float
    """When it was told."""
    until: float
    """When it gave up, or its lease may have expired: its TTL after the last request that was granted."""


def judge_locks(holders: Iterable[Held]) -> list[str]:
    """Return the locks that were held by two at a time."""
    by_lock: defaultdict[str, list[Held]] = defaultdict(list)
    for held in holders:
        by_lock[held.lock].append(held)
    violations = []
    for times in by_lock.values():
        last: Held | None = None
        for held in sorted(times, key=lambda held: held.began):
            if last is not None and held.began < last.until:
                violations.append(f"{held.lock} was held by two: {last}, {held}")
            if last is None or held.until > last.until:
                last = held
    return violations
