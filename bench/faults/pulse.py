"""Whether the workers hear, whatever their folder does, and whether this machine itself paused."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from hanas_lab.cluster import Lab

_INTERVAL_SECONDS = 0.5
_HEARS_SECONDS = 3.0
_DEAF_QUESTIONS = 2
"""So many in a row without an answer: one may have come while the process was stopped."""
_TICK_SECONDS = 0.05


def running(lab: Lab) -> list[str]:
    """Return the workers whose processes run."""
    return [worker["name"] for worker in lab.status()["workers"] if worker["state"] == "running"]


@dataclass(slots=True)
class Pauses:
    """Notes how long this process stands still."""

    longest: float = 0.0
    """Since the last `take`, seconds."""

    def take(self) -> float:
        """Return the longest pause since the last call, seconds."""
        taken, self.longest = self.longest, 0.0
        return taken

    async def note(self) -> None:
        """Note them for ever."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self.longest = max(self.longest, time.monotonic() - before - _TICK_SECONDS)


@dataclass(slots=True)
class Pulse:
    """Asks each running worker for /healthz all the time. Use it as an asynchronous context manager."""

    lab: Lab
    http: httpx.AsyncClient
    _deaf: set[str] = field(default_factory=set)
    _pauses: Pauses = field(default_factory=Pauses)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(name)) for name in self.lab.urls]
        self._tasks.append(asyncio.create_task(self._pauses.note()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self) -> tuple[tuple[str, ...], float]:
        """Return the deaf workers since the last call, and the longest pause of this process, seconds."""
        taken = tuple(sorted(self._deaf)), round(self._pauses.take(), 3)
        self._deaf = set()
        return taken

    async def _ask(self, name: str) -> None:
        unanswered = 0
        while True:
            if name in running(self.lab):
                try:
                    await self.http.get(f"{self.lab.urls[name]}/healthz", timeout=_HEARS_SECONDS)
                    unanswered = 0
                except httpx.TimeoutException:
                    unanswered += 1
                except httpx.HTTPError:
                    unanswered = 0  # it starts or ends
                if unanswered >= _DEAF_QUESTIONS and name in running(self.lab):
                    self._deaf.add(name)
            else:
                unanswered = 0
            await asyncio.sleep(_INTERVAL_SECONDS)
