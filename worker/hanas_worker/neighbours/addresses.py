"""Addresses of the other workers: a slow or failed name service is not a failed link.

Each keep-alive is sent on a new connection and so resolves the name of its peer. The last answer is used while the next
look-up is under way, however long that takes. One look-up runs at a time for each name, so that the names of workers
that are gone do not occupy the threads that the others need.
"""

import asyncio
import socket
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

_FRESH_SECONDS = 1.0
"""A name is looked up again after this time; a pod that is made anew has another address."""

_Question = tuple[str, int, socket.AddressFamily]


class _Answer(NamedTuple):
    at: float
    """When the look-up ended, seconds on the loop's clock."""
    addresses: list[ResolveResult]
    error: OSError | None
    """Why there are none."""


class LastKnown(AbstractResolver):
    """Answers with the last answer of another resolver, and asks that one in the background."""

    def __init__(self, resolver: AbstractResolver) -> None:
        """Ask ``resolver``."""
        self._resolver = resolver
        self._answers: dict[_Question, _Answer] = {}
        self._lookups: dict[_Question, asyncio.Task[None]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``: the last known ones, if there are any. Raises OSError."""
        question = host, port, family
        answer = self._answers.get(question)
        if answer is None or asyncio.get_running_loop().time() - answer.at > _FRESH_SECONDS:
            lookup = self._lookups.get(question)
            if lookup is None:
                lookup = self._lookups[question] = asyncio.create_task(self._ask(question))
            if answer is None or answer.error is not None:
                await asyncio.shield(lookup)
                answer = self._answers[question]
        if answer.error is not None:
            raise answer.error
        return answer.addresses

    async def _ask(self, question: _Question) -> None:
        loop, before = asyncio.get_running_loop(), self._answers.get(question)
        addresses, error = [] if before is None else before.addresses, None
        try:
            addresses = await self._resolver.resolve(*question)
        except OSError as failure:
            error = None if addresses else failure
        finally:
            del self._lookups[question]
        self._answers[question] = _Answer(loop.time(), addresses, error)

    async def close(self) -> None:
        """Cancel the look-ups."""
        for lookup in list(self._lookups.values()):
            lookup.cancel()
        await self._resolver.close()
