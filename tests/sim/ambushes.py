"""Ambushes: what happens at the moments that matter, to one member or to two at once.

An *ambush* waits for the next operation of some kind of one member, and strikes just before or just after its effect.
A *duel* needs two: the first member is stopped at one place, a second one at another place, of its takeover mostly;
then the first one goes on for a while, long enough to commit and to acknowledge, and the second one after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hanas_core.claims import POINTER_OFFSET, SEAL_OFFSET
from hanas_core.member import Role
from tests.sim.faults import Faults
from tests.sim.mount import Call
from tests.sim.processes import Overseer, Worker


class Place(NamedTuple):
    """A kind of operation at which an ambush may lie in wait."""

    kind: str
    name: str
    offset: int | None = None
    role: Role | None = None
    """Only of a member that is this."""

    def matches(self, call: Call, role: Role | None) -> bool:
        return (
            call.kind == self.kind
            and call.name.startswith(self.name)
            and (self.offset is None or call.offset == self.offset)
            and (self.role is None or self.role is role)
        )


PLACES = (
    Place("link", "claims/"),
    Place("sync_directory", "claims"),
    Place("read", "claims/"),
    Place("read", "claims/"),
    Place("read", "claims/"),
    Place("write_block", "claims/"),
    Place("write_block", "claims/"),
    Place("write", "segments/"),
    Place("sync", "segments/"),
    Place("sync", "segments/"),
    Place("link", "segments/"),
    Place("sync_directory", "segments"),
    Place("link", "manifests/"),
    Place("sync_directory", "manifests"),
    Place("read", "segments/"),
    Place("read", "manifests/"),
    Place("write_block", "mailboxes/"),
    Place("read", "mailboxes/"),
)
COMMITS = (
    Place("write", "segments/", role=Role.MAIN),
    Place("sync", "segments/", role=Role.MAIN),
    Place("sync", "segments/", role=Role.MAIN),
    Place("read", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("read", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("sync_directory", "segments", role=Role.MAIN),
)
"""What a main does for each batch, and when it rolls."""
TAKEOVERS = (
    Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),
    Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),
    Place("read", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "segments/", role=Role.ELECT),
    Place("sync", "segments/", role=Role.ELECT),
    Place("link", "segments/", role=Role.ELECT),
    Place("link", "manifests/", role=Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "claims/", SEAL_OFFSET, Role.ELECT),
)
"""The steps of a takeover."""
COMPACTIONS = (
    Place("link", "claims/", role=Role.MAIN),
    Place("sync_directory", "claims", role=Role.MAIN),
    Place("link", "segments/", role=Role.MAIN),
    Place("sync_directory", "segments", role=Role.MAIN),
    Place("write_block", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("link", "manifests/", role=Role.MAIN),
    Place("write_block", "claims/", POINTER_OFFSET, Role.MAIN),
    Place("remove", "segments/", role=Role.MAIN),
    Place("remove", "segments/", role=Role.MAIN),
)
"""What a main does for a compaction and for the new epoch behind it."""
_SEALS = (Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),)
_LAST_STEPS = (
    Place("link", "manifests/", role=Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "claims/", SEAL_OFFSET, Role.ELECT),
)
_DUELS = (
    ((COMMITS, _SEALS), 4),  # what the seals are for
    ((_LAST_STEPS, _SEALS), 4),  # what the order of a takeover is for
    ((COMMITS, COMMITS), 2),  # two who believe that they are the main
    ((COMMITS, TAKEOVERS), 2),
    ((TAKEOVERS, TAKEOVERS), 2),
    ((COMPACTIONS, TAKEOVERS), 2),
)
_MOST_SECONDS = 3.0
"""So long a duel waits for the one and for the other."""


class Way(NamedTuple):
    """How a member of a duel is stopped: where, at which moment, and as a whole or only in this operation."""

    place: Place
    moment: str
    pauses: bool


class Ambushes:
    """Lies in wait."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._world = faults.world
        self._chance = faults.world.random
        self._duelling = False

    def join(self) -> None:
        """Be a part of the faults."""
        self._faults.add("ambush", self._anywhere, 15)
        self._faults.add("compaction ambush", self._at_compaction, 1)
        self._faults.add("duel", self._duel, 3)
        self._faults.add("late names", self._late_names, 1)

    def wait(
        self, member: Worker | Overseer, place: Place, moment: str, strike: Callable[[Call], bool], times: int = 1
    ) -> Callable[[], None]:
        """Strike at an operation of a member, the ``times``-th of its kind; return what calls it off.

        ``strike`` returns whether the operation is held until `Mount.release`, which it can be before its effect.
        """
        left, ambushes = times, member.mount.ambushes

        def lie_in_wait(call: Call, when: str) -> bool:
            nonlocal left
            if when != moment or not place.matches(call, member.role):
                return False
            left -= 1
            if left:
                return False
            call_off()
            return strike(call)

        def call_off() -> None:
            if lie_in_wait in ambushes:
                ambushes.remove(lie_in_wait)

        ambushes.append(lie_in_wait)
        return call_off

    # ------------------------------------------------------------------ one member

    def _anywhere(self) -> None:
        member: Worker | Overseer = self._faults.worker()
        if self._faults.overseers and self._chance.random() < 0.15:
            member = self._chance.choice(self._faults.overseers)
        self._ambush(member, self._chance.choice(PLACES))

    def _at_compaction(self) -> None:
        self._ambush(self._faults.worker(0.9), self._chance.choice(COMPACTIONS))

    def _ambush(self, member: Worker | Overseer, place: Place) -> None:
        """At the next operation of some kind, at one member, something happens just before or after its effect."""
        chance, mount = self._chance, member.mount
        moment, times = chance.choice(("before", "after")), chance.choice((1, 1, 2, 3))
        whats = ("pause", "kill", "restart", "power cut", "crash", "hang", "error", "pause and crash", "hang and crash")
        what = chance.choices(whats, (5, 4, 2, 2, 4, 2, 4, 3, 3))[0]

        def strike(call: Call) -> bool:
            self._faults.note("ambush", f"{moment} {call} of {member.name}: {what}")
            self._spring(member, what, call)
            return False

        mount.ambushes.clear()
        self.wait(member, place, moment, strike, times)

    def _spring(self, member: Worker | Overseer, what: str, call: Call) -> None:
        faults, trouble = self._faults, member.mount.trouble
        if isinstance(member, Overseer):
            if what not in {"crash", "hang", "error", "hang and crash"}:
                faults.kill_overseer(member)
        elif "pause" in what:
            faults.pause(member, 0.3, 2.0, 2.0)
        elif what == "restart":
            faults.restart(member)
        elif what in {"kill", "power cut"}:
            faults.kill(member, machine=what == "power cut")
        if "hang" in what:  # this call, and others of its kind
            trouble.hangs_until, trouble.only = self._world.now + faults.duration(0.3, 1.5, 3.0), call.kind
        if what == "error":
            trouble.fails_once = True
        if "crash" in what:
            faults.later(self._chance.choice((0.0, 0.0, 0.3, 0.3, 0.6)), faults.server_crash)

    # ------------------------------------------------------------------ names

    def _late_names(self) -> None:
        """Somebody claims, and for a while no claim's name becomes durable, nowhere; then the server crashes."""
        faults, waiting = self._faults, list[Callable[[], None]]()
        members: list[Worker | Overseer] = [*faults.workers, *faults.overseers]
        fails = self._chance.random() < 0.5

        def strike(call: Call) -> bool:
            for call_off in waiting:
                call_off()
            faults.note("late names", f"from {call} on")
            until = self._chance.uniform(0.2, 0.9)
            for member in members:
                trouble = member.mount.trouble
                trouble.only = "sync_directory"
                if fails:
                    trouble.errors = 1.0
                    faults.later(until, lambda trouble=trouble: setattr(trouble, "errors", 0.0))  # type: ignore[misc]
                else:
                    trouble.hangs_until = self._world.now + until
            faults.later(until - 0.01, faults.server_crash)
            return False

        waiting += [self.wait(member, Place("link", "claims/"), "after", strike) for member in members]
        self.provoke()

    # ------------------------------------------------------------------ two members

    def provoke(self) -> None:
        """Let there be a takeover soon."""
        faults = self._faults
        mains = [worker for worker in faults.workers if worker.role is Role.MAIN]
        if not mains:
            return
        what = self._chance.choice(("kill", "pause", "restart"))
        if what == "kill":
            faults.kill(mains[0])
        elif what == "pause":
            faults.pause(mains[0], 1.5)
        else:
            faults.restart(mains[0])

    def _duel(self) -> None:
        if self._duelling:
            return
        self._duelling = True
        Duel(self, self._faults, self._duel_over).begin()

    def _duel_over(self) -> None:
        self._duelling = False


