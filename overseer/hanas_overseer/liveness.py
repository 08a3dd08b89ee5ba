"""Who lives: a member whose presence counter moves, on this overseer's monotonic clock alone.

A pure function of what was seen and when. A present block counts as alive until it had the time to move, and a
pause in which this overseer itself could not look (it slept, or its folder hung) is nobody's silence. Who says that it
has left is not alive, and not missed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hanas_core.members.documents import Presence
from hanas_core.members.timing import Timing

SILENT_INTERVALS = 3
"""A member that is silent for so many presence intervals counts as gone."""


class Sighting(NamedTuple):
    """What is known of one member. ``silent``: seconds since its counter moved, None if it never showed itself."""

    presence: Presence | None
    alive: bool
    silent: float | None
    moved: bool
    """This overseer saw the counter move; if not, the member may have been silent for longer than is known."""


UNSEEN = Sighting(None, alive=False, silent=None, moved=False)


class _Pulse:
    """The last block of one slot, and since when it stands still."""

    def __init__(self, presence: Presence, now: float) -> None:
        self.presence = presence
        self.since = now
        self.moved = False

    def look(self, presence: Presence, now: float) -> None:
        before = self.presence
        if (presence.incarnation, presence.counter) != (before.incarnation, before.counter):
            self.since, self.moved = now, True
        self.presence = presence


class Liveness:
    """Follows the presence blocks of all slots from look to look."""

    def __init__(self, timing: Timing) -> None:
        """Know nobody yet."""
        self._pause = timing.presence_interval
        self._limit = SILENT_INTERVALS * timing.presence_interval
        self._pulses: dict[int, _Pulse] = {}
        self._looked_at: float | None = None

    def look(self, now: float, presences: Sequence[Presence | None]) -> tuple[Sighting, ...]:
        """Return the sightings by slot. ``now``: monotonic seconds; None: a block that says nothing now."""
        gap = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        if gap > self._pause:
            for pulse in self._pulses.values():
                pulse.since += gap
        for slot, presence in enumerate(presences):
            if presence is None:
                continue
            if slot in self._pulses:
                self._pulses[slot].look(presence, now)
            else:
                self._pulses[slot] = _Pulse(presence, now)
        return tuple(self._sighting(slot, now) for slot in range(len(presences)))

    def _sighting(self, slot: int, now: float) -> Sighting:
        pulse = self._pulses.get(slot)
        if pulse is None:
            return UNSEEN
        silent = now - pulse.since
        alive = silent <= self._limit and not pulse.presence.left
        return Sighting(pulse.presence, alive, silent, pulse.moved)
