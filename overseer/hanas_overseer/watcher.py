"""Watches the folder, some looks a second, and keeps the picture of the cluster (docs/architecture.md)."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hanas_core.members.documents import Report
from hanas_core.members.timing import Timing
from hanas_core.volume.errors import FolderError, FolderUnavailable
from hanas_overseer import alarms, picture
from hanas_overseer.board import Board
from hanas_overseer.documents import ClusterDocument
from hanas_overseer.liveness import Liveness, Observation
from hanas_overseer.observer import Observer, Sight
from hanas_overseer.reports import Reports
from hanas_serving.lanes import Lane

_log = logging.getLogger(__name__)


def wall_clock() -> str:
    """Return the time of day in ISO 8601, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Watcher:
    """One task that looks at the folder through its own lane; a hung folder freezes nothing but the picture."""

    def __init__(
        self, observer: Observer, folder_id: str, timing: Timing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look with ``observer``. ``clock``: monotonic seconds."""
        self.board = Board()
        self._observer = observer
        self._folder_id = folder_id
        self._timing = timing
        self._clock = clock
        self._lane = Lane("watcher")
        self._liveness = Liveness(timing)
        self._openings = alarms.Openings()
        self._sight: Sight | None = None
        self._sightings: tuple[Observation, ...] = ()
        self._seen_at: float | None = None
        self._reports = Reports(timing)
        self._trouble = ""
        self._asked = 0
        self._answered = 0
        self._tried: int | None = None
        self._nudge = asyncio.Event()
        self._looked = asyncio.Condition()

    @property
    def age(self) -> float | None:
        """Seconds since the last successful look began; None before the first."""
        return None if self._seen_at is None else self._clock() - self._seen_at

    @property
    def stale_after(self) -> float:
        """A picture of this age, seconds, is no answer any more."""
        return self._timing.folder_timeout + self._timing.watch_interval

    @property
    def trouble(self) -> str:
        """Why the last look failed; empty if it worked."""
        return self._trouble

    def told(self, report: Report) -> None:
        """A worker told over the network how it is."""
        self._reports.take(self._clock(), report)

    def changed(self) -> None:
        """Something was decided here: look at once, and let no later answer rest on an earlier look."""
        self._asked += 1
        self._nudge.set()

    async def sight(self) -> Sight:
        """Return a recent look, one that began after every decision made here. FolderUnavailable if there is none."""
        asked = self._asked
        async with self._looked:
            try:
                async with asyncio.timeout(self.stale_after):
                    await self._looked.wait_for(lambda: self._tried is not None and self._tried >= asked)
            except TimeoutError:
                raise FolderUnavailable("the folder has not answered yet") from None
        age = self.age
        if self._sight is None or age is None or self._answered < asked or age > self.stale_after:
            raise FolderUnavailable(self._trouble or f"the last look at the folder was {age or 0.0:.1f} s ago")
        return self._sight

    async def cluster(self) -> ClusterDocument:
        """Return the present document. Raises FolderUnavailable."""
        return self._compose(await self.sight())

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            sight = self._sight
            pause = (
                0.0 if sight is not None and not sight.complete and not self._trouble else self._timing.watch_interval
            )
            try:
                async with asyncio.timeout(pause):
                    await self._nudge.wait()
            except TimeoutError:
                pass
            self._nudge.clear()

    async def look(self) -> None:
        """Look once and show the picture; an error becomes an alert."""
        asked, began = self._asked, self._clock()
        try:
            sight = await self._lane.run(self._observer.look(), self._timing.folder_timeout)
        except Exception as error:  # whatever it is, the next look may work, and people must be told
            if not self._trouble:
                _log.error(
                    "the communication folder cannot be read: %s", error, exc_info=not isinstance(error, FolderError)
                )
            self._trouble = str(error) or type(error).__name__
        else:
            if self._trouble:
                _log.info("the communication folder can be read again")
            self._tell(sight)
            self._trouble = ""
            self._sightings = self._liveness.look(self._clock(), sight.presences)
            self._sight, self._seen_at, self._answered = sight, began, asked
        self._tried = asked
        self.board.show(self._clock(), self._sight, self._compose(self._sight or Sight()))
        async with self._looked:
            self._looked.notify_all()

    def _compose(self, sight: Sight) -> ClusterDocument:
        now = wall_clock()
        reports = self._reports.of_the_silent(self._clock(), self._sightings)
        own = alarms.silences(self._sightings, sight.main, reports, now=now)
        if self._trouble:
            own.append(alarms.unreadable(self._trouble, now=now))
        return picture.cluster(self._folder_id, sight, self._sightings, self._openings.stamp(own), reports)

    def _tell(self, sight: Sight) -> None:
        before = self._sight
        if sight.main is None or (before is not None and before.highest == sight.highest):
            return
        newest = sight.takeovers[-1] if sight.takeovers else None
        _log.info("epoch %d: main %s (%s)", sight.highest, sight.main.member, newest.words if newest else "")
