"""Liveness: a member counts as alive while its presence counter increases, by this overseer's monotonic clock.

The result depends only on the presence blocks and the times at which they were read. A member that this overseer sees
for the first time counts as alive until its counter should have increased. Time in which this overseer could not look
(it was suspended, or its folder hung) does not count as silence. A member that has left is not alive.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hanas_core.members.documents import Presence
from hanas_core.members.timing import Timing

SILENT_INTERVALS = 3
"""A member whose counter stands still for this many presence intervals counts as dead."""


class LifeSign(NamedTuple):
    """The liveness of one member. ``silent``: seconds since its counter increased, None without a presence block."""

    presence: Presence | None
    alive: bool
    silent: float | None
    moved: bool
    """Whether this overseer saw the counter increase; if not, ``silent`` is a lower bound."""


UNSEEN = LifeSign(None, alive=False, silent=None, moved=False)


class _Pulse(NamedTuple):
    """The last presence block of one slot, and the time of its last change."""

    presence: Presence
    since: float
    moved: bool = False

    def next(self, presence: Presence, now: float) -> "_Pulse":
        """Return the pulse after ``presence`` was read."""
        if (presence.incarnation, presence.counter) != (self.presence.incarnation, self.presence.counter):
            return _Pulse(presence, now, moved=True)
        return self._replace(presence=presence)


class Liveness:
    """The presence blocks of all slots, from look to look."""

    def __init__(self, timing: Timing) -> None:
        """Begin without any presence block."""
        self._pause = timing.presence_interval
        self._limit = SILENT_INTERVALS * timing.presence_interval
        self._pulses: dict[int, _Pulse] = {}
        self._looked_at: float | None = None

    def look(self, now: float, presences: Sequence[Presence | None]) -> tuple[LifeSign, ...]:
        """Return a life sign for each slot. ``now``: monotonic seconds; None: no readable block."""
        gap = 0.0 if self._looked_at is None else now - self._looked_at
        assert gap >= 0.0, "the monotonic clock never goes back"
        self._looked_at = now
        if gap > self._pause:
            self._pulses = {slot: pulse._replace(since=pulse.since + gap) for slot, pulse in self._pulses.items()}
        for slot, presence in enumerate(presences):
            if presence is not None:
                pulse = self._pulses.get(slot)
                self._pulses[slot] = _Pulse(presence, now) if pulse is None else pulse.next(presence, now)
        return tuple(self._life_sign(slot, now) for slot in range(len(presences)))

    def _life_sign(self, slot: int, now: float) -> LifeSign:
        pulse = self._pulses.get(slot)
        if pulse is None:
            return UNSEEN
        silent = now - pulse.since
        alive = silent <= self._limit and not pulse.presence.left
        return LifeSign(pulse.presence, alive, silent, pulse.moved)
