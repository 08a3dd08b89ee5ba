"""Where the simulated world takes the place of threads, sockets and entropy under the production code.

Three things are replaced, and nothing else: what runs a lane's procedures (`Lane._submit`), what carries requests and
connects (`Sender._post`, `Overseers._call`, `Lifeline._until_closed`), and where the nonces of incarnations and probes
come from (`secrets`). Each of them asks the running event loop, which is that of a simulated process.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

from hanas_core.volume import names
from hanas_core.volume.errors import Corruption
from hanas_serving.lanes import Lane
from hanas_worker.neighbours.keepalives import Sender
from hanas_worker.neighbours.lifeline import Lifeline
from hanas_worker.neighbours.overseers import Overseers
from tests.sim.mount import Call
from tests.sim.world import ProcessLoop

Procedure = Coroutine[Any, Any, Any]


class Thread:
    """The thread of a lane: carries out one procedure after the other, an operation at a time."""

    def __init__(self, lane: Lane, loop: ProcessLoop) -> None:
        self._lane = lane
        self._loop = loop
        self._waiting: deque[tuple[Procedure, asyncio.Future[Any]]] = deque()
        self._now: tuple[Procedure, asyncio.Future[Any]] | None = None

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        self._waiting.append((procedure, answer))
        self._loop.procedures.append(procedure)
        if self._now is None:
            self._next()

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
        self._loop.call_soon(self._lane._deliver, answer, result, error)
        self._next()


class Entropy:
    """Random numbers from the seed, with the method of `secrets` that incarnations and probes come from."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token_hex(self, count: int) -> str:
        return self._random.randbytes(count).hex()


def running_loop() -> ProcessLoop:
    found: object = asyncio.get_running_loop()
    assert isinstance(found, ProcessLoop)
    return found


def _submit(lane: Lane, procedure: Procedure, answer: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
    if cast("ProcessLoop", loop).world.burying:
        procedure.close()
        return
    thread: Thread | None = lane.__dict__.get("simulated")
    if thread is None:
        thread = lane.__dict__["simulated"] = Thread(lane, cast("ProcessLoop", loop))
    thread.submit(procedure, answer)


Carry = Callable[[ProcessLoop, str, str, bytes, float], Coroutine[Any, Any, tuple[int, bytes]]]
"""From a process: method, URL, body, time-out in seconds; raises TimeoutError or OSError."""


Connect = Callable[[ProcessLoop, str], Coroutine[Any, Any, None]]
"""From a process to a URL: returns when the connection is closed; raises OSError if there is none."""


@contextmanager
def simulated(seed: int, carry: Carry, connect: Connect) -> Iterator[None]:
    """Put the simulated world under the production code."""

    async def post(sender: Sender, url: str, body: bytes) -> tuple[int, bytes]:
        return await carry(running_loop(), "POST", url, body, sender._timeout.total or 1.0)

    async def call(overseers: Overseers, url: str, body: bytes) -> tuple[int, bytes]:
        return await carry(running_loop(), "POST", url, body, overseers._timeout.total or 1.0)

    async def until_closed(lifeline: Lifeline, url: str) -> None:
        del lifeline
        await connect(running_loop(), url)

    entropy = Entropy(seed)
    with (
        patch.object(Lane, "_submit", _submit),
        patch.object(Lane, "close", lambda lane: None),
        patch.object(Sender, "_post", post),
        patch.object(Overseers, "_call", call),
        patch.object(Lifeline, "_until_closed", until_closed),
        patch.object(names, "secrets", entropy),
    ):
        yield
