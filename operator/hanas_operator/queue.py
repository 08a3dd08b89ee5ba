"""Which clusters are to be looked at, and when: one reconcile of a cluster at a time, several clusters at once.

What is asked for while a reconcile of the same cluster runs is done once more after it. A reconcile that fails is tried
again, after a wait that doubles.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

Key = tuple[str, str]
"""Namespace and name of a HANas."""
Reconcile = Callable[[Key], Awaitable[float | None]]
AT_ONCE = 5
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
_log = logging.getLogger(__name__)


class Queue:
    """Runs a procedure for every key that is added."""

    def __init__(self) -> None:
        """Begin empty."""
        self._due: dict[Key, float] = {}
        self._failed: dict[Key, int] = {}
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.alive_at = time.monotonic()
        """When the queue last looked at itself; for the liveness probe."""

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have ``key`` looked at in ``after`` seconds, or earlier if that was asked for already."""
        due = time.monotonic() + after
        self._due[key] = min(due, self._due.get(key, due))
        self._woken.set()

    async def run(self, reconcile: Reconcile) -> None:
        """Work until cancelled. ``reconcile`` returns after how many seconds to call it again; None: when asked."""
        try:
            while True:
                await self._round(reconcile)
        finally:
            for task in self._busy.values():
                task.cancel()

    async def _round(self, reconcile: Reconcile) -> None:
        """Begin what is due, then wait for the next change."""
        self.alive_at = time.monotonic()
        self._woken.clear()
        for key in [key for key, due in self._due.items() if due <= self.alive_at and key not in self._busy]:
            del self._due[key]
            self._busy[key] = asyncio.create_task(self._one(key, reconcile), name=f"reconcile {key[0]}/{key[1]}")
        waits = [due - self.alive_at for key, due in self._due.items() if key not in self._busy]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min([*waits, 1.0]))):
                await self._woken.wait()

    async def _one(self, key: Key, reconcile: Reconcile) -> None:
        try:
            async with self._places:
                again = await reconcile(key)
            self._failed.pop(key, None)
            if again is not None:
                self.add(key, again)
        except Exception as error:  # whatever it was: it must not end the operator, and the next try may work
            count = self._failed[key] = self._failed.get(key, 0) + 1
            wait = min(FIRST_WAIT_SECONDS * 2 ** (count - 1), LONGEST_WAIT_SECONDS)
            expected = isinstance(error, ExpectedError)
            _log.warning("%s/%s: %s; again in %.0f s", *key, error, wait, exc_info=None if expected else error)
            self.add(key, wait)
        finally:
            del self._busy[key]
            self._woken.set()


class ExpectedError(Exception):
    """Something that happens now and then and needs no traceback."""
