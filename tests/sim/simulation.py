"""One run of a whole cluster, fixed by its seed: a period with faults, one without, then the judgement."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from hanas_core.members import cluster
from hanas_core.members.member import IsolationPolicy
from hanas_lab.audit import LastValue, judge
from hanas_serving.settings import Backups
from hanas_worker.log.driver import LogDriver
from tests.sim.ambushes import Ambushes
from tests.sim.clients import Clients
from tests.sim.disk import Disk
from tests.sim.faults import Faults
from tests.sim.forwarders import RUNS, Forwarders, chance_of
from tests.sim.hearing import hearing
from tests.sim.lessees import Lessees
from tests.sim.mount import Call, Mount
from tests.sim.network import Network
from tests.sim.processes import Overseer, Worker
from tests.sim.seams import running_loop
from tests.sim.themes import Theme, theme_of
from tests.sim.transactors import Transactors
from tests.sim.vault import Vault
from tests.sim.watchers import Watchers, hurried
from tests.sim.witness import Witness
from tests.sim.world import Violation, World

FOLDER_ID = "f" * 32
SERVING_PART = 0.5
"""Part of the runs in which backups serve."""
QUIET_AFTER = 8.0
"""Time after the last fault and the last mishap until none of their effects is pending, seconds."""
QUIET_SECONDS = 4.0
QUIET_PART = 0.1
"""Part of the runs in which no epoch may begin for `QUIET_SECONDS` after that."""
PEACE_SECONDS = 40.0
"""Time limit after the last fault until a write is acknowledged: a multiple of the greatest patience of the timings."""

T = TypeVar("T")


@dataclass
class Report:
    """The result of a run."""

    seed: int
    violation: str | None = None
    simulated_seconds: float = 0.0
    operations: int = 0
    acknowledged: int = 0
    commits: int = 0
    takeovers: int = 0
    recovered_in: float = 0.0
    """Seconds from the end of the faults to the next acknowledged write."""
    faults: Counter[str] = field(default_factory=Counter)
    watched: Counter[str] = field(default_factory=Counter)
    """What watchers were told."""
    trace: list[str] = field(default_factory=list)


class Shape(NamedTuple):
    """The size of a cluster, and the properties of its machines."""

    workers: int
    overseers: int
    clients: int
    keys: int
    caches_names: bool
    unruly: float
    policy: IsolationPolicy
    foreign: bool = False
    """Another cluster's volume may be mounted by mistake."""
    rots: bool = False
    serves: bool = False
    """Backups serve."""
    patience: float = 2.5
    """How long they look for a main, seconds: for less or more than a client waits for its answer."""
    redirects: str = ""
    """The worker that redirects although the others serve."""
    forwards: bool = False
    """There are forwarders."""

    @classmethod
    def drawn(cls, chance: random.Random, theme: Theme) -> Shape:
        return cls(
            workers=chance.choice((2, 3, 3, 4)),
            overseers=chance.choice((0, 1, 1, 2)),
            clients=chance.choice((2, 4, 6)),
            keys=chance.choice(theme.keys),
            caches_names=chance.random() < 0.6,
            unruly=chance.choice((0.0, 1.0, 1.0, 3.0)),
            policy=chance.choice(list(IsolationPolicy)),
            foreign=chance.random() < 0.15,
            rots=chance.random() < theme.rots,
        )


def run(seed: int, *, tracing: bool = False) -> Report:
    """Run one seed to its end, or to the first violation."""
    return Simulation(seed, tracing=tracing).play()


