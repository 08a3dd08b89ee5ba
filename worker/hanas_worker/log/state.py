"""What the parts of one log share: its member, its replica, and the events that wake its duties."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from hanas_core.log.manifests import Cut, Manifest
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.members import witness
from hanas_core.members.documents import LOG
from hanas_core.members.member import Member
from hanas_core.members.witness import Witness
from hanas_core.state.index import Index
from hanas_core.state.replica import Replica, Standing
from hanas_core.volume import names
from hanas_core.volume.errors import KeyMissing
from hanas_serving.lanes import Hung
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.bell import Bell
from hanas_worker.log.desk import CarryOut, Desk
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.service import Service
from hanas_worker.log.tally import Tally

if TYPE_CHECKING:  # it works on this state
    from hanas_worker.log.forwarder import Forwarder

T = TypeVar("T")


async def _nobody(_content: bytes) -> None:
    """Do nothing: there is no store yet."""


class LogState:
    """One log, as one incarnation of a worker knows it. It belongs to the event loop."""

    def __init__(self, host: Host) -> None:
        """Know nothing yet."""
        settings = host.settings
        self.id = LOG
        self.host = host
        self.member = Member(settings.member, host.incarnation, settings.timing, settings.policy)
        self.replica = Replica(settings.cache_bytes)
        self.replica_lock = asyncio.Lock()
        """Held by whoever reads the log into the replica: the follower, or a takeover."""
        self._lent: Standing | None = None
        self.service: Service | None = None
        """While this worker is the main."""
        self.desk: Desk | None = None
        """Where others bring what their clients ask for, as long."""
        self.lessor: Lessor | None = None
        """Of the leases, as long."""
        self.carry_out: CarryOut = _nobody
        """Carries out what others call for while this worker is the main."""
        self.forwarder: Forwarder | None = None
        """Serves clients while another worker is the main; None: they are redirected."""
        self.followed_epoch = 0
        """The epoch whose manifest the replica follows."""
        self.served_epoch = 0
        """The last epoch with a manifest: its main serves, also while the folder fails here."""
        self.committed: Position | None = None
        """The commit position of the last keep-alive."""
        self.read_to = NOWHERE
        """Up to where this worker has read, as a backup, or written, as a main, what was committed in an epoch that
        passed its first check. What a takeover read may be of one that the file server can still forget."""
        self.certain = 0
        """The revision that the copy had then, or when the main of the followed epoch last confirmed it: what a worker
        that is not the main may tell (docs/protocol.md, sections 3.11 and 3.15)."""
        self.manifest: Manifest | None = None
        """That of the followed epoch."""
        self._lacking: KeyMissing | None = None
        self._witness = Witness(host.folder_id)
        self.concluded = (0, 0.0)
        """The last epoch whose main this worker concluded to have failed, and when."""
        self.wakers: defaultdict[Duty, asyncio.Event] = defaultdict(asyncio.Event)
        """Make the duties of the log run at once."""
        self.tally = Tally()
        self.on_applied = Bell()
        """Is called when the copy has come further, or can be read again."""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The segments of the log, as far as they are known here."""
        service, manifest = self.service, self.manifest
        if service is not None:
            return service.manifest.cuts + service.cuts
        if manifest is None:
            return ()
        epoch, number, offset = self.standing.applied
        own = range(1, number + 1 if epoch == manifest.epoch and number < names.MERGED_FROM else 1)
        return (*manifest.cuts, *(Cut(epoch, one, offset) for one in own))

    @property
    def lacking(self) -> KeyMissing | None:
        """What this worker cannot read of the log for want of a key; such a one asks for no takeover."""
        if self._lacking is not None and self._lacking.key_id in self.host.folder.keys.ids:
            self._lacking = None
        return self._lacking

    @lacking.setter
    def lacking(self, error: KeyMissing) -> None:
        self._lacking = error

    @property
    def index(self) -> Index | None:
        """The committed state that was applied here; None while the replica is lent to a thread."""
        return self.replica.index if self._lent is None else None

    @property
    def standing(self) -> Standing:
        """What others are told of the replica; while it is lent, what was last known of it."""
        return self._lent or self.replica.standing

    def know_committed(self, position: Position) -> None:
        """Read on up to a position that a main of the present epoch has committed."""
        before = self.committed
        if position.epoch == self.member.epoch and (before is None or position > before):
            if before is not None and position.epoch == before.epoch:
                self.member.fruited()
            self.committed = position
            self.wakers[Duty.LOG].set()

    def confirmed(self, epoch: int) -> None:
        """Note that the main of ``epoch`` has answered for all that the copy holds, if the copy follows that epoch."""
        if self.service is None and self.followed_epoch == epoch:
            self.certain = self.replica.index.revision

    def witness(self) -> Witness:
        """Return what this worker knows for certain, by itself or from others; it never grows less."""
        host, service = self.host, self.service
        own = Witness(host.folder_id, self.member.epoch, self.read_to if service is None else service.applied)
        self._witness = witness.together(host.folder_id, (self._witness, own, *host.peers.witnesses(self.id)))
        return self._witness

    async def lend(self, procedure: Callable[[Replica], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Run ``procedure`` on the replica in the lane of the log; needs `replica_lock`. Raises as `Lane.run` does.

        A call that is given up keeps the replica: then there is a new one, which nothing was applied to.
        """
        assert self.replica_lock.locked()
        assert self._lent is None
        self._lent = self.replica.standing
        try:
            return await self.host.in_lane(Duty.LOG, procedure(self.replica), timeout)
        except (Hung, asyncio.CancelledError):
            self.replica = Replica(self.replica.cache_bytes)
            raise
        finally:
            self._lent = None
