"""What goes wrong in a run: faults that come and go, and ambushes at the moments that matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from hanas_core import names
from hanas_core.claims import POINTER_OFFSET
from hanas_core.folder import BLOCK_BYTES
from tests.sim.disk import Disk, Inode
from tests.sim.mount import Call, Mount
from tests.sim.network import Network
from tests.sim.processes import Overseer, Worker
from tests.sim.world import World

_ONLY = ("", "", "", "read", "read", "sync", "write", "write_block", "link", "open")
"""Which operations an error or a hang concerns: all, or one kind."""
POINTER_PAGE = POINTER_OFFSET // BLOCK_BYTES


class Place(NamedTuple):
    """A kind of operation at which an ambush may lie in wait."""

    kind: str
    name: str

    def matches(self, call: Call) -> bool:
        return call.kind == self.kind and call.name.startswith(self.name)


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


class Faults:
    """Makes things go wrong until it is told to stop, and then makes everything right again."""

    def __init__(
        self,
        world: World,
        disk: Disk,
        network: Network,
        workers: list[Worker],
        overseers: list[Overseer],
        mounts: list[Mount],
        *,
        foreign: Disk | None,
        rots: bool,
    ) -> None:
        """``foreign``: another cluster's volume, to be mounted by mistake; ``rots``: durable bytes may be spoilt."""
        self.world = world
        self.disk = disk
        self.network = network
        self.workers = workers
        self.overseers = overseers
        self.mounts = mounts
        self.foreign = foreign
        self.rots = rots
        self.counts: Counter[str] = Counter()
        self._over = False
        self._kinds: list[tuple[Callable[[], None], float]] = [
            (self._kill, 3),
            (self._power_cut, 2),
            (self._pause, 4),
            (self._stop, 1.5),
            (self._cut_link, 3),
            (self._bad_network, 1),
            (self._overseer_down, 1.5),
            (self._hang, 2),
            (self._hang_all, 0.7),
            (self._errors, 2.5),
            (self._read_only, 0.5),
            (self._full, 0.7),
            (self._slow, 1),
            (self._server_crash, 3),
            (self._ambush, 15),
        ]
        if self.foreign is not None:
            self._kinds.append((self._wrong_volume, 3))
        if self.rots:
            self._kinds.append((self._rot, 3))

    def begin(self, mean_seconds: float) -> None:
        """Let one fault follow the other, ``mean_seconds`` apart; each run has its own mixture of them."""
        chance = self.world.random
        self._weights = [weight * chance.choice((0.0, 0.5, 1.0, 1.0, 3.0)) + 0.01 for _, weight in self._kinds]

        def next_one() -> None:
            if self._over:
                return
            (do,) = chance.choices([do for do, _ in self._kinds], self._weights)
            do()
            self.world.after(chance.expovariate(1 / mean_seconds), next_one)

        self.world.after(chance.expovariate(1 / mean_seconds), next_one)

    def end(self) -> None:
        """No more faults: everything is repaired, and everybody runs."""
        self.world.note("faults", "are over: everything is repaired")
        self._over = True
        self.disk.full = False
        self.disk.down_until = min(self.disk.down_until, self.world.now)
        self.network.heal()
        for mount in self.mounts:
            mount.ambush = None
            mount.trouble = type(mount.trouble)()
        for worker in self.workers:
            if worker.mount.disk is not self.disk:
                self._remount(worker, self.disk)
        for worker in self.workers:
            worker.comes_back = True
            worker.resume()
            worker.start()
        for overseer in self.overseers:
            overseer.start()

    def _note(self, what: str, detail: str = "") -> None:
        self.counts[what] += 1
        self.world.note("faults", f"{what} {detail}".rstrip())

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        self.world.after(seconds, lambda: None if self._over else do())

    def _duration(self, *choices: float) -> float:
        if choices:
            return self.world.random.choice(choices) * self.world.random.uniform(0.5, 1.5)
        return self.world.random.choice((0.05, 0.3, 1.0, 3.0)) * self.world.random.uniform(0.5, 2.0)

    def _worker(self, main: float = 0.5) -> Worker:
        """Somebody, and half of the time (or ``main`` of it) the main."""
        mains = [worker for worker in self.workers if worker.running and worker.node and worker.node.serving]
        if mains and self.world.chance(main):
            return self.world.random.choice(mains)
        return self.world.random.choice(self.workers)

    # ------------------------------------------------------------------ processes

    def _kill(self, worker: Worker | None = None, *, machine: bool = False) -> None:
        worker = worker or self._worker()
        if not worker.running:
            return
        self._note("power cut" if machine else "kill", worker.name)
        worker.kill(machine=machine)
        self._later(self._duration(), worker.start)

    def _power_cut(self) -> None:
        self._kill(machine=True)

    def _pause(self, worker: Worker | None = None, *durations: float) -> None:
        worker = worker or self._worker()
        if worker.running and not worker.loop.paused:
            self._note("pause", worker.name)
            worker.pause()
            self._later(self._duration(*durations), worker.resume)

    def _stop(self) -> None:
        worker = self._worker()
        if worker.running and not worker.loop.paused:
            self._note("stop", worker.name)
            worker.stop()
            self._later(4.0 + self._duration(), worker.start)

    def _overseer_down(self) -> None:
        if self.overseers:
            overseer = self.world.random.choice(self.overseers)
            if overseer.loop.alive:
                self._note("overseer killed", overseer.name)
                overseer.kill()
                self._later(self._duration(), overseer.start)

    # ------------------------------------------------------------------ network

    def _cut_link(self) -> None:
        chance = self.world.random
        worker = self._worker()
        others = [other.name for other in self.workers if other is not worker]
        others += [overseer.name for overseer in self.overseers]
        if chance.random() < 0.6:
            others = [chance.choice(others)]
        both = chance.random() < 0.5
        self._note("link cut" if both else "link cut one way", f"{worker.name} - {', '.join(others)}")
        self.network.cut(worker.name, others, both_ways=both)

        def heal() -> None:
            for other in others:
                self.network.cuts -= {(worker.name, other), (other, worker.name)}

        self._later(self._duration(), heal)

    def _bad_network(self) -> None:
        self._note("lossy and slow network")
        self.network.loss, self.network.delay = self.world.random.uniform(0, 0.4), self.world.random.uniform(0, 0.4)

        def heal() -> None:
            self.network.loss = self.network.delay = 0.0

        self._later(self._duration(), heal)

    # ------------------------------------------------------------------ the folder

    def _hang(self, mount: Mount | None = None) -> None:
        mount = mount or self._worker().mount
        self._note("folder hangs", mount.name)
        mount.trouble.hangs_until = self.world.now + self._duration()
        mount.trouble.only = self.world.random.choice(_ONLY)

    def _hang_all(self) -> None:
        self._note("folder hangs for all")
        self.disk.down_until = self.world.now + self._duration()

    def _errors(self) -> None:
        mount = self._worker().mount
        self._note("folder errors", mount.name)
        mount.trouble.errors = self.world.random.choice((0.1, 1.0, 1.0))
        mount.trouble.only = self.world.random.choice(_ONLY)

        def heal() -> None:
            mount.trouble.errors = 0.0

        self._later(self._duration(0.3, 3.0), heal)

    def _read_only(self) -> None:
        mount = self._worker().mount
        self._note("folder read-only", mount.name)
        mount.trouble.read_only = True

        def heal() -> None:
            mount.trouble.read_only = False

        self._later(self._duration(), heal)

    def _full(self) -> None:
        self._note("volume full")
        self.disk.full = True

        def heal() -> None:
            self.disk.full = False

        self._later(self._duration(), heal)

    def _slow(self) -> None:
        mount = self._worker().mount
        self._note("folder slow", mount.name)
        mount.trouble.slow = self.world.random.choice((10.0, 100.0, 400.0))

        def heal() -> None:
            mount.trouble.slow = 1.0

        self._later(self._duration(), heal)

    def _server_crash(self) -> None:
        self._note("file server crash")
        self.disk.crash()
        self.disk.down_until = self.world.now + self.world.random.choice((0.0, 0.05, 0.5, 2.0))

    def _wrong_volume(self) -> None:
        worker = self._worker()
        if self.foreign is None or worker.mount.disk is not self.disk:
            return
        self._note("wrong volume mounted", worker.name)
        self._remount(worker, self.foreign)
        self._later(0.01, worker.start)

        def heal() -> None:
            self._remount(worker, self.disk)
            worker.start()

        self._later(3.0 + self._duration(), heal)

    @staticmethod
    def _remount(worker: Worker, disk: Disk) -> None:
        worker.kill(machine=True)
        worker.mount.disk = disk

    def _rot(self) -> None:
        """Spoil the pointer of the newest epoch that has one, or a batch in the middle of its log."""
        claims = self.disk.directories[names.CLAIMS].seen
        epochs = [int(name) for name, claim in claims.items() if POINTER_PAGE in claim.durable]
        if not epochs:
            return
        claim, segment = claims[f"{max(epochs):010d}"], self.disk.find(names.segment(max(epochs), 1))
        if self.world.chance(0.5):
            self._spoil(claim, POINTER_PAGE)
            self._note("rot", f"of the pointer of epoch {max(epochs)}")
        elif segment is not None and len(segment.durable) > 3:
            self._spoil(segment, 1)
            self._note("rot", f"of the log of epoch {max(epochs)}")

    def _spoil(self, inode: Inode, page: int) -> None:
        self.world.rotten = True
        inode.seen[page] = inode.durable[page] = self.world.random.randbytes(BLOCK_BYTES)

    # ------------------------------------------------------------------ ambushes

    def _ambush(self) -> None:
        """At the next operation of some kind, at one member, something happens just before or after its effect."""
        chance = self.world.random
        member: Worker | Overseer = self._worker(0.5)
        if self.overseers and chance.random() < 0.15:
            member = chance.choice(self.overseers)
        place, moment, left = chance.choice(PLACES), chance.choice(("before", "after")), chance.choice((1, 1, 2, 3))
        whats = ("pause", "kill", "power cut", "crash", "hang", "error", "pause and crash", "hang and crash")
        what = chance.choices(whats, (5, 4, 2, 4, 2, 4, 3, 3))[0]

        def lie_in_wait(call: Call, when: str) -> None:
            nonlocal left
            if when != moment or not place.matches(call):
                return
            left -= 1
            if left:
                return
            member.mount.ambush = None
            self._note("ambush", f"{moment} {call} of {member.name}: {what}")
            self._spring(member, what, call)

        member.mount.ambush = lie_in_wait

    def _spring(self, member: Worker | Overseer, what: str, call: Call) -> None:
        chance, trouble = self.world.random, member.mount.trouble
        if isinstance(member, Overseer):
            if "crash" not in what:
                member.kill()
                self._later(self._duration(), member.start)
        elif "pause" in what:
            self._pause(member, 0.3, 2.0, 2.0)
        elif what in {"kill", "power cut"}:
            self._kill(member, machine=what == "power cut")
        if "hang" in what:  # this call, and others of its kind
            trouble.hangs_until, trouble.only = self.world.now + self._duration(0.3, 1.5, 3.0), call.kind
        if what == "error":
            trouble.fails_once = True
        if "crash" in what:
            self.world.after(chance.choice((0.0, 0.0, 0.3)), self._server_crash)
