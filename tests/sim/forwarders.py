"""Forwarders without a network: each is a client that keeps its numbers over takeovers, and a part of every main.

A forwarder keeps to docs/protocol.md, section 2.9: it sends in order, asks after a seal check about what has no
outcome, and sends again only what is neither pending nor in the log. Its operations are judged like those of clients.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from hanas_core.log.positions import Version
from hanas_core.log.records import Forwarded
from hanas_core.state.judge import ForwardedWrite, Opening, Outcome, Result, Write, recorded
from hanas_lab.history import Action, Operation, OperationOutcome
from hanas_worker.log.service import Service
from tests.sim.clients import LOST_ANSWERS, TIMEOUT, Clients
from tests.sim.processes import Worker
from tests.sim.world import World

RUNS = 0.3
"""Part of the runs that have forwarders."""
TWICE = 0.2
"""Part of the unconditional puts of which two copies are sent."""
SHARED = 0.3
"""Part of those runs in which both forwarders have the same member's id."""
_OUTCOMES = {
    Result.CREATED: OperationOutcome.OK,
    Result.REPLACED: OperationOutcome.OK,
    Result.DELETED: OperationOutcome.OK,
    Result.NOT_FOUND: OperationOutcome.ABSENT,
    Result.CONDITION_FAILED: OperationOutcome.REFUSED,
    Result.NO_SPACE: OperationOutcome.NOT_DONE,
    Result.BUSY: OperationOutcome.NOT_DONE,
}
"""What settles an operation. Whatever else a forwarder is told, it asks the next main."""
_LATER = (Result.UNKNOWN, Result.NOT_MAIN)


def chance_of(seed: int) -> random.Random:
    """Return the forwarders' own source of chance, so that runs without them stay as they are."""
    return random.Random(f"{seed} forwarders")


@dataclass(eq=False)
class Errand:
    """A write that has a number."""

    number: int
    write: Write
    place: int
    """In the history."""
    copies: int = 1
    sent: bool = False
    """Some main may have it."""
    waiting: asyncio.Future[Outcome] | None = None
    """For the outcome of the last attempt."""


@dataclass(eq=False)
class Forwarder:
    """What one of them knows."""

    name: str
    member: str
    session: Version | None = None
    next_number: int = 1
    errands: list[Errand] = field(default_factory=list)
    """Those without an outcome, in order."""

    @property
    def lowest(self) -> int:
        return self.errands[0].number if self.errands else self.next_number


