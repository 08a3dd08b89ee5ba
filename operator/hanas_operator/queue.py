"""The queue of reconciles: one at a time for a cluster, several clusters at once.

A request during a reconcile of the same cluster runs one more after it. A failed reconcile is repeated, each
time after twice the wait.
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
    """Runs a procedure for each key in it."""

    def __init__(self) -> None:
        """Start empty."""
        self._due: dict[Key, float] = {}
        self._failed: dict[Key, int] = {}
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.alive_at = time.monotonic()
        """When the loop last ran; for the liveness probe."""

    def add(self, key: Key, after: float = 0.0) -> None:
        """Request a reconcile of ``key`` in ``after`` seconds, or earlier if one is due before."""
        due = time.monotonic() + after
        self._due[key] = min(due, self._due.get(key, due))
        self._woken.set()

    def restart(self) -> None:
        """Break off all running reconciles, and request them anew."""
        for key, task in self._busy.items():
            task.cancel()
            self.add(key)

    async def run(self, reconcile: Reconcile) -> None:
        """Run until cancelled. ``reconcile`` returns the seconds until its next call, or None."""
        try:
            while True:
                await self._round(reconcile)
        finally:
            for task in self._busy.values():
                task.cancel()

    async def _round(self, reconcile: Reconcile) -> None:
        """Start the due reconciles, then wait for the next change."""
        self.alive_at = time.monotonic()
        self._woken.clear()
        for key in [key for key, due in self._due.items() if due <= self.alive_at and key not in self._busy]:
            del self._due[key]
            self._busy[key] = asyncio.create_task(self._reconcile(key, reconcile), name=f"reconcile {key[0]}/{key[1]}")
        waits = [due - self.alive_at for key, due in self._due.items() if key not in self._busy]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min([*waits, 1.0]))):
                await self._woken.wait()

    async def _reconcile(self, key: Key, reconcile: Reconcile) -> None:
        try:
            async with self._places:
                again = await reconcile(key)
            self._failed.pop(key, None)
            if again is not None:
                self.add(key, again)
        except Exception as error:  # no error may end the operator, and the next try may succeed
            count = self._failed[key] = self._failed.get(key, 0) + 1
            wait = min(FIRST_WAIT_SECONDS * 2 ** (count - 1), LONGEST_WAIT_SECONDS)
            expected = isinstance(error, ExpectedError)
            _log.warning("%s/%s: %s; again in %.0f s", *key, error, wait, exc_info=None if expected else error)
            self.add(key, wait)
        finally:
            del self._busy[key]
            self._woken.set()


class ExpectedError(Exception):
    """An error that needs no traceback."""
