"""What belongs to the process: identity, lanes, clock, background tasks, and errors of the folder.

All of it belongs to the event loop. Each duty that touches the folder has a lane of its own (hanas_serving.lanes), so
that a hung mount freezes none of the others.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from hanas_core.members.documents import Presence
from hanas_core.members.liveness import SILENT_INTERVALS
from hanas_core.members.owntime import OwnTime
from hanas_core.members.registry import VACANT_AFTER
from hanas_core.members.timing import Timing
from hanas_core.volume.errors import FolderError, FolderUnavailable
from hanas_core.volume.folder import Folder
from hanas_serving.admission import Admission
from hanas_serving.credentials import Credentials
from hanas_serving.lanes import Lane
from hanas_serving.relaying import Relays
from hanas_serving.runtime import Runtime
from hanas_serving.tls import Tls
from hanas_worker.host.duties import Duty
from hanas_worker.host.peers import LinkPeer, Peers
from hanas_worker.host.settings import WorkerSettings

_log = logging.getLogger("hanas.worker")

T = TypeVar("T")

_WITHOUT_A_FOLDER = frozenset({Duty.CUSTODY, Duty.REPORT})
"""What goes on while the folder is not the one any more in which this worker works."""


class Host:
    """One process of a worker, which is one incarnation of its member."""

    def __init__(self, settings: WorkerSettings, folder: Folder, folder_id: str, runtime: Runtime) -> None:
        """Know no other member yet. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self.settings = settings
        self.folder = folder
        self.folder_id = folder_id
        self.runtime = runtime
        self.incarnation = runtime.nonce()
        self.link_key = runtime.nonce()
        """What is sent to this process over the link is made with it (hanas_worker.neighbours.authenticity)."""
        self.peers = Peers(settings.member)
        self.slot = -1
        """The own mailbox slot, set at the arrival."""
        self.displaced = ""
        """The folder is not the one any more in which this worker works; what has become of it. Empty while it is."""
        self.admissions: dict[str, Admission[Any]] = {}
        """Who may connect, by the name of the port."""
        self.relays: Relays | None = None
        """The connections to etcd's API that are carried to the main; None: it is not spoken here."""
        self.etcd_calls: Mapping[str, int] = {}
        """How often each method of it was called here."""
        self.credentials = Credentials({}, settings.secrets, settings.client_tokens)
        """What callers show, and this process to others."""
        self.tls: Tls | None = None
        """The certificate of this process, and whom it trusts."""
        self.run = 1
        """The number of this run of its member, as far as its blocks in the mailbox tell."""
        self.shown_at = self.now
        """When the last write of the own presence began that succeeded."""
        self.leaving = False
        """This worker is stopping and begins nothing new."""
        self.own_time = OwnTime(settings.timing.keepalive_interval)
        """Advances while this process runs (`hanas_core.members.owntime`)."""
        self._returns, self._returned_at = 0, 0.0
        """How many calls on the folder had returned, and at what `awake` one was last seen to."""
        self.wakers: defaultdict[Duty, asyncio.Event] = defaultdict(asyncio.Event)
        """Make the duties of the process run at once."""
        self._repeated: dict[Duty, asyncio.Event] = {}
        """What makes each duty that is repeated run at once."""
        self._troubles: dict[Duty, FolderError] = {}
        self._own_lanes: dict[Duty, Lane] = {}
        self._lanes: WeakKeyDictionary[Lane, Duty] = WeakKeyDictionary()
        """Every lane in use, or whose last call has not returned: its thread keeps it."""
        self._background: set[asyncio.Task[Any]] = set()
        self.mistake: asyncio.Future[None] = self._loop.create_future()
        """Gets the first error of the background work: the worker ends with it, as with a duty's."""

    @property
    def timing(self) -> Timing:
        """All intervals and time-outs."""
        return self.settings.timing

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def turn(self) -> None:
        """End a turn of the event loop, in which everything that had come before it was heard."""
        self.own_time.turn(self.now)
        returns = sum(lane.returns for lane in self._lanes)
        if returns != self._returns:  # fewer where a lane has ended, which its last call did before
            self._returns, self._returned_at = returns, self.awake

    @property
    def awake(self) -> float:
        """Seconds of this process's own time: for what others do not do."""
        return self.own_time.at(self.now)

    @property
    def place_in_doubt(self) -> bool:
        """Return whether the own slot was given to another member, or may have been."""
        owner = self.peers.owner_of(self.slot)
        lost = owner is not None and owner != self.settings.member
        return lost or self.now - self.shown_at > VACANT_AFTER / 2

    @property
    def own_slot(self) -> int:
        """The slot to write into. Raises FolderUnavailable while that is in doubt."""
        if self.place_in_doubt:
            raise FolderUnavailable(f"slot {self.slot} may belong to another member: this worker arrives anew first")
        return self.slot

    def others(self) -> list[Presence]:
        """Return the other members that are alive and have not left."""
        return [other for other in self.peers.alive(self.awake, self.peer_silence) if not other.left]

    def link_peers(self) -> dict[LinkPeer, bool]:
        """Return who gets keep-alives, and whether it is alive."""
        return self.peers.link_peers(self.awake, self.peer_silence)

    @property
    def peer_silence(self) -> float:
        """How long a counter may stand still before its member counts as gone, seconds."""
        return SILENT_INTERVALS * self.timing.presence_interval

    # ------------------------------------------------------------------ lanes

    async def in_lane(self, duty: Duty, procedure: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run ``procedure`` in the lane of a duty, for `folder_timeout` or ``timeout`` seconds. Raises FolderError."""
        return await self.lane(duty).run(procedure, timeout or self.timing.folder_timeout)

    def lane(self, duty: Duty) -> Lane:
        """Return the lane of a duty."""
        lane = self._own_lanes.get(duty)
        if lane is None:
            lane = self._own_lanes[duty] = self.new_lane(duty)
        return lane

    def new_lane(self, duty: Duty) -> Lane:
        """Return a new lane, which the caller runs and closes."""
        lane = Lane(duty, self.runtime.thread)
        self.know(lane, duty)
        return lane

    def know(self, lane: Lane, duty: Duty) -> None:
        """Count a lane among those of this process; its duty goes on as soon as a call returns that had timed out."""
        self._lanes[lane] = duty
        lane.on_return = partial(self._wake, duty)

    def _wake(self, duty: Duty) -> None:
        if (waker := self._repeated.get(duty)) is not None:
            waker.set()

    @property
    def hung_duties(self) -> list[Duty]:
        """The duties that have a call on the folder which has not returned in time."""
        return sorted({duty for lane, duty in self._lanes.items() if lane.hung})

    @property
    def hung_for(self) -> float:
        """How long no call on the folder has returned, seconds, not counting pauses of this process.

        Next to nothing while the folder works: its mailboxes are read all the time.
        """
        return self.awake - self._returned_at

    # ------------------------------------------------------------------ duties and other work

    async def repeat(
        self, duty: Duty, interval: float, do: Callable[[], Awaitable[None]], waker: asyncio.Event
    ) -> None:
        """Do a duty every ``interval`` seconds and when it is woken; errors of the folder do not end it.

        Nothing is read or written by name in another folder than this worker's own.
        """
        self._repeated[duty] = waker
        while True:
            waker.clear()
            try:
                if not self.displaced or duty in _WITHOUT_A_FOLDER:
                    await do()
            except FolderError as error:
                self.trouble(duty, error)
            else:
                self.recovered(duty)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await waker.wait()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Do some work in the background."""
        self.keep(asyncio.create_task(work))

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Keep a background task and take note of its error."""
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.mistake.done():
            self.mistake.set_exception(error)

    def cancel_background(self) -> None:
        """Cancel the work in the background."""
        for task in self._background:
            task.cancel()

    # ------------------------------------------------------------------ what the folder does

    @property
    def folder_trouble(self) -> str | None:
        """The last error of the folder in a duty that has not succeeded since; None without any."""
        return next((f"{duty}: {error}" for duty, error in reversed(self._troubles.items())), None)

    def trouble(self, duty: Duty, error: FolderError) -> None:
        """Take note that the folder failed a duty; log it once for each duty and kind of error."""
        before = self._troubles.pop(duty, None)
        if type(before) is not type(error):
            _log.warning("the folder gives trouble: %s: %s", duty, error)
        self._troubles[duty] = error

    def recovered(self, duty: Duty) -> None:
        """Take note that a duty was done."""
        if self._troubles.pop(duty, None) is not None:
            _log.info("the folder works again (%s)", duty)
