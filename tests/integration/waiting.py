"""Waiting for a condition, never for a time."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import httpx

from hanas_client.errors import HanasError

T = TypeVar("T")

SLOWNESS = float(os.environ.get("HANAS_TEST_SLOWNESS", "1"))
"""How many times longer than on a usual machine the tests wait."""
PATIENCE_SECONDS = 25.0 * SLOWNESS
"""Ample on a busy machine; what is waited for usually comes within a second."""
_POLL_SECONDS = 0.02 * SLOWNESS
"""Each look takes processor time from those that are waited for."""


def busy() -> float:
    """Return how many processes want each core, at least one: what takes seconds takes so many times as long."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def eventually(condition: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first answer of `condition` that is neither None nor False; one that fails just now is asked again."""
    answer: object = "none yet"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answer = found = await condition()
                    if found is not None and found is not False:
                        return found
                except (HanasError, httpx.HTTPError) as error:
                    answer = error
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:.0f} s; the last answer was {answer!r}") from None


async def all_of(calls: Iterable[Awaitable[T]], at_once: int = 16) -> list[T]:
    """Return all results. So many calls go on at a time: of hundreds each would wait longer than its client does."""
    gate = asyncio.Semaphore(at_once)

    async def one(call: Awaitable[T]) -> T:
        async with gate:
            return await call

    return await asyncio.gather(*map(one, calls))


async def within(seconds: float, waiting: Awaitable[T]) -> T:
    """Return the result of `waiting`, which must come in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await waiting
    raise AssertionError(f"not within {seconds:.0f} s")
