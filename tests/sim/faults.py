"""The faults of a run, which come and go. For those at critical moments see `tests.sim.ambushes`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from hanas_core.log.batches import find_later
from hanas_core.log.claimfile import POINTER_OFFSET
from hanas_core.log.segments import SegmentHeader
from hanas_core.members.roles import Role
from hanas_core.volume import names
from hanas_core.volume.blocks import unpack
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.succession import NotSwitched
from tests.sim.attacker import Trick
from tests.sim.disk import ZERO, Disk, Inode
from tests.sim.mount import Mount
from tests.sim.network import Network
from tests.sim.processes import Overseer, Worker
from tests.sim.themes import Theme
from tests.sim.world import World

_ONLY = ("", "", "", "read", "read", "sync", "write", "write_block", "link", "open")
"""The operations that an error or a hang concerns: all, or one kind."""
POINTER_PAGE = POINTER_OFFSET // BLOCK_BYTES


class Faults:
    """Injects faults until it is stopped, and then repairs everything."""

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
        """``foreign``: another cluster's volume, to be mounted by mistake; ``rots``: durable bytes may be corrupted."""
        self.world = world
        self.disk = disk
        self.network = network
        self.workers = workers
        self.overseers = overseers
        self.mounts = mounts
        self.foreign = foreign
        self.rots = rots
        self.counts: Counter[str] = Counter()
        self.over = False
        self._kinds: dict[str, tuple[Callable[[], None], float]] = {
            "kill": (self.kill, 3),
            "power cut": (self._power_cut, 2),
            "restart": (self.restart, 1),
            "pause": (self.pause, 4),
            "starve": (self._starve, 1),
            "stop": (self.stop, 1.5),
            "switchover": (self.switch_over, 4),
            "link cut": (self._cut_link, 3),
            "bad network": (self._bad_network, 1),
            "attack on the link": (self._attack, 1.5),
            "overseer killed": (self._overseer_down, 1.5),
            "hang": (self._hang, 2),
            "hang for all": (self._hang_all, 0.7),
            "errors": (self._errors, 2.5),
            "read-only": (self._read_only, 0.5),
            "volume full": (self._full, 0.7),
            "slow": (self._slow, 1),
            "server crash": (self.server_crash, 3),
        }
        if self.foreign is not None:
            self._kinds["wrong volume"] = (self._wrong_volume, 3)
        if self.rots:
            self._kinds["rot"] = (self._rot, 3)

    def add(self, name: str, do: Callable[[], None], weight: float) -> None:
        """Add another kind of fault."""
        self._kinds[name] = do, weight

    def begin(self, theme: Theme) -> None:
        """Inject one fault after the other; each run has its own mixture of them, by its theme."""
        chance = self.world.random
        mean_seconds = chance.choice(theme.pause)
        if theme.only:
            self._kinds = {theme.only: self._kinds[theme.only]}
        deeds = [do for do, _ in self._kinds.values()]
        weights = [
            weight
            * theme.weights.get(name, theme.others)
            * chance.choice((0.5, 1.0, 1.0, 2.0) if name in theme.weights else (0.0, 0.5, 1.0, 1.0, 3.0))
            + 0.01
            for name, (_, weight) in self._kinds.items()
        ]

        def next_one() -> None:
            if self.over:
                return
            (do,) = chance.choices(deeds, weights)
            do()
            self.world.after(chance.expovariate(1 / mean_seconds), next_one)

        self.world.after(chance.expovariate(1 / mean_seconds), next_one)

    def end(self) -> None:
        """Stop injecting, repair everything and start all processes."""
        self.world.note("faults", "are over: everything is repaired")
        self.over = True
        self.disk.full = False
        self.disk.down_until = min(self.disk.down_until, self.world.now)
        self.network.heal()
        for mount in self.mounts:
            mount.ambushes.clear()
            mount.release()
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

    def note(self, what: str, detail: str = "") -> None:
        self.counts[what] += 1
        self.world.note("faults", f"{what} {detail}".rstrip())

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        self.world.after(seconds, lambda: None if self.over else do())

    def duration(self, *choices: float) -> float:
        if choices:
            return self.world.random.choice(choices) * self.world.random.uniform(0.5, 1.5)
        return self.world.random.choice((0.05, 0.3, 1.0, 3.0)) * self.world.random.uniform(0.5, 2.0)

    def worker(self, main: float = 0.5) -> Worker:
        """Return a random member, in half of the cases (or in the part ``main``) the main."""
        mains = [worker for worker in self.workers if worker.running and worker.log and worker.log.serving]
        if mains and self.world.chance(main):
            return self.world.random.choice(mains)
        return self.world.random.choice(self.workers)

    # ------------------------------------------------------------------ processes

    def kill(self, worker: Worker | None = None, *, machine: bool = False) -> None:
        worker = worker or self.worker()
        if not worker.running:
            return
        self.note("power cut" if machine else "kill", worker.name)
        worker.kill(machine=machine)
        self.later(self.duration(), worker.start)

    def restart(self, worker: Worker | None = None) -> None:
        """Kill a process and start it again at once: the new one finds the last effects of the old one."""
        worker = worker or self.worker()
        if worker.running:
            self.note("restart", worker.name)
            worker.kill(machine=False)
            self.later(self.world.random.choice((0.0, 0.01, 0.1)), worker.start)

    def _power_cut(self) -> None:
        self.kill(machine=True)

    def pause(self, worker: Worker | None = None, *durations: float) -> None:
        worker = worker or self.worker()
        if worker.running and not worker.loop.paused:
            self.note("pause", worker.name)
            worker.pause()
            self.later(self.duration(*durations), worker.resume)

    def _starve(self) -> None:
        """Let a process wait for its processor again and again: many short pauses in a row."""
        chance, worker = self.world.random, self.worker()
        loop, longest, turns = worker.loop, chance.choice((0.05, 0.15, 0.3, 0.6)), chance.choice((5, 15, 40))
        if worker.running and not loop.paused:
            self.note("starve", f"{worker.name}, {turns} pauses of up to {longest:g} s")
            self._wait_for_turn(worker, longest, turns)

    def _wait_for_turn(self, worker: Worker, longest: float, turns: int) -> None:
        chance, loop = self.world.random, worker.loop
        if not turns or loop.paused or not loop.alive:
            return
        worker.pause()

        def go_on() -> None:
            if worker.loop is loop:
                worker.resume()
                self.later(chance.uniform(0.0, 0.03), lambda: self._wait_for_turn(worker, longest, turns - 1))

        self.later(chance.uniform(0.0, longest), go_on)

    def stop(self) -> None:
        worker = self.worker()
        if worker.running and not worker.loop.paused:
            self.note("stop", worker.name)
            worker.stop()
            self.later(4.0 + self.duration(), worker.start)

    def switch_over(self, to: str | None = None) -> None:
        """Ask a main to hand over to any member, whether that one runs or not; it decides by itself what it can do."""
        worker = self.worker(main=1.0)
        log, to = worker.log, to or self._successor(worker)
        if log is not None and worker.serves and not worker.loop.paused:
            self.note("switchover", f"from {worker.name} to {to}")
            self._asked = worker.loop.spawn(self._switch_over(log, to))

    def _successor(self, main: Worker) -> str:
        """Return the name of a backup, mostly, else that of any member."""
        backups = [worker for worker in self.workers if worker.role is Role.BACKUP and worker is not main]
        return self.world.random.choice(backups if backups and self.world.chance(0.8) else self.workers).name

    async def _switch_over(self, log: LogDriver, to: str) -> None:
        try:
            epoch = await log.switch_over(to)
            self.note("switched over", f"from epoch {epoch} to {to}")
        except NotSwitched as refusal:
            self.world.note("faults", f"no switchover: {refusal}")

    def _overseer_down(self) -> None:
        if self.overseers:
            self.kill_overseer(self.world.random.choice(self.overseers))

    def kill_overseer(self, overseer: Overseer) -> None:
        if overseer.loop.alive:
            self.note("overseer killed", overseer.name)
            overseer.kill()
            self.later(self.duration(), overseer.start)

    # ------------------------------------------------------------------ network

    def _cut_link(self) -> None:
        chance = self.world.random
        worker = self.worker()
        others = [other.name for other in self.workers if other is not worker]
        others += [overseer.name for overseer in self.overseers]
        if chance.random() < 0.6:
            others = [chance.choice(others)]
        both = chance.random() < 0.5
        self.note("link cut" if both else "link cut one way", f"{worker.name} - {', '.join(others)}")
        self.network.cut(worker.name, others, both_ways=both)

        def heal() -> None:
            for other in others:
                self.network.cuts -= {(worker.name, other), (other, worker.name)}

        self.later(self.duration(), heal)

    def _bad_network(self) -> None:
        self.note("lossy and slow network")
        self.network.loss, self.network.delay = self.world.random.uniform(0, 0.4), self.world.random.uniform(0, 0.4)

        def heal() -> None:
            self.network.loss = self.network.delay = 0.0

        self.later(self.duration(), heal)

    def _attack(self) -> None:
        chance = self.world.random
        tricks = [trick for trick in Trick if chance.random() < 0.5] or [Trick.REPEAT]
        self.note("attack on the link", "; ".join(trick.value for trick in tricks))
        self.network.attacker.begin(tricks)
        self.later(self.duration(1.0, 3.0), self.network.attacker.end)

    # ------------------------------------------------------------------ the folder

    def _hang(self, mount: Mount | None = None) -> None:
        mount = mount or self.worker().mount
        self.note("folder hangs", mount.name)
        mount.trouble.hangs_until = self.world.now + self.duration()
        mount.trouble.only = self.world.random.choice(_ONLY)

    def _hang_all(self) -> None:
        self.note("folder hangs for all")
        self.disk.down_until = self.world.now + self.duration()

    def _errors(self) -> None:
        mount = self.worker().mount
        self.note("folder errors", mount.name)
        mount.trouble.errors = self.world.random.choice((0.1, 1.0, 1.0))
        mount.trouble.only = self.world.random.choice(_ONLY)

        def heal() -> None:
            mount.trouble.errors = 0.0

        self.later(self.duration(0.3, 3.0), heal)

    def _read_only(self) -> None:
        mount = self.worker().mount
        self.note("folder read-only", mount.name)
        mount.trouble.read_only = True

        def heal() -> None:
            mount.trouble.read_only = False

        self.later(self.duration(), heal)

    def _full(self) -> None:
        self.note("volume full")
        self.disk.full = True

        def heal() -> None:
            self.disk.full = False

        self.later(self.duration(), heal)

    def _slow(self) -> None:
        mount = self.worker().mount
        self.note("folder slow", mount.name)
        mount.trouble.slow = self.world.random.choice((10.0, 100.0, 400.0))

        def heal() -> None:
            mount.trouble.slow = 1.0

        self.later(self.duration(), heal)

    def server_crash(self) -> None:
        self.note("file server crash")
        self.disk.crash()
        self.disk.down_until = self.world.now + self.world.random.choice((0.0, 0.05, 0.5, 2.0))

    def _wrong_volume(self) -> None:
        worker = self.worker()
        if self.foreign is None or worker.mount.disk is not self.disk:
            return
        self.note("wrong volume mounted", worker.name)
        self._remount(worker, self.foreign)
        self.later(0.01, worker.start)

        def heal() -> None:
            self._remount(worker, self.disk)
            worker.start()

        self.later(3.0 + self.duration(), heal)

    @staticmethod
    def _remount(worker: Worker, disk: Disk) -> None:
        worker.kill(machine=True)
        worker.mount.disk = disk

    def _rot(self) -> None:
        """Corrupt the pointer of the newest epoch that has one, a batch within its log, or what it began with."""
        claims = self.disk.directories[names.CLAIMS].seen
        epochs = [int(name) for name, claim in claims.items() if POINTER_PAGE in claim.durable]
        if not epochs:
            return
        newest = max(epochs)
        if self.world.chance(0.3):
            self.corrupt(claims[f"{newest:010d}"], POINTER_PAGE)
            self.note("rot", f"of the pointer of epoch {newest}")
        elif not (self.world.chance(0.4) and self._rot_older(newest)):
            self._rot_log(newest)
        if self.world.chance(0.5):  # a restarted process knows only the folder
            for worker in self.workers:
                self.kill(worker, machine=True)

    def _rot_older(self, epoch: int) -> bool:
        """Corrupt any page of a segment of an older epoch: the manifest of this one has its end."""
        segments = sorted(self.disk.directories[names.SEGMENTS].seen.items())
        # A name that was taken ahead may be a second one of a segment that a newer epoch uses.
        newer = {segment for name, segment in segments if int(name.partition("-")[0]) >= epoch}
        older = [
            (name, segment, page)
            for name, segment in segments
            if segment not in newer
            for page in sorted(segment.durable)
            if page
        ]
        if older:
            name, segment, page = self.world.random.choice(older)
            self.corrupt(segment, page)
            self.note("rot", f"of page {page} of segment {name}, which epoch {epoch} began with")
        return bool(older)

    def _rot_log(self, epoch: int) -> None:
        """Corrupt a page before a valid batch: a corrupt end of a log looks like a torn one."""
        segments: list[Inode] = []
        while (segment := self.disk.find(names.segment(epoch, len(segments) + 1))) is not None:
            segments.append(segment)
        for number in range(len(segments), 0, -1):  # the name of the next one is taken ahead
            followed = self.pages_before_a_batch(segments[number - 1], epoch, number)
            if followed:
                page = self.world.random.choice((followed[0], *followed[-2:]))
                self.corrupt(segments[number - 1], page)
                self.note("rot", f"of page {page} of segment {number} of epoch {epoch}")
                return

    @staticmethod
    def pages_before_a_batch(segment: Inode, epoch: int, number: int) -> list[int]:
        """Return the pages of a segment before a valid batch; none of a segment that is not begun."""
        header = unpack(segment.durable.get(0, ZERO))
        if not isinstance(header, bytes):
            return []
        nonce = msgspec.json.decode(header, type=SegmentHeader).nonce

        def is_followed(page: int) -> bool:
            behind = (page + 1) * BLOCK_BYTES
            rest = segment.durable_read(behind, segment.size - behind)
            return find_later(rest, behind, nonce=nonce, epoch=epoch, number=number) is not None

        return [page for page in sorted(segment.durable) if page and is_followed(page)]

    def corrupt(self, inode: Inode, page: int) -> None:
        """Replace a durable page by random bytes."""
        self.world.rotten = True
        inode.seen[page] = inode.durable[page] = self.world.random.randbytes(BLOCK_BYTES)