class Duel:
    """The first is stopped, the second is stopped, the first goes on, the second goes on."""

    def __init__(self, ambushes: Ambushes, faults: Faults, over: Callable[[], None]) -> None:
        self._ambushes = ambushes
        self._faults = faults
        self._chance = chance = faults.world.random
        self._over = over
        self._ended = False
        self._waiting: list[Callable[[], None]] = []
        self._stopped: list[Worker] = []
        ((first, second),) = chance.choices([places for places, _ in _DUELS], [weight for _, weight in _DUELS])
        self._first = Way(chance.choice(first), chance.choice(("before", "after")), chance.random() < 0.7)
        self._second = Way(chance.choice(second), chance.choice(("before", "before", "after")), chance.random() < 0.65)
        self._hears = chance.random() < 0.25
        self._reads = chance.random() < 0.8

    def begin(self) -> None:
        """Wait for the first."""
        self._wait(self._first, self._faults.workers, self._first_came)
        if self._first.place.role is Role.ELECT:
            self._ambushes.provoke()

    def _wait(self, way: Way, members: list[Worker], came: Callable[[Worker], None]) -> None:
        times = self._chance.choice((1, 1, 1, 2))

        def lie_in_wait(member: Worker) -> Callable[[], None]:
            def strike(call: Call) -> bool:
                self._call_off()
                self._faults.note("duel", f"{way.moment} {call} of {member.name}: {'pause' if way.pauses else 'hold'}")
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
        if not self._second.pauses:
            self._go_on(second)
        faults.later(chance.choice((0.0, 0.0, 0.2, 0.5)), lambda: self._go_on(first))
        faults.later(chance.uniform(0.02, 0.8), lambda: self._last(second))

    def _deafen(self, worker: Worker, seconds: float) -> None:
        """It does not hear of newer claims for a while, since it cannot look beyond its cache of names."""
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

    @staticmethod
    def _go_on(worker: Worker) -> None:
        worker.resume()
        worker.mount.release()

    def _call_off(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call_off in waiting:
            call_off()

    def end(self) -> None:
        """Let everybody go on."""
        if self._ended:
            return
        self._ended = True
        self._call_off()
        for worker in self._stopped:
            self._go_on(worker)
        self._over()
