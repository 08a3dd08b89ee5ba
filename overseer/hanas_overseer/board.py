"""The latest state of the cluster, for streams that wait for a newer one. Nothing is queued."""

import asyncio
from contextlib import suppress

import msgspec

from hanas_overseer import picture
from hanas_overseer.documents import ClusterDocument
from hanas_overseer.observer import Observation

REFRESH_SECONDS = 2.0
"""Interval of publications while nothing but ages and positions changes."""


class Published(msgspec.Struct, frozen=True):
    """One publication of the state of the cluster."""

    number: int
    """Grows with each publication."""
    observation: Observation | None
    """None: the folder has not been read yet."""
    cluster: ClusterDocument
    body: bytes
    """``cluster`` as JSON."""


class Board:
    """The latest publication, and the tasks that wait for the next one."""

    def __init__(self) -> None:
        """Begin without a publication."""
        self.published: Published | None = None
        self.closed = False
        self.era = 0
        """Grows when all streams are to begin anew."""
        self._settled = b""
        self._published_at = 0.0
        self._news = asyncio.Event()

    def show(self, now: float, observation: Observation | None, cluster: ClusterDocument) -> None:
        """Publish the state if it differs from the last one, or if that is old. ``now``: monotonic seconds."""
        settled = picture.settled(cluster)
        if settled == self._settled and now - self._published_at < REFRESH_SECONDS:
            return
        self._settled, self._published_at = settled, now
        number = 1 if self.published is None else self.published.number + 1
        self.published = Published(number, observation, cluster, msgspec.json.encode(cluster))
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    def interrupt(self) -> None:
        """End the streams that are open now; their readers come back, if they may."""
        self.era += 1
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, number: int, seconds: float) -> None:
        """Return after a publication newer than ``number``, at the end of the board, or after ``seconds``."""
        if self.closed or (self.published is not None and self.published.number > number):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
