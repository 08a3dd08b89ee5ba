"""Acknowledged writes as they come in, for those who wait for the next ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Acknowledgements:
    """Of somebody who writes: who inherits this tells of each write that was acknowledged."""

    acknowledgements: int = field(default=0, init=False)
    """How many there have been."""
    _last: tuple[int, float] = field(default=(0, 0.0), init=False)
    """The highest epoch of them, and when its first one came."""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)

    @property
    def epoch(self) -> int:
        """The highest epoch of them."""
        return self._last[0]

    async def acknowledged_after(self, epoch: int) -> float:
        """Wait for the first acknowledgement by a main of a later epoch; return when it came (monotonic seconds)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._last[0] > epoch)
            return self._last[1]

    async def more(self, count: int) -> None:
        """Wait until `count` more writes have been acknowledged."""
        target = self.acknowledgements + count
        async with self._changed:
            await self._changed.wait_for(lambda: self.acknowledgements >= target)

    async def _acknowledge(self, version: str, now: float) -> None:
        """A write got this version."""
        self.acknowledgements += 1
        epoch = epoch_of(version)
        async with self._changed:
            if epoch > self._last[0]:
                self._last = (epoch, now)
            self._changed.notify_all()


def epoch_of(version: str) -> int:
    """Return the epoch of a version, `epoch-sequence`."""
    return int(version.partition("-")[0])
