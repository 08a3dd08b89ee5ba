"""A desk and a forwarder on one folder, with a road between them that a test watches, holds up and breaks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from hanas_core.log.positions import Position
from hanas_core.members.documents import LOG
from hanas_core.state.judge import ANY, Outcome, Write
from hanas_serving.lines import Improper, Receiver
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.log import messages
from hanas_worker.log.desk import Desk
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.messages import OfForwarder, OfMain
from hanas_worker.log.state import LogState
from hanas_worker.node import Node
from tests.unit.core.scenery import FOLDER_ID
from tests.unit.waiting import until
from tests.unit.worker.nodes import FolderDecides, Nobody
from tests.unit.worker.stage import Stage, started

PATIENCE = 60.0
REST = 0.05
"""Whoever waits for the answer to a call hears something after so many seconds."""


class End:
    """One side of a road: a `hanas_serving.lines.Line` whose messages wait until they are let through."""

    def __init__(self, road: Road, peer: Receiver) -> None:
        self.waiting: deque[bytes] = deque()
        self._road = road
        self._peer = peer

    def send(self, message: bytes) -> None:
        if not self._road.broken:
            self.waiting.append(message)

    def close(self) -> None:
        self._road.breaks()

    def deliver(self) -> bool:
        """Let one message through; False if none waits."""
        if not self.waiting or self._road.broken:
            return False
        try:
            self._peer.take(self.waiting.popleft())
        except Improper:
            self.close()
        return True


class Road:
    """A line from a forwarder to a desk."""

    def __init__(self, forwarder: Receiver, visit: Receiver) -> None:
        self.broken = False
        self._receivers = forwarder, visit
        self.outward, self.back = End(self, visit), End(self, forwarder)
        visit.opened(self.back)
        forwarder.opened(self.outward)

    def breaks(self) -> None:
        """End the line at both sides; what was under way is lost."""
        if not self.broken:
            self.broken = True
            for receiver in self._receivers:
                receiver.closed()

    def sent(self) -> list[OfForwarder]:
        """What waits on the way to the main."""
        return [messages.of_forwarder(message) for message in self.outward.waiting]

    def told(self) -> list[OfMain]:
        """What waits on the way to the forwarder."""
        return [messages.of_main(message) for message in self.back.waiting]

    async def until(self, condition: Callable[[], bool], *, back: bool = True) -> None:
        """Let everything through, both ways or outward only, until the condition holds."""

        def holds() -> bool:
            while self.outward.deliver() or (back and self.back.deliver()):
                pass
            return condition()

        await until(holds)

    async def flows(self, *results: list[Outcome], count: int = 1) -> None:
        """Let everything through, both ways, until each list of outcomes has ``count``."""
        await self.until(lambda: all(len(each) >= count for each in results))


class Clock:
    """The event loop of a forwarder, whose time a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return self._loop.time() + self.ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class Calls:
    """What forwarders call for, carried out as a test says."""

    IMPROPER = b"improper"

    def __init__(self) -> None:
        self.came = list[bytes]()
        self.answer: bytes | None = b"done"
        self.gate = asyncio.Event()
        """They are answered when it is set."""
        self.gate.set()

    async def __call__(self, content: bytes) -> bytes | None:
        self.came.append(content)
        if content == self.IMPROPER:
            raise Improper
        await self.gate.wait()
        return self.answer


class Office:
    """A main with its desk, and the forwarder of another worker."""

    def __init__(self, stage: Stage, patience: float) -> None:
        self.stage = stage
        self.calls = Calls()
        self.tasks = list[asyncio.Future[None]]()
        """Of clients that wait."""
        self.desk = Desk(stage.service, settings.read({}).value_bytes, self.calls, REST)
        self.state, self.forwarder = self.process(patience)
        self._clock = Clock()
        self.forwarder._loop = cast("asyncio.AbstractEventLoop", self._clock)

    def process(self, patience: float = PATIENCE) -> tuple[LogState, Forwarder]:
        """Start a process of the other worker."""
        read, folder = settings.read({"WORKER_ID": "b"}), self.stage.folder.other()
        node = Node(read, folder, FOLDER_ID, FolderDecides(), Nobody(), Runtime())
        state = node.logs[LOG].state
        state.member.see(node.host.now, self.stage.claim, 0)
        return state, Forwarder(state, patience)

    def passes(self, seconds: float) -> None:
        """Let so much time pass for the forwarder at once."""
        self._clock.ahead += seconds
        self.forwarder._look_at_time()

    def road(self, member: str = "b", forwarder: Receiver | None = None) -> Road:
        return Road(forwarder or self.forwarder, self.desk.visit(member))

    def put(self, key: str, value: bytes = b"v", *, absent: bool = False) -> list[Outcome]:
        """Have a write forwarded; its outcome comes into the list that is returned."""
        return self._submit(Write(key.encode(), value, if_none_match=(ANY,) if absent else None))

    def delete(self, key: str) -> list[Outcome]:
        """Have a deletion forwarded, as `put`."""
        return self._submit(Write(key.encode(), None))

    def _submit(self, write: Write) -> list[Outcome]:
        outcomes = list[Outcome]()
        self.forwarder.submit(write, lambda outcome, _: outcomes.append(outcome))
        return outcomes

    def read(self) -> list[int | None]:
        """Have a reader wait; the epoch that it is called with comes into the list that is returned."""
        epochs = list[int | None]()
        self.forwarder.after_check(epochs.append)
        return epochs

    def copy_reaches(self, position: Position) -> None:
        """The forwarder's worker has applied the log up to there."""
        self.state.replica.continue_from(position)
        self.state.on_applied()

    async def keys(self) -> dict[str, int]:
        """The sequence of each key's version at the main."""
        index = self.stage.service.index
        return {key.decode(): entry.sequence for key, entry in index.page(b"", b"", 1000).entries}


@asynccontextmanager
async def office(patience: float = PATIENCE) -> AsyncIterator[Office]:
    stage = await started()
    try:
        yield Office(stage, patience)
    finally:
        stage.service.end("the test is over")
