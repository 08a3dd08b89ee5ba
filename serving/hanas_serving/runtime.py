"""What a process takes from outside: threads, entropy, the time of day, and HTTP.

`__main__` makes them and hands them in; the simulator hands in its own. They belong to the event loop, as does
monotonic time, which is the loop's.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Protocol

import msgspec

from hanas_core.volume import blocking, names

Procedure = Coroutine[Any, Any, Any]
Deliver = Callable[[asyncio.Future[Any], object, BaseException | None], None]
"""Gets the answer that was submitted with a procedure, and its result or its error; on the answer's loop."""


class Thread(Protocol):
    """Runs procedures on the folder, one after the other."""

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        """Run ``procedure`` after those that were submitted before; then deliver ``answer`` with its result."""

    def end(self) -> None:
        """End after what was submitted. There must be no further `submit`."""


class Outbound(Protocol):
    """Requests to the other processes of a cluster, with this one's secret."""

    async def post(self, url: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Send JSON on a fresh connection; return status and body of the answer.

        Raises OSError; TimeoutError, which is one, after ``timeout`` seconds.
        """

    async def until_closed(self, url: str, timeout: float) -> None:
        """Connect to ``url`` and return as soon as the other side closes the idle connection.

        Raises OSError if there is none, or no answer of status 204 on it, within ``timeout`` seconds.
        """


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


def wall_clock() -> str:
    """Return the time of day in ISO 8601, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Runtime(msgspec.Struct, frozen=True):
    """Threads, entropy, and the time of day: the operating system's, if no others are given."""

    thread: Callable[[str, Deliver], Thread] = SystemThread
    """Starts a thread."""
    nonce: Callable[[], str] = names.nonce
    """Returns 16 random bytes in hexadecimal, for what is no file's: an incarnation, or the nonce of a probe."""
    wall_clock: Callable[[], str] = wall_clock
