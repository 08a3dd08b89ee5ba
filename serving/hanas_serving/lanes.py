"""Lanes: threads for folder I/O that may hang without freezing anything else (docs/protocol.md, section 4).

Each duty that touches the folder has a lane of its own, with one thread. A call that takes too long is given up on: the
caller goes on, the thread stays behind with its buffer and its descriptor, and the lane refuses further calls until
it returns. So a hung mount costs at most one thread per duty, and keep-alives, health checks and redirects
never wait for it.
"""

import asyncio
import threading
from collections.abc import Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

from hanas_core.volume import blocking
from hanas_core.volume.errors import FolderUnavailable

T = TypeVar("T")
_Call = tuple[Coroutine[Any, Any, Any], asyncio.Future[Any], asyncio.AbstractEventLoop]
_END = None


class Lane:
    """One thread that runs procedures on the folder, one after the other."""

    def __init__(self, name: str) -> None:
        """Name the lane in messages; its thread starts with the first call."""
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._under_way = 0
        self._given_up = False

    @property
    def hung(self) -> bool:
        """A call was given up on and has not returned yet."""
        return self._given_up

    @property
    def idle(self) -> bool:
        """Every call has returned, also those that were given up on."""
        return self._under_way == 0

    def close(self) -> None:
        """End the thread once it has returned from what it was given. There must be no further calls."""
        if self._thread is not None:
            self._calls.put(_END)

    async def run(self, procedure: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return the result of ``procedure``. Raises what it raises; FolderUnavailable after ``timeout`` seconds."""
        if self._given_up:
            procedure.close()
            raise FolderUnavailable(f"the folder still hangs ({self._name})")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._under_way += 1
        self._submit(procedure, answer, loop)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            # After a stop of the whole process the time-out and the call's return come together: then nothing hangs.
            self._given_up = self._under_way > 0
            raise FolderUnavailable(f"the folder did not answer within {timeout:g} s ({self._name})") from None

    def _submit(
        self, procedure: Coroutine[Any, Any, T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Have ``procedure`` run after those that were submitted before; `_deliver` on ``loop`` gets its result."""
        if self._thread is None:
            # A daemon: a thread that hangs in the kernel must not keep the process from ending.
            self._thread = threading.Thread(target=self._work, name=f"folder-{self._name}", daemon=True)
            self._thread.start()
        self._calls.put((procedure, answer, loop))

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is _END:
                return
            procedure, answer, loop = call
            result, error = None, None
            try:
                result = blocking.run(procedure)
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(self._deliver, answer, result, error)
            except RuntimeError:
                return  # the loop is closed: the process is ending

    def _deliver(self, answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        self._under_way -= 1
        self._given_up = False
        if answer.done():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
