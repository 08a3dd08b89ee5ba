"""Waiting for what must come soon."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as ``holds`` does. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is outside
            await asyncio.sleep(0.01)
