"""The task that reads the folder several times a second and publishes the state of the cluster."""

import asyncio
import logging
from contextlib import suppress

from hanas_core.members.documents import MainInfo, Report
from hanas_core.members.liveness import LifeSign, Liveness
from hanas_core.members.registry import Registration, vacant
from hanas_core.members.roles import MainState
from hanas_core.members.timing import Timing
from hanas_core.volume.errors import FolderError, FolderUnavailable
from hanas_core.volume.folder import Folder
from hanas_overseer import alarms, picture
from hanas_overseer.board import Board
from hanas_overseer.documents import ClusterDocument, HighestEpoch
from hanas_overseer.observer import Observation, Observer
from hanas_overseer.reports import Reports
from hanas_serving.admission import Admission
from hanas_serving.credentials import Credentials
from hanas_serving.http1 import Connection
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Runtime
from hanas_serving.tls import Tls

_log = logging.getLogger(__name__)

_LEADERLESS = 2.0
"""After so many `folder_timeout` without a main that serves, a person is told."""


class Watcher:
    """One task that looks at the folder through a lane of its own, so that a hung folder blocks nothing else."""

    def __init__(
        self,
        folder: Folder,
        folder_id: str,
        timing: Timing,
        runtime: Runtime,
        admission: Admission[Connection],
        credentials: Credentials,
        tls: Tls | None = None,
    ) -> None:
        """Look at ``folder``, which must have this id, at the own connections, and at what ``credentials`` are in.

        Needs a running event loop.
        """
        self._admission = admission
        self._credentials, self._tls = credentials, tls
        self.board = Board()
        self._folder_id = folder_id
        self._timing = timing
        self._clock = asyncio.get_running_loop().time
        self._runtime = runtime
        self._observer = Lane("watcher", runtime.thread).owning(
            lambda: Observer(folder, folder_id, self._observation or Observation())
        )
        self._liveness = Liveness(timing)
        self._openings = alarms.Openings()
        self._observation: Observation | None = None
        self._life_signs: tuple[LifeSign, ...] = ()
        self._seen_at: float | None = None
        self._leaderless_since: float | None = None
        """Since when the holder of the highest claim, whoever that was, has not served."""
        self._reports = Reports(timing)
        self.trouble = ""
        """The error of the last look; empty if it succeeded."""
        # Numbers of the decisions made here: all, those before the last successful look, those before the last look.
        self._decided = 0
        self._answered = 0
        self._tried = -1
        self._nudge = asyncio.Event()
        self._looked = asyncio.Condition()

    @property
    def age(self) -> float | None:
        """Seconds since the last successful look began; None before the first."""
        return None if self._seen_at is None else self._clock() - self._seen_at

    @property
    def stale_after(self) -> float:
        """The age, seconds, above which the last look answers no request."""
        return self._timing.folder_timeout + self._timing.watch_interval

    def take(self, report: Report) -> None:
        """Store a report that a worker sent over the network; made-up members take nobody's place."""
        known = self._observation
        if known is None or any(entry.member == report.member for entry in known.registrations):
            self._reports.take(self._clock(), report)

    def changed(self) -> None:
        """Look at once after a decision; no later answer may come from an earlier look."""
        self._decided += 1
        self._nudge.set()

    async def observation(self) -> Observation:
        """Return a recent look that began after every decision made here. Raises FolderUnavailable."""
        decided = self._decided
        async with self._looked:
            try:
                async with asyncio.timeout(self.stale_after):
                    await self._looked.wait_for(lambda: self._tried >= decided)
            except TimeoutError:
                raise FolderUnavailable("the folder has not answered yet") from None
        age = self.age
        if self._observation is None or age is None or self._answered < decided or age > self.stale_after:
            raise FolderUnavailable(self.trouble or f"the last look at the folder was {age or 0.0:.1f} s ago")
        return self._observation

    async def cluster(self) -> ClusterDocument:
        """Return the present document. Raises FolderUnavailable."""
        return self._compose(await self.observation())

    @property
    def highest(self) -> int:
        """The highest epoch that this overseer has seen, 0 before the first."""
        return 0 if self._observation is None else self._observation.highest

    @property
    def vacancies(self) -> list[Registration]:
        """The registrations whose slots may be given to another, as far as this overseer has watched them."""
        registrations = () if self._observation is None else self._observation.registrations
        return vacant(registrations, self._life_signs)

    async def main(self) -> HighestEpoch:
        """Return the highest epoch and its main, None unless that was heard. Raises FolderUnavailable."""
        observation = await self.observation()
        return HighestEpoch(epoch=observation.highest, main=self._heard_main(observation, self._heard()))

    def _heard(self) -> frozenset[str]:
        """Return the incarnations that have shown to this overseer that they live, and do so still.

        A block in the folder proves nothing before it changes: in a copied folder it is one of another cluster.
        """
        now, signs = self._clock(), self._life_signs
        reported = self._reports.incarnations(now)
        shown = {
            sign.presence.incarnation
            for sign in signs
            if sign.presence is not None
            and sign.alive is not False
            and (sign.moved or sign.presence.incarnation in reported)
        }
        return frozenset(shown | {report.incarnation for report in self._reports.of_the_silent(now, signs).values()})

    @staticmethod
    def _heard_main(observation: Observation, heard: frozenset[str]) -> MainInfo | None:
        main = observation.main
        return main if main is not None and main.incarnation in heard else None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            observation = self._observation
            behind = observation is not None and not observation.complete and not self.trouble
            pause = 0.0 if behind else self._timing.watch_interval
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._nudge.wait()
            self._nudge.clear()

    async def look(self) -> None:
        """Look once and publish the result; an error becomes an alert."""
        decided, began = self._decided, self._clock()
        try:
            observation = await self._observer.run(Observer.look, self._timing.folder_timeout)
        except Exception as error:  # of any kind: it becomes an alert, and the next look may succeed
            if not self.trouble:
                _log.error(
                    "the communication folder cannot be read: %s", error, exc_info=not isinstance(error, FolderError)
                )
            self.trouble = str(error) or type(error).__name__
        else:
            if self.trouble:
                _log.info("the communication folder can be read again")
            self._log_epoch(observation)
            self.trouble = ""
            owners = [registration.member for registration in observation.registrations]
            self._life_signs = self._liveness.look(self._clock(), owners, observation.presences)
            self._observation, self._seen_at, self._answered = observation, began, decided
            if observation.main is None or observation.main.state is not MainState.ELECT:
                self._leaderless_since = None
            elif self._leaderless_since is None:
                self._leaderless_since = began
        self._tried = decided
        self.board.show(self._clock(), self._observation, self._compose(self._observation or Observation()))
        async with self._looked:
            self._looked.notify_all()

    def _compose(self, observation: Observation) -> ClusterDocument:
        now = self._runtime.wall_clock()
        reports = self._reports.of_the_silent(self._clock(), self._life_signs)
        own = alarms.silences(self._life_signs, observation.main, reports, now=now)
        if self.trouble:
            own.append(alarms.unreadable(self.trouble, now=now))
        if trouble := self._admission.trouble:
            own.append(alarms.crowded(trouble, now=now))
        troubles = (self._credentials.trouble, "" if self._tls is None else self._tls.trouble)
        if trouble := "; ".join(filter(None, troubles)):
            own.append(alarms.uncredited(trouble, now=now))
        if observation.main is not None and self._leaderless_since is not None:
            seconds = self._clock() - self._leaderless_since
            if seconds > _LEADERLESS * self._timing.folder_timeout:
                own.append(alarms.leaderless(observation.main, seconds, now=now))
        alerts, heard = self._openings.stamp(own), self._heard()
        return picture.cluster(self._folder_id, observation, self._life_signs, alerts, reports, heard)

    def _log_epoch(self, observation: Observation) -> None:
        before = self._observation
        if observation.main is None or (before is not None and before.highest == observation.highest):
            return
        words = observation.takeovers[-1].words if observation.takeovers else ""
        _log.info("epoch %d: main %s (%s)", observation.highest, observation.main.member, words)
