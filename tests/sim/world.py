"""The simulated world: one clock, one source of chance, and processes whose event loops live in it.

Every step is an event in one queue, ordered by simulated time. A seed fixes every choice, so a run can be repeated
exactly. Each process has its own event loop, with a clock that may run at another rate; it can be paused and killed
between any two steps.
"""

import asyncio
import contextlib
import heapq
import math
import random
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Violation(Exception):
    """The system under test broke a promise. The message names it."""


class World:
    """Simulated time, chance, and the queue of events."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.entropy = random.Random(f"{seed} entropy")
        """For incarnations and probes; each mount has its own."""
        self.now = 0.0
        self.tracing = tracing
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.rotten = False
        """Whether durable bytes were corrupted: the system may stop for ever, but not lose or invent anything."""
        self.burying = False
        """Whether a process is being killed: requests of its clean-up code are ignored."""
        self.running: ProcessLoop | None = None
        """The process of the last step, which asyncio takes for the running one."""
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._next: deque[Callable[[], object]] = deque()
        self._count = 0

    def at(self, when: float, do: Callable[[], object]) -> None:
        """Schedule a call at a simulated time."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, do))

    def soon(self, do: Callable[[], object]) -> None:
        """Schedule a call next, at the current time."""
        self._next.append(do)

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        self.at(self.now + seconds, do)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Run events until a time, a violation, or ``done``; return whether ``done``."""
        queue, following = self._queue, self._next
        while following or (queue and queue[0][0] <= until):
            if following:
                do = following.popleft()
            else:
                self.now, _, do = heapq.heappop(queue)
            do()
            if self.violations:
                raise Violation(self.violations[0])
            if done():
                return True
        self.now = max(self.now, until)
        return done()

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        if self.tracing:
            self.trace.append(f"{self.now:10.6f}  {who:<9} {what}")

    def accuse(self, what: str) -> None:
        """Record a broken promise: the run ends after this step."""
        self.note("!!", what)
        self.violations.append(what)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability


class ProcessLoop:
    """The event loop of one simulated process: as much of one as asyncio needs for tasks, futures and timers."""

    def __init__(self, world: World, name: str, *, rate: float = 1.0) -> None:
        self.world = world
        self.name = name
        self.asyncio = cast("asyncio.AbstractEventLoop", self)
        self.alive = True
        self.paused = False
        self._rate = rate
        self._pauses: list[tuple[float, float]] = []
        """Beginning and end of each pause."""
        self.procedures: list[Coroutine[Any, Any, Any]] = []
        """Unfinished work of its threads."""
        self._ready: deque[asyncio.Handle] = deque()
        self._scheduled = False

    # ------------------------------------------------------------------ what asyncio needs

    def time(self) -> float:
        return 1000.0 + self.world.now * self._rate

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self.asyncio, context)
        self._ready.append(handle)
        self._schedule()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self.asyncio, context)
        self.world.at((when - 1000.0) / self._rate, lambda: self._due(timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Ignore asyncio's notice; the timer is skipped when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.asyncio)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self.asyncio, name=name or "task", context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self.alive

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.alive and error is not None:
            self.world.accuse(f"{self.name}: {context.get('message')}: {error!r}")

    # ------------------------------------------------------------------ what the world does with it

    def _due(self, timer: asyncio.TimerHandle) -> None:
        if self.alive and not timer.cancelled():
            self._ready.append(timer)
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self.alive and not self.paused:
            self._scheduled = True
            self.world.soon(self._turn)

    def enter(self) -> None:
        """Make this the running process, for asyncio too."""
        if self.world.running is not self:
            self.world.running = self
            asyncio._set_running_loop(self.asyncio)

    def _turn(self) -> None:
        """Run one round of the event loop: everything that is ready now."""
        self._scheduled = False
        if not self.alive or self.paused:
            return
        self.enter()
        for _ in range(len(self._ready)):
            if not self._ready:
                return  # it has ended
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        if self._ready:
            self._schedule()

    def pause(self) -> None:
        """Stop the process and all its threads (SIGSTOP)."""
        self.paused = True
        self._pauses.append((self.world.now, math.inf))

    def resume(self) -> None:
        """Continue the process (SIGCONT)."""
        if self.paused:
            self._pauses[-1] = self._pauses[-1][0], self.world.now
        self.paused = False
        if self._ready:
            self._schedule()

    def paused_since(self, moment: float) -> float:
        """Return how long the process was paused since ``moment``, simulated seconds."""
        now = self.world.now
        return sum(max(0.0, min(end, now) - max(begin, moment)) for begin, end in self._pauses)

    def kill(self) -> None:
        """Kill the process (SIGKILL): no step of it runs again. Its unfinished work is discarded."""
        if not self.alive:
            return
        self.alive = False
        self.world.burying = True
        unfinished: list[Any] = [task.get_coro() for task in asyncio.all_tasks(self.asyncio)]
        for procedure in (*unfinished, *self.procedures):
            # A `finally` that would wait cannot do so, and has no effect any more.
            with warnings.catch_warnings(action="ignore"), contextlib.suppress(RuntimeError):
                procedure.close()
        self.world.burying = False
        self._ready.clear()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task of this process from outside of it."""
        return self.create_task(work)
