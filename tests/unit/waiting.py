"""Waiting for what another thread or task does, never for a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

AMPLE_SECONDS = 30.0
"""Longer than anything here takes on the busiest machine."""


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(AMPLE_SECONDS):
        while not condition():  # noqa: ASYNC110 - it may be about another thread
            await asyncio.sleep(0.001)


@asynccontextmanager
async def meanwhile(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Have a task do what never ends, and cancel it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
