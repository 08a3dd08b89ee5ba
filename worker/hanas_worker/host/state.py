"""What the parts of a worker share: who it is, what it knows, its lanes, and the events that wake its duties.

All of it belongs to the event loop. Each duty that touches the folder has a lane of its own (hanas_serving.lanes), so
that a hung mount freezes none of the others.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from hanas_core.log.positions import Position
from hanas_core.members.documents import LEFT, Presence
from hanas_core.members.member import Member
from hanas_core.members.timing import Timing
from hanas_core.state.replica import Replica
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Runtime
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.neighbours.peers import Peers

log = logging.getLogger("hanas.worker")

T = TypeVar("T")

_PEER_SILENCE = 3.0
"""A member silent for this many presence intervals counts as gone."""


class State:
    """The state of one incarnation of a worker."""

    def __init__(self, settings: WorkerSettings, folder: Folder, folder_id: str, runtime: Runtime) -> None:
        """Know nothing yet. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self.settings = settings
        self.folder = folder
        self.folder_id = folder_id
        self.runtime = runtime
        self.member = Member(settings.member, runtime.nonce(), settings.timing, settings.policy)
        self.replica = Replica(folder, settings.cache_bytes)
        self.replica_lock = asyncio.Lock()
        """Held by whoever reads the log into the replica: the follower, or a takeover."""
        self.peers = Peers(settings.member)
        self.slot = -1
        """One's own mailbox slot, known after the arrival."""
        self.followed_epoch = 0
        """The epoch whose manifest the replica follows."""
        self.served_epoch = 0
        """The last epoch that was seen to have a manifest: its main serves, whatever the folder does here now."""
        self.known: Position | None = None
        """The last commit position that a keep-alive told."""
        self.awake = 0.0
        """Seconds that this worker lived through: a pause of the whole process counts as `suspect_after` at most."""
        self._woke_at = self.now
        self.concluded = (0, 0.0)
        """The last epoch whose main was found to have failed here, and when."""
        self._troubles: dict[str, FolderError] = {}
        self._lanes: dict[str, Lane] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._background: set[asyncio.Task[None]] = set()
        self.mistake: asyncio.Future[None] = self._loop.create_future()
        """Gets the error of work in the background that no one expected: the worker ends with it, as with a duty's."""

    @property
    def timing(self) -> Timing:
        """All intervals and time-outs."""
        return self.settings.timing

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def live_on(self) -> None:
        """Let `awake` advance; to be called several times per `suspect_after`."""
        now = self.now
        self.awake += min(now - self._woke_at, self.timing.suspect_after)
        self._woke_at = now

    @property
    def hung_lanes(self) -> list[str]:
        """The duties whose last call on the folder has not returned in time."""
        return [name for name, lane in self._lanes.items() if lane.hung]

    @property
    def folder_trouble(self) -> str | None:
        """The last error of the folder in a duty that has not succeeded since; None while all is well."""
        return next((f"{duty}: {error}" for duty, error in reversed(self._troubles.items())), None)

    def lane(self, name: str) -> Lane:
        """Return the lane of a duty."""
        return self._lanes.setdefault(name, Lane(name, self.runtime))

    async def in_lane(self, lane: str, procedure: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run ``procedure`` in a lane, for `folder_timeout` or ``timeout`` seconds at most. Raises FolderError."""
        return await self.lane(lane).run(procedure, timeout or self.timing.folder_timeout)

    def waker(self, duty: str) -> asyncio.Event:
        """Return the event that makes ``duty`` run at once."""
        return self._wake.setdefault(duty, asyncio.Event())

    def wake(self, *duties: str) -> None:
        """Make duties run at once."""
        for duty in duties:
            self.waker(duty).set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work in the background."""
        self.keep(asyncio.create_task(work))

    def keep(self, task: asyncio.Task[None]) -> None:
        """Let a task of the background go on, and hear of its error."""
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.mistake.done():
            self.mistake.set_exception(error)

    def cancel_background(self) -> None:
        """Give up the work in the background."""
        for task in self._background:
            task.cancel()

    def others(self) -> list[Presence]:
        """The other members that live and stay."""
        alive = self.peers.alive(self.now, _PEER_SILENCE * self.timing.presence_interval)
        return [other for other in alive if other.role != LEFT]

    def trouble(self, duty: str, error: FolderError) -> None:
        """Take note that the folder failed a duty; said once for each duty and kind of error."""
        before = self._troubles.pop(duty, None)
        if type(before) is not type(error):
            log.warning("the folder gives trouble: %s: %s", duty, error)
        self._troubles[duty] = error

    def recovered(self, duty: str) -> None:
        """Take note that a duty was done."""
        if self._troubles.pop(duty, None) is not None:
            log.info("the folder works again (%s)", duty)
