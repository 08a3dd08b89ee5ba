"""Liveness: a member counts as alive while its presence counter is seen to increase, by one's own monotonic clock.

The result depends only on the presence blocks and the times at which they were read. A block that is there proves
nothing: whether a member that is seen for the first time lives is not known before its counter moves, or stands still
for too long. Time in which one could not look (this process was suspended, or its folder hung) does not count as
silence. A member that has left is not alive.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hanas_core.members.documents import Presence
from hanas_core.members.timing import Timing

SILENT_INTERVALS = 3
"""A member whose counter stands still for this many presence intervals counts as dead."""


class LifeSign(NamedTuple):
    """The liveness of the member that owns a slot."""

    presence: Presence | None
    """None: it has not shown itself yet."""
    alive: bool | None
    """None: not known yet."""
    silent: float
    """Seconds since its counter was seen to increase, or since the first look at it."""
    moved: bool
    """Whether the counter was seen to increase; if not, ``silent`` is a lower bound."""


UNSEEN = LifeSign(None, alive=False, silent=0.0, moved=False)


class _Pulse(NamedTuple):
    """The owner of one slot, its last presence block, and the time of its last change."""

    owner: str
    presence: Presence | None
    since: float
    moved: bool = False

    def next(self, owner: str, presence: Presence | None, now: float) -> "_Pulse":
        """Return the pulse after ``presence`` was read. None: no readable block."""
        if owner != self.owner:
            return _Pulse(owner, presence, now)
        if presence is None:
            return self
        if self.presence is None:
            return _Pulse(owner, presence, now)
        moved = (presence.incarnation, presence.counter) != (self.presence.incarnation, self.presence.counter)
        return _Pulse(owner, presence, now, moved=True) if moved else self._replace(presence=presence)


class Liveness:
    """The presence blocks of all slots, from look to look."""

    def __init__(self, timing: Timing) -> None:
        """Begin without any presence block."""
        self._pause = timing.presence_interval
        self._limit = SILENT_INTERVALS * timing.presence_interval
        self._pulses: dict[int, _Pulse] = {}
        self._looked_at: float | None = None

    def look(self, now: float, owners: Sequence[str], presences: Sequence[Presence | None]) -> tuple[LifeSign, ...]:
        """Return a life sign for each slot. ``now``: monotonic seconds; ``presences``: None: no readable block."""
        gap = 0.0 if self._looked_at is None else now - self._looked_at
        assert gap >= 0.0, "the monotonic clock never goes back"
        self._looked_at = now
        if gap > self._pause:
            self._pulses = {slot: pulse._replace(since=pulse.since + gap) for slot, pulse in self._pulses.items()}
        for slot, (owner, presence) in enumerate(zip(owners, presences, strict=True)):
            pulse = self._pulses.get(slot)
            self._pulses[slot] = _Pulse(owner, presence, now) if pulse is None else pulse.next(owner, presence, now)
        return tuple(self._life_sign(self._pulses[slot], now) for slot in range(len(owners)))

    def _life_sign(self, pulse: _Pulse, now: float) -> LifeSign:
        silent = now - pulse.since
        if pulse.presence is None or pulse.presence.left or silent > self._limit:
            return LifeSign(pulse.presence, alive=False, silent=silent, moved=pulse.moved)
        return LifeSign(pulse.presence, alive=True if pulse.moved else None, silent=silent, moved=pulse.moved)
