"""What a process takes from outside: threads, entropy, the time of day, and HTTP. The simulator hands in its own.

Monotonic time is the event loop's, and entropy of names in the folder is the folder's.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Protocol

from hanas_core.volume import blocking

Procedure = Coroutine[Any, Any, Any]
Deliver = Callable[[asyncio.Future[Any], object, BaseException | None], None]
"""Gets the answer that was submitted with a procedure, and its result or its error; on the answer's loop."""


class Thread(Protocol):
    """Runs procedures on the folder, one after the other. Its methods belong to the event loop."""

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        """Run ``procedure`` after those that were submitted before; then deliver ``answer`` with its result."""

    def end(self) -> None:
        """End after what was submitted. There must be no further `submit`."""


class Runtime(Protocol):
    """Threads, entropy, and the time of day."""

    def thread(self, name: str, deliver: Deliver) -> Thread:
        """Start a thread; ``name`` is for people."""

    def nonce(self) -> str:
        """Return 16 random bytes in hexadecimal: an incarnation, or the nonce of a claim or a probe."""

    def wall_clock(self) -> str:
        """Return the time of day in ISO 8601, for people."""


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


class SystemRuntime:
    """The operating system's."""

    def thread(self, name: str, deliver: Deliver) -> Thread:
        """Start a daemon: one that hangs in the kernel must not keep the process from ending."""
        return _SystemThread(name, deliver)

    def nonce(self) -> str:
        """Return 16 random bytes in hexadecimal."""
        return secrets.token_hex(16)

    def wall_clock(self) -> str:
        """Return the time of day in ISO 8601."""
        return datetime.now(UTC).isoformat(timespec="milliseconds")


class _SystemThread:
    """The queue is all that the event loop and the thread share; a procedure belongs to the thread once it is in it."""

    def __init__(self, name: str, deliver: Deliver) -> None:
        self._deliver = deliver
        self._calls: SimpleQueue[tuple[Procedure, asyncio.Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=f"folder-{name}", daemon=True).start()

    def submit(self, procedure: Procedure, answer: asyncio.Future[Any]) -> None:
        self._calls.put((procedure, answer))

    def end(self) -> None:
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
