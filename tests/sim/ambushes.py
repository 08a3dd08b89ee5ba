"""Ambushes: faults at critical moments, of one member (here) or of two at once (`tests.sim.duels`).

An ambush waits for the next operation of some kind of one member, and acts just before or just after its effect.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from hanas_core.members.roles import Role
from tests.sim.duels import Duel
from tests.sim.faults import Faults
from tests.sim.mount import Call
from tests.sim.places import COMMITS, COMPACTIONS, PLACES, Place
from tests.sim.processes import Overseer, Worker

_MOST_WAITING = 3
"""Maximum of waiting ambushes for one member; beyond it the oldest is cancelled."""

_MOST_DUELS = 3
"""Maximum of duels in preparation: most of them wait for an operation that never comes."""


class Ambushes:
    """Sets ambushes and carries them out."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._world = faults.world
        self._chance = faults.world.random
        self._duels = 0
        self._waiting: defaultdict[str, deque[Callable[[], None]]] = defaultdict(deque)

    def join(self) -> None:
        """Serve the faults of a run."""
        self._faults.add("ambush", self._anywhere, 15)
        self._faults.add("commit ambush", self._at_commit, 3)
        self._faults.add("compaction ambush", self._at_compaction, 1)
        self._faults.add("late read", self._late_read, 2)
        self._faults.add("duel", self._duel, 3)
        self._faults.add("late names", self._late_names, 1)

    def wait(
        self, member: Worker | Overseer, place: Place, moment: str, strike: Callable[[Call], bool], times: int = 1
    ) -> Callable[[], None]:
        """Act at an operation of a member, the ``times``-th of its kind; return a function that cancels this.

        ``strike`` returns whether to hold the operation until `Mount.release`, possibly before its effect.
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

    def _at_commit(self) -> None:
        self._ambush(self._faults.worker(0.9), self._chance.choice(COMMITS), errors=14)

    def _at_compaction(self) -> None:
        self._ambush(self._faults.worker(0.9), self._chance.choice(COMPACTIONS))

    def _late_read(self) -> None:
        """A main reads a value so slowly that its segment may be gone; a backup abandons a read, which continues."""
        worker = self._faults.worker()

        def strike(call: Call) -> bool:
            self._faults.note("late read", f"{call} of {worker.name}")
            seconds = (0.3, 1.5) if worker.role is Role.MAIN else (2.4, 3.2)
            self._faults.later(self._chance.uniform(*seconds), worker.mount.release)
            return True

        moment, times = self._chance.choice(("before", "after")), self._chance.choice((1, 2, 3))
        self.wait(worker, Place("read", "segments/"), moment, strike, times)

    def _ambush(self, member: Worker | Overseer, place: Place, errors: int = 4) -> None:
        """Cause a fault just before or after the effect of the next operation of some kind at one member.

        ``errors``: weight of an error, compared with a kill, which has 4.
        """
        chance = self._chance
        moment, times = chance.choice(("before", "after")), chance.choice((1, 1, 2, 3))
        whats = ("pause", "kill", "restart", "power cut", "crash", "hang", "error", "pause and crash", "hang and crash")
        what = chance.choices(whats, (5, 4, 2, 2, 4, 2, errors, 3, 3))[0]
        if what == "error":
            moment = "before"  # otherwise another operation would get the error

        def strike(call: Call) -> bool:
            self._faults.note("ambush", f"{moment} {call} of {member.name}: {what}")
            self._spring(member, what, call)
            return False

        waiting = self._waiting[member.name]
        if len(waiting) == _MOST_WAITING:
            waiting.popleft()()
        waiting.append(self.wait(member, place, moment, strike, times))

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
        """After a claim, no claim's name becomes durable at any member for a while; then the server crashes."""
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
        """Cause a takeover soon."""
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
        if self._duels < _MOST_DUELS:
            self._duels += 1
            Duel(self, self._faults, self._duel_over).begin()

    def _duel_over(self) -> None:
        self._duels -= 1
