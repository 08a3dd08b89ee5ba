"""Lanes: threads for folder I/O that may hang without freezing anything else (docs/protocol.md, section 4).

Each duty that touches the folder has a lane of its own, with one thread. The caller of a call that takes too long gets
an error, the thread stays behind with its buffer and its descriptor, and the lane refuses further calls until it
returns. So a hung mount costs at most one thread per duty, and keep-alives, health checks and redirects never wait.

A call that timed out may still take effect at any time, in the folder and in memory. So what procedures change in
memory is `Owned` by their lane.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from hanas_core.volume import blocking
from hanas_core.volume.errors import FolderUnavailable

S = TypeVar("S")
T = TypeVar("T")
Procedure = Coroutine[Any, Any, Any]
Deliver = Callable[[asyncio.Future[Any], object, BaseException | None], None]
"""Gets the answer that was submitted with a procedure, and its result or its error; on the answer's loop."""


class Thread(Protocol):
    """Runs procedures on the folder, one after the other."""

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        """Run ``procedure`` after those that were submitted before; then deliver ``answer`` with its result."""

    def end(self) -> None:
        """End after what was submitted. There must be no further `submit`."""


StartThread = Callable[[str, Deliver], Thread]
"""Starts a thread; its name is for people."""


class SystemThread:
    """A thread of the operating system. Only its queue is shared with the event loop.

    It is a daemon: one that hangs in the kernel must not keep the process from ending.
    """

    def __init__(self, name: str, deliver: Deliver) -> None:
        """Start. ``name`` is for people."""
        self._deliver = deliver
        self._calls: SimpleQueue[tuple[Procedure, asyncio.Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=f"folder-{name}", daemon=True).start()

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        """Hand ``procedure`` to the thread, with all that it works on."""
        self._calls.put((procedure, answer))

    def end(self) -> None:
        """End after what was submitted."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            procedure, answer = call
            result, error = None, None
            try:
                result = blocking.run(procedure)
            except BaseException as caught:
                error = caught
            try:
                answer.get_loop().call_soon_threadsafe(self._deliver, answer, result, error)
            except RuntimeError:
                return  # the loop is closed: the process is ending


class Hung(FolderUnavailable):
    """A call timed out, or was not begun because an earlier one has not returned."""


def _do_nothing() -> None:
    pass


class Lane:
    """One thread that runs procedures on the folder, one after the other. The lane itself belongs to the event loop."""

    def __init__(self, name: str, start: StartThread) -> None:
        """Name the lane in messages; ``start`` is called with the first call."""
        self._name = name
        self._start = start
        self._thread: Thread | None = None
        self._under_way = 0
        self.hung = False
        """A call timed out and has not returned yet."""
        self.returns = 0
        """How many calls have returned, also with an error, and also those that timed out."""
        self.on_return: Callable[[], None] = _do_nothing
        """Called when a call returns that timed out: the folder answers again."""

    @property
    def idle(self) -> bool:
        """Return whether every call has returned, also those that timed out."""
        return self._under_way == 0

    def close(self) -> None:
        """End the thread once it has returned from what it was given. There must be no further calls."""
        if self._thread is not None:
            self._thread.end()

    def owning(self, make: Callable[[], S]) -> "Owned[S]":
        """Return an object for the thread alone, from ``make``, which must not touch the folder."""
        return Owned(self, make)

    async def run(self, procedure: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return the result of ``procedure``. Raises what it raises; Hung after ``timeout`` seconds."""
        if self.hung:
            procedure.close()
            raise Hung(f"the folder still hangs ({self._name})")
        if self._thread is None:
            self._thread = self._start(self._name, self._deliver)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way += 1
        self._thread.submit(procedure, answer)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            # After a stop of the whole process the time-out and the call's return come together: then nothing hangs.
            self.hung = self._under_way > 0
            raise Hung(f"the folder did not answer within {timeout:g} s ({self._name})") from None

    def _deliver(self, answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        self._under_way -= 1
        self.returns += 1
        if self.hung:
            self.hung = False
            self.on_return()
        if not answer.done():
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)


class Owned(Generic[S]):
    """An object that belongs to the thread of a lane: only the procedure that is running there touches it.

    The event loop hands it to the thread with a call and has it back with the call's result or error. A call that timed
    out, or whose caller was cancelled, keeps it: the next call gets a new one.
    """

    def __init__(self, lane: Lane, make: Callable[[], S]) -> None:
        """Use `Lane.owning`."""
        self._lane = lane
        self._make = make
        self._object: S | None = None
        self._turn = asyncio.Lock()

    def forget(self) -> None:
        """Have the next call make a new object; a call that is under way keeps this one until it returns."""
        self._object = None

    async def run(self, procedure: Callable[[S], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Run ``procedure`` on the object, after the calls before it. Raises as `Lane.run` does."""
        async with self._turn:
            if self._object is None:
                self._object = self._make()
            try:
                return await self._lane.run(procedure(self._object), timeout)
            except (Hung, asyncio.CancelledError):
                self._object = None
                raise
