"""The latest picture of the cluster, for all who wait for it: nothing is queued, the newest one wins."""

import asyncio

import msgspec

from hanas_overseer import picture
from hanas_overseer.documents import ClusterDocument
from hanas_overseer.observer import Sight

REFRESH_SECONDS = 2.0
"""A picture that changed in nothing but ages is published this often."""


class Published(msgspec.Struct, frozen=True):
    """A picture as the streams of events send it."""

    number: int
    """Grows with each publication."""
    sight: Sight | None
    """None: the folder could not be read yet."""
    cluster: ClusterDocument
    body: bytes
    """``cluster`` as JSON."""


class Board:
    """Holds the latest picture and wakes those who wait for a publication."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self.published: Published | None = None
        self.closed = False
        self._settled = b""
        self._published_at = 0.0
        self._news = asyncio.Event()

    def show(self, now: float, sight: Sight | None, cluster: ClusterDocument) -> None:
        """Publish the picture if it differs from the last one, or if that is old. ``now``: monotonic seconds."""
        settled = picture.settled(cluster)
        if settled == self._settled and now - self._published_at < REFRESH_SECONDS:
            return
        self._settled, self._published_at = settled, now
        number = 1 if self.published is None else self.published.number + 1
        self.published = Published(number, sight, cluster, msgspec.json.encode(cluster))
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, number: int, seconds: float) -> None:
        """Return when something newer than publication ``number`` is there, the board is closed, or time is up."""
        if self.closed or (self.published is not None and self.published.number > number):
            return
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