class Simulation:
    """A cluster, its clients, its faults and its witness."""

    TRANSACTORS = 2
    """Clients that change several keys at once."""
    LESSEES = 2
    WATCHERS = 2

    def __init__(
        self, seed: int, *, tracing: bool = False, shape: Shape | None = None, theme: Theme | None = None
    ) -> None:
        """``shape`` and ``theme`` default to those of the seed."""
        self.seed = seed
        self.theme = theme = theme or theme_of(seed)
        self.world = world = World(seed, tracing=tracing)
        chance = world.random
        forwarding = chance_of(seed)
        if shape is None:  # drawn beside the rest: seeds without them stay what they were
            serving = random.Random(f"backups of {seed}")
            shape = Shape.drawn(chance, theme)._replace(
                forwards=forwarding.random() < RUNS,
                serves=serving.random() < SERVING_PART,
                patience=serving.choice((0.4, 0.6, 2.5)),
                redirects=serving.choice(("", "", "w0")),
            )
        if theme.only:
            shape = shape._replace(unruly=0.0, foreign=False)
        self.shape = shape
        self.disk = Disk(chance)
        self.vault = Vault(world)
        if self.vault.on:
            self.disk.keys = self.vault.keys(None)
        self.network = Network(world)
        overseers = tuple(f"overseer{number}" for number in range(shape.overseers))

        def mount(name: str) -> Mount:
            return Mount(world, self.disk, name, caches_names=shape.caches_names, unruly=shape.unruly)

        self.workers = {
            name: Worker(
                world,
                self.network,
                mount(name),
                name,
                folder_id=FOLDER_ID,
                overseers=tuple(f"http://{overseer}:4000" for overseer in overseers),
                policy=shape.policy,
                segment_bytes=theme.segment_bytes,
                compact_bytes=theme.compact_bytes,
                compact_share=theme.compact_share,
                snapshot_bytes=theme.snapshot_bytes,
                history_seconds=theme.history_seconds,
                history_bytes=theme.history_bytes,
                cache_bytes=chance.choice(theme.cache_bytes),
                rate=chance.choice((1.0, 1.0, 0.9, 1.2)),
                backups=Backups.SERVE if shape.serves and name != shape.redirects else Backups.REDIRECT,
                patience=shape.patience,
            )
            for name in (f"w{number}" for number in range(shape.workers))
        }
        self.overseers = [Overseer(world, self.network, mount(name), name, FOLDER_ID) for name in overseers]
        self.clients = Clients(world, self.network, list(self.workers), keys=shape.keys, large=theme.large)
        self.transactors = Transactors(self.clients)
        self.forwarders = Forwarders(world, self.clients, list(self.workers.values()), forwarding)
        mounts = [worker.mount for worker in self.workers.values()]
        mounts += [overseer.mount for overseer in self.overseers]
        self.vault.give([worker.mount for worker in self.workers.values()])
        self._foreign = Disk(chance) if shape.foreign else None
        self.faults = Faults(
            world,
            self.disk,
            self.network,
            list(self.workers.values()),
            self.overseers,
            mounts,
            foreign=self._foreign,
            rots=shape.rots,
        )
        self.ambushes = Ambushes(self.faults)
        self.ambushes.join()
        self.witness = Witness(world, self.network, self.disk, self.workers)
        self.lessees = Lessees(self.clients, self.witness.promises)
        self.watchers = Watchers(self.clients, self.witness.past)
        self.witness.only_pauses = bool(theme.only)
        self.stays_quiet = chance.random() < QUIET_PART
        self._mounts = mounts
        self._report = Report(seed)

    def play(self) -> Report:
        world, report = self.world, self._report
        with (
            hearing(self.witness),
            hurried(world),
            _listening(world),
        ):
            try:
                self._play()
            except Violation as violation:
                report.violation = str(violation)
            finally:
                asyncio._set_running_loop(None)
                for loop in (*(worker.loop for worker in self.workers.values()), self.clients.loop):
                    loop.kill()
                for overseer in self.overseers:
                    overseer.loop.kill()
        report.simulated_seconds = world.now
        report.operations = len(self.clients.history)
        report.acknowledged = self.clients.acknowledged
        report.commits = self.witness.commits
        claims = self.disk.directories.get("claims")
        report.takeovers = max(0, len(claims.seen) - 1) if claims else 0
        report.faults = self.faults.counts
        for mount in self._mounts:
            report.faults.update(mount.counts)
        report.watched = self.watchers.judge.counts
        report.trace = world.trace
        return report

    def _play(self) -> None:
        world, chance = self.world, self.world.random
        self._initialise(self.disk, FOLDER_ID)
        if self._foreign is not None:
            self._initialise(self._foreign, "e" * 32)
        for overseer in self.overseers:
            overseer.start()
        for worker in self.workers.values():
            world.after(chance.uniform(0, 0.3), worker.start)
        self.clients.start(self.shape.clients)
        self.transactors.start(self.TRANSACTORS)
        self.lessees.start(self.LESSEES)
        self.watchers.start(self.WATCHERS)
        if self.shape.forwards:
            self.forwarders.start()
        self._go_wrong()
        self.faults.end()
        peace = world.now
        acknowledged = self.clients.acknowledged
        if world.rotten:
            world.run(peace + 5.0)
            self._judge(None)
            return
        if not world.run(peace + PEACE_SECONDS, lambda: self.clients.acknowledged > acknowledged):
            raise Violation(f"no write was acknowledged within {PEACE_SECONDS:g} s after the last fault")
        self._report.recovered_in = world.now - peace
        world.run(world.now + 0.3)
        self.clients.stopping = True
        world.run(world.now + PEACE_SECONDS, lambda: not self.clients.busy)
        if not world.run(world.now + PEACE_SECONDS, lambda: not self.witness.past.model.leases):
            raise Violation(f"leases that nobody renews are still there after {PEACE_SECONDS:g} s of peace")
        self.watchers.catch_up()
        if not world.run(world.now + PEACE_SECONDS, lambda: not self.watchers.behind):
            raise Violation(f"{self.watchers.behind[0]} is not told the rest within {PEACE_SECONDS:g} s of peace")
        self.watchers.stop()
        reading = self.clients.loop.spawn(self.clients.read_all())
        if not world.run(world.now + PEACE_SECONDS, reading.done):
            raise Violation(f"the keys could not be read within {PEACE_SECONDS:g} s at the end")
        self._judge({key: LastValue(*found) for key, found in reading.result().items()})
        if self.stays_quiet:
            self._stay_quiet()

    def _go_wrong(self) -> None:
        self.faults.begin(self.theme)
        self.world.run(self.world.now + self.world.random.choice(self.theme.seconds))

    def _stay_quiet(self) -> None:
        """Check that no epoch begins without a fault and without writes: such a main would go on for ever."""
        world, claims = self.world, self.disk.directories["claims"].seen
        for mount in self._mounts:
            mount.unruly = 0.0
        logs = [worker.log for worker in self.workers.values() if worker.log is not None]
        # one that a fault held up for long may end only now, and the next one has work left
        world.run(world.now + PEACE_SECONDS, lambda: not any(log.compactor.running for log in logs))
        world.run(world.now + QUIET_AFTER)
        before = len(claims)
        world.run(world.now + QUIET_SECONDS)
        if self.vault.on:
            self._is_encrypted_anew(logs)
        if len(claims) > before:
            raise Violation(f"{len(claims) - before} new epochs in {QUIET_SECONDS:g} s of peace without writes")

    def _is_encrypted_anew(self, logs: list[LogDriver]) -> None:
        """Check that the main has written everything anew for the key that it writes with."""
        for log in logs:
            if log.serving is not None and any(log.keyring.is_stale(cut) for cut in log.state.cuts):
                raise Violation(f"after the rotation there are segments with other keys still: {log.keyring.uses}")

    def _initialise(self, disk: Disk, folder_id: str) -> None:
        drive(
            cluster.initialise(Mount(self.world, disk, "init", caches_names=False, unruly=0.0), folder_id), self.world
        )
        for directory in disk.directories.values():
            directory.durable = dict(directory.seen)

    def _judge(self, end: dict[str, LastValue] | None) -> None:
        verdict = judge(self.clients.history, end)
        if not verdict.ok:
            raise Violation(str(verdict))
        self.witness.past.judge(self.transactors.told)
        versions = {str(write.version) for write in self.witness.committed}
        for key, value, version in self.clients.stale:
            if version not in versions:
                raise Violation(f"a stale read of {key} found {value} of {version}, which was never committed")


def drive(procedure: Coroutine[Any, Any, T], world: World) -> T:
    """Run a procedure on the folder to its end, with no other activity."""
    outcome: list[tuple[Any, Exception | None]] = [(None, None)]
    while True:
        result, error = outcome.pop()
        try:
            call = procedure.send(result) if error is None else procedure.throw(error)
        except StopIteration as stop:
            done: T = stop.value
            return done
        assert isinstance(call, Call)
        call.mount.submit(call, lambda result, error: outcome.append((result, error)))
        assert world.run(world.now + 60.0, lambda: bool(outcome))


class _Ear(logging.Handler):
    """Writes the log of the production code into the trace; an error of the program is a violation."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        try:
            name = running_loop().name
        except RuntimeError:
            return
        self._world.note(name, record.getMessage())
        if record.exc_info:
            self._world.accuse(f"{name}: {record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def _listening(world: World) -> Iterator[None]:
    logger, ear = logging.getLogger("hanas.worker"), _Ear(world)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.INFO if world.tracing else logging.ERROR)
    logger.propagate = False
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
        logger.propagate = propagates
