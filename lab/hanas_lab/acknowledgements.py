"""Acknowledged writes as they arrive, with waits for the next ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hanas_lab.linearizable import version_of


@dataclass(slots=True)
class Acknowledgements:
    """The acknowledged writes of a writer, which inherits this and reports each of them."""

    acknowledgements: int = field(default=0, init=False)
    """Their number."""
    _last: tuple[int, float] = field(default=(0, 0.0), init=False)
    """The highest epoch, and the time of its first acknowledgement."""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)

    @property
    def epoch(self) -> int:
        """The highest epoch of an acknowledgement."""
        return self._last[0]

    async def acknowledged_after(self, epoch: int) -> float:
        """Wait for the first acknowledgement in a later epoch; return its time (monotonic seconds)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._last[0] > epoch)
            return self._last[1]

    async def more(self, count: int) -> None:
        """Wait for `count` more acknowledgements."""
        target = self.acknowledgements + count
        async with self._changed:
            await self._changed.wait_for(lambda: self.acknowledgements >= target)

    async def _acknowledge(self, version: str, now: float) -> None:
        """Record an acknowledged write."""
        self.acknowledgements += 1
        epoch, _ = version_of(version)
        async with self._changed:
            if epoch > self._last[0]:
                self._last = (epoch, now)
            self._changed.notify_all()