class Forwarders:
    """Two forwarders, on the machine of the clients."""

    def __init__(self, world: World, clients: Clients, workers: list[Worker], chance: random.Random) -> None:
        self.world = world
        self._clients = clients
        self._workers = workers
        self._chance = chance
        self._pending: Counter[tuple[Service, Version, int]] = Counter()
        """How many copies of a write a main has in hand."""
        self._told: dict[tuple[Version, int], Outcome] = {}
        self._versions: dict[bytes, Version] = {}
        shared = chance.random() < SHARED
        self._forwarders = [Forwarder(f"f{n}", "f" if shared else f"f{n}") for n in range(2)]

    def start(self) -> None:
        self._clients.employ(self._work(forwarder) for forwarder in self._forwarders)

    async def _work(self, forwarder: Forwarder) -> None:
        chance, clients = self._chance, self._clients
        while not clients.stopping or forwarder.errands:
            await asyncio.sleep(chance.expovariate(15))
            serving = [worker for worker in self._workers if worker.serves]
            if not serving:
                continue
            worker = chance.choice(serving)
            if forwarder.session is None:
                await self._open(forwarder, worker)
                continue
            if not clients.stopping:
                for _ in range(chance.choice((0, 1, 1, 3))):
                    self._draw(forwarder)
            await self._carry(forwarder, forwarder.session, worker)
            if chance.random() < 0.01:
                self._end(forwarder)

    async def _open(self, forwarder: Forwarder, worker: Worker) -> None:
        waiting: asyncio.Future[Outcome] = self._clients.loop.create_future()
        worker.loop.call_soon(self._ask_to_open, worker, forwarder.member, waiting)
        try:
            async with asyncio.timeout(TIMEOUT):
                outcome = await waiting
        except TimeoutError:
            return
        if outcome.result is Result.SESSION_OPENED:
            forwarder.session, forwarder.next_number = outcome.version, 1

    def _draw(self, forwarder: Forwarder) -> None:
        """Give the next number to a write."""
        chance, number = self._chance, forwarder.next_number
        forwarder.next_number += 1
        name, condition = chance.choice(self._clients.keys), chance.choice((None, None, None, "version", "absent"))
        key = name.encode()
        kind = Action.DELETE if chance.random() < 0.1 else Action.PUT
        value = f"{forwarder.session}-{number}" if kind is Action.PUT else None
        if_match = (str(self._versions[key]),) if condition == "version" and key in self._versions else None
        if_none_match = ("*",) if condition == "absent" and value is not None else None
        once = f"{forwarder.session}-{number}" if chance.random() < 0.3 else None
        operation = Operation(
            start=self.world.now,
            client=forwarder.name,
            kind=kind,
            key=name,
            value=value,
            outcome=OperationOutcome.UNKNOWN,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        body = None if value is None else value.encode().ljust(chance.choice((0, 0, 280, 1000)), b".")
        errand = Errand(
            number, Write(key, body, "text/plain", if_match, if_none_match, once), len(self._clients.history)
        )
        if kind is Action.PUT and if_match is None and if_none_match is None and chance.random() < TWICE:
            errand.copies = 2
        self._clients.history.append(operation)
        forwarder.errands.append(errand)

    async def _carry(self, forwarder: Forwarder, session: Version, worker: Worker) -> None:
        """Bring all errands to a main, and take in the outcomes that come in time."""
        loop = self._clients.loop
        errands = list(forwarder.errands)
        for errand in errands:
            errand.waiting = loop.create_future()
        arrival = worker.loop.spawn(self._arrive(worker, session, forwarder.lowest, errands))
        arrival.add_done_callback(_look_at)
        waiting = [errand.waiting for errand in errands if errand.waiting is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=TIMEOUT)
        for errand in errands:
            if forwarder.session == session and errand.waiting is not None and errand.waiting.done():
                self._take(forwarder, session, errand, errand.waiting.result())

    async def _arrive(self, worker: Worker, session: Version, lowest: int, errands: list[Errand]) -> None:
        """Do as a main does whom a forwarder asks: in the main's own process."""
        service = None if worker.log is None else worker.log.serving
        if service is None or (any(errand.sent for errand in errands) and await service.fence() is None):
            return
        for errand in errands:
            waiting = errand.waiting
            assert waiting is not None
            if self._pending[service, session, errand.number]:
                continue
            outcome = recorded(service.index.sessions.get(session), errand.number) if errand.sent else None
            if outcome is not None:
                self.bring_back(waiting, outcome)
                continue
            errand.sent = True
            write = ForwardedWrite(errand.write, Forwarded(session, errand.number, lowest))
            answers = _Answers(self, (service, session, errand.number), waiting, errand.copies)
            for _ in range(errand.copies):
                self._pending[answers.place] += 1
                service.submit(write, answers)

    def _ask_to_open(self, worker: Worker, member: str, waiting: asyncio.Future[Outcome]) -> None:
        service = None if worker.log is None else worker.log.serving
        if service is not None:
            service.submit(Opening(member), lambda outcome, _: self.bring_back(waiting, outcome))

    def answered(self, place: tuple[Service, Version, int]) -> None:
        """A main has one copy of a write less in hand."""
        self._pending[place] -= 1

    def bring_back(self, waiting: asyncio.Future[Outcome], outcome: Outcome) -> None:
        """Bring an outcome to the machine of the clients, if it is not lost."""
        if self._chance.random() >= LOST_ANSWERS:
            self._clients.loop.call_soon(lambda: None if waiting.done() else waiting.set_result(outcome))

    def _take(self, forwarder: Forwarder, session: Version, errand: Errand, outcome: Outcome) -> None:
        result = outcome.result
        if result in _LATER:
            return
        if result is Result.SESSION_ENDED:
            self._end(forwarder)
            return
        if result not in _OUTCOMES:
            self.world.accuse(f"{forwarder.name} keeps to its numbers, and is told of {errand.number}: {result.value}")
            return
        forwarder.errands.remove(errand)
        if outcome.version is not None:
            self._versions[errand.write.key] = outcome.version
        history, place = self._clients.history, errand.place
        history[place] = replace(
            history[place],
            end=self.world.now,
            outcome=_OUTCOMES[result],
            version=None if outcome.version is None else str(outcome.version),
            created=(result is Result.CREATED) if result in (Result.CREATED, Result.REPLACED) else None,
        )

    def told(self, place: tuple[Service, Version, int], outcome: Outcome) -> None:
        """Check that a number has one outcome, whoever tells it."""
        _, session, number = place
        if _OUTCOMES.get(outcome.result) is not OperationOutcome.OK:
            return
        before = self._told.setdefault((session, number), outcome)
        if before != outcome:
            self.world.accuse(f"write {number} of session {session} had two outcomes: {before}, and then {outcome}")

    def _end(self, forwarder: Forwarder) -> None:
        """Go on as another incarnation would: what has no outcome never gets one."""
        forwarder.session, forwarder.errands = None, []


def _look_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


class _Answers:
    """Waits for the outcomes of all copies of a write at one main."""

    def __init__(
        self,
        forwarders: Forwarders,
        place: tuple[Service, Version, int],
        waiting: asyncio.Future[Outcome],
        copies: int,
    ) -> None:
        self.place = place
        self._forwarders = forwarders
        self._waiting = waiting
        self._left = copies
        self._outcomes: list[Outcome] = []

    def __call__(self, outcome: Outcome, epoch: int) -> None:
        del epoch
        self._forwarders.answered(self.place)
        self._forwarders.told(self.place, outcome)
        self._outcomes.append(outcome)
        if len(self._outcomes) == self._left:
            done = [one for one in self._outcomes if one.version is not None]
            unknown = [one for one in self._outcomes if one.result in _LATER]
            self._forwarders.bring_back(self._waiting, (done + unknown + self._outcomes)[0])
