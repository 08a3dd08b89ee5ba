"""The runtime of a simulated process: threads, entropy and time of day (`hanas_serving.runtime`).

Nothing in the production code is replaced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from hanas_core.volume.errors import Corruption
from hanas_serving.lanes import Deliver, Procedure
from hanas_serving.runtime import Runtime
from tests.sim.mount import Call
from tests.sim.world import ProcessLoop


def runtime_of(loop: ProcessLoop) -> Runtime:
    """Return the runtime of one process."""
    return Runtime(
        thread=lambda _, deliver: Thread(deliver, loop),
        nonce=lambda: loop.world.entropy.randbytes(16).hex(),
        wall_clock=lambda: datetime.fromtimestamp(loop.time(), UTC).isoformat(timespec="milliseconds"),
    )


class Thread:
    """The thread of a lane: runs one procedure after the other, one operation at a time."""

    def __init__(self, deliver: Deliver, loop: ProcessLoop) -> None:
        self._deliver = deliver
        self._loop = loop
        self._waiting: deque[tuple[Procedure, asyncio.Future[Any]]] = deque()
        self._now: tuple[Procedure, asyncio.Future[Any]] | None = None

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        if self._loop.world.burying:
            procedure.close()
            return
        self._waiting.append((procedure, answer))
        self._loop.procedures.append(procedure)
        if self._now is None:
            self._next()

    def end(self) -> None:
        """Accept nothing more."""

    def _next(self) -> None:
        if self._waiting:
            self._now = self._waiting.popleft()
            self._loop.call_soon(self._step, None, None)

    def _step(self, result: Any, error: Exception | None) -> None:
        assert self._now is not None
        procedure, answer = self._now
        try:
            call = procedure.send(result) if error is None else procedure.throw(error)
        except StopIteration as stop:
            self._finish(answer, stop.value, None)
        except Exception as raised:
            if isinstance(raised, Corruption) and not self._loop.world.rotten:
                self._loop.world.accuse(f"{self._loop.name} takes what nobody spoilt for corruption: {raised}")
            self._finish(answer, None, raised)
        else:
            assert isinstance(call, Call)
            call.mount.submit(call, self._reply)

    def _reply(self, result: Any, error: Exception | None) -> None:
        if self._loop.paused:  # so are its threads
            self._loop.call_soon(self._step, result, error)
        elif self._loop.alive:
            self._loop.enter()
            self._step(result, error)

    def _finish(self, answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        assert self._now is not None
        self._loop.procedures.remove(self._now[0])
        self._now = None
        self._loop.call_soon(self._deliver, answer, result, error)
        self._next()


def running_loop() -> ProcessLoop:
    found: object = asyncio.get_running_loop()
    assert isinstance(found, ProcessLoop)
    return found
