"""Duels: two members, each stopped at a critical moment, so that one acts between the steps of the other.

The first member is stopped at one place, a second one at another place, mostly of its takeover; then the first one
continues for a while, long enough to commit and to acknowledge, and the second one after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET
from hanas_core.members.roles import Role
from tests.sim.faults import Faults
from tests.sim.mount import Ambush, Call
from tests.sim.places import COMMITS, COMPACTIONS, TAKEOVERS, Place
from tests.sim.processes import Worker

if TYPE_CHECKING:
    from tests.sim.ambushes import Ambushes

_SEALS = (Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),)
_LAST_STEPS = (
    Place("link", "manifests/", role=Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "claims/", SEAL_OFFSET, Role.ELECT),
)
_CHECKS = (Place("read", "claims/", SEAL_OFFSET, Role.MAIN),)
_ROLLS = (Place("link", "claims/", role=Role.MAIN),)
_DUELS = (
    ((COMMITS, _SEALS), 6),  # the purpose of the seals
    ((_LAST_STEPS, _SEALS), 6),  # the purpose of the order of a takeover
    ((_CHECKS, COMMITS), 4),  # a late answer of a main that gets further probes meanwhile
    ((_ROLLS, COMMITS), 2),  # a claim that is lost
    ((COMMITS, COMMITS), 6),  # two members that take themselves for the main
    ((COMMITS, TAKEOVERS), 2),
    ((TAKEOVERS, TAKEOVERS), 2),
    ((COMPACTIONS, TAKEOVERS), 2),
)
_MOST_SECONDS = 3.0
"""Time limit of a duel's wait for each of the two, seconds."""


class Way(NamedTuple):
    """How a duel stops a member: at which place and moment, and as a whole or only in this operation."""

    place: Place
    moment: str
    pauses: bool


class Duel:
    """The first stops, the second stops, the first continues, the second continues."""

    def __init__(self, ambushes: Ambushes, faults: Faults, over: Callable[[], None]) -> None:
        self._ambushes = ambushes
        self._faults = faults
        self._chance = chance = faults.world.random
        self._over = over
        self._ended = False
        self._held: Ambush | None = None
        self._waiting: list[Callable[[], None]] = []
        self._stopped: list[Worker] = []
        ((first, second),) = chance.choices([places for places, _ in _DUELS], [weight for _, weight in _DUELS])
        self._first = Way(chance.choice(first), chance.choice(("before", "after")), chance.random() < 0.7)
        self._second = Way(chance.choice(second), chance.choice(("before", "before", "after")), chance.random() < 0.65)
        if second is _SEALS:
            self._second = self._second._replace(moment="before")  # little can happen after it
        self._late = first is _CHECKS
        """Whether only the answer is delayed: both go on serving."""
        if self._late:
            self._first = Way(first[0], "after", False)
        self._passes = self._late or (second is not _SEALS and chance.random() < 0.3)
        """Whether the second does not stop: its operation only starts the first again."""
        self._hears = chance.random() < 0.25
        self._reads = chance.random() < 0.65

    def begin(self) -> None:
        """Wait for the first."""
        self._wait(self._first, self._faults.workers, self._first_came)
        if self._first.place.role is Role.ELECT:
            self._ambushes.provoke()

    def _wait(self, way: Way, members: list[Worker], came: Callable[[Worker], None]) -> None:
        times = 1 if way.place in _SEALS else self._chance.choice((1, 1, 1, 2))

        def lie_in_wait(member: Worker) -> Callable[[], None]:
            def strike(call: Call) -> bool:
                self._call_off()
                passes = way is self._second and self._passes
                what = "passes" if passes else "pause" if way.pauses else "hold"
                self._faults.note("duel", f"{way.moment} {call} of {member.name}: {what}")
                if passes:
                    came(member)
                    return False
                if way.pauses:
                    member.pause()
                self._stopped.append(member)
                came(member)
                return way.moment == "before" or not way.pauses

            return self._ambushes.wait(member, way.place, way.moment, strike, times)

        self._waiting = waiting = [lie_in_wait(member) for member in members]
        self._faults.later(_MOST_SECONDS, lambda: self.end() if self._waiting is waiting else None)

    def _first_came(self, first: Worker) -> None:
        if not self._first.pauses:
            self._deafen(first, 3.0)
        if self._late:
            self._hold_all(first)
        self._wait(self._second, [other for other in self._faults.workers if other is not first], self._second_came)

    def _second_came(self, second: Worker) -> None:
        faults, chance = self._faults, self._chance
        first = self._stopped[0]
        if chance.random() < 0.15:
            faults.server_crash()
        if not self._hears:
            self._deafen(first, 1.5)
        if not self._reads:
            trouble = first.mount.trouble
            trouble.errors, trouble.only = 1.0, "read"
            faults.later(0.3, lambda: setattr(trouble, "errors", 0.0))
        wait = chance.choice((0.2, 0.4, 0.6) if self._late else (0.0, 0.0, 0.2, 0.5))
        faults.later(wait, lambda: self._go_on(first))
        faults.later(wait + chance.uniform(0.02, 0.6), lambda: self._last(second))

    def _hold_all(self, worker: Worker) -> None:
        """Hold the answers to all operations of this kind from now on, until the worker goes on."""

        def hold(call: Call, when: str) -> bool:
            return when == "after" and self._first.place.matches(call, worker.role)

        worker.mount.ambushes.append(hold)
        self._held = hold

    def _deafen(self, worker: Worker, seconds: float) -> None:
        """Keep it from newer claims for a while: it sees only its cache of names."""
        trouble = worker.mount.trouble
        trouble.hangs_until, trouble.only = self._faults.world.now + seconds, "refresh"

    def _last(self, second: Worker) -> None:
        faults, fate = self._faults, self._chance.random()
        if fate < 0.1:
            faults.server_crash()
        elif fate < 0.2:
            faults.kill(second)
        elif fate < 0.3:
            faults.restart(self._stopped[0])
        self.end()

    def _go_on(self, worker: Worker) -> None:
        if self._held is not None and self._held in worker.mount.ambushes:
            worker.mount.ambushes.remove(self._held)
        worker.resume()
        worker.mount.release()

    def _call_off(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call_off in waiting:
            call_off()

    def end(self) -> None:
        """Let all members continue."""
        if self._ended:
            return
        self._ended = True
        self._call_off()
        for worker in self._stopped:
            self._go_on(worker)
        self._over()
