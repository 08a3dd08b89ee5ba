"""This worker's place among the members: its slot of the mailboxes, which nobody else may write into.

A slot can be given to another member when its owner was silent for long, and two processes can be started with one id.
Neither endangers data: claims belong to incarnations. But who does not own its slot cannot be probed, or disturbs the
probes of another.
"""

import asyncio

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Arrival
from hanas_core.members.documents import Presence
from hanas_core.members.liveness import Liveness
from hanas_core.members.mailboxes import Mailboxes
from hanas_core.members.registry import NoSlot, Registration, Registry, vacant
from hanas_core.volume.folder import Folder
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.neighbours.overseers import Rejected

_STILL_INTERVALS = 2
"""An earlier incarnation whose counter stands still for this many presence intervals is dead, or was paused."""
_LOOKS_PER_INTERVAL = 8
_LEAST_MOVES = 2
"""A counter that moved this often is that of a process that lives."""
_TOLD_INTERVALS = 10
"""A second process with this id is told of until it has not moved for this many presence intervals."""


class Twin(Exception):
    """Another process with this worker's id lives, and was there first. One line for people."""


class _Moves:
    """How often the counter of one incarnation was seen to increase.

    One move is no sign of life: it may be the write that was under way when the process was killed. That write may
    land again, which is no move.
    """

    def __init__(self) -> None:
        self.block: Presence | None = None
        """The newest block of the incarnation that was seen last."""
        self._count = 0

    @property
    def prove_life(self) -> bool:
        return self._count >= _LEAST_MOVES

    def see(self, block: Presence) -> bool:
        """Take note of a block; return whether it is newer, or another incarnation's."""
        before = self.block
        if before is None or before.incarnation != block.incarnation:
            self.block, self._count = block, 0
        elif block.counter > before.counter:
            self.block, self._count = block, self._count + 1
        else:
            return False
        return True


class _Desk:
    """What a thread needs to look for slots."""

    def __init__(self, folder: Folder) -> None:
        self.registry = Registry(folder)
        self.mailboxes = Mailboxes(folder)

    async def look(self) -> tuple[list[Registration], list[Presence | None]]:
        presences = await self.registry.presence(self.mailboxes)
        return list(self.registry.registrations), presences


class Places:
    """Finds this worker's slot, and the other slots that may be given away."""

    def __init__(self, host: Host) -> None:
        """Look at nothing yet."""
        self._host = host
        self._desk = host.new_lane(Duty.ARRIVE).owning(lambda: _Desk(host.folder))
        self._liveness = Liveness(host.timing)
        self._twin = _Moves()
        """Of another incarnation of this member."""
        self._twin_until = 0.0
        self.yields = False
        """This process ends because another one has its id."""

    async def wait_for_earlier_run(self) -> None:
        """Return when the last incarnation of this member has left, or stands still. Raises Twin, FolderError."""
        host, timing = self._host, self._host.timing
        moves, since = _Moves(), host.now
        while True:
            block = await self._own_block()
            if block is not None and moves.see(block):
                since = host.now
            last = moves.block
            if last is not None and moves.prove_life:
                raise Twin(twin(last))
            if last is None or last.left:
                return
            host.run = last.run + 1
            if host.now - since >= _STILL_INTERVALS * timing.presence_interval:
                return
            await asyncio.sleep(timing.presence_interval / _LOOKS_PER_INTERVAL)

    async def _own_block(self) -> Presence | None:
        registrations, presences = await self._look()
        self._host.peers.find(presences)
        member = self._host.settings.member
        return next(
            (block for owner, block in zip(registrations, presences, strict=True) if owner.member == member), None
        )

    def notice(self, block: Presence | None) -> None:
        """Look at what stands in the own slot. Raises Twin if it is that of an older process that lives.

        Of a younger one an alert tells, since that one ends.
        """
        host = self._host
        if block is None or block.incarnation == host.incarnation:
            return
        if not (self._twin.see(block) and self._twin.prove_life):
            return
        if (block.run, block.incarnation) < (host.run, host.incarnation):
            self.yields = True
            raise Twin(twin(block))
        self._twin_until = host.now + _TOLD_INTERVALS * host.timing.presence_interval

    @property
    def twin(self) -> str:
        """What to tell of a younger process with this worker's id that lives; empty if there is none."""
        block = self._twin.block
        return twin(block) if block is not None and self._host.now < self._twin_until else ""

    async def register(self, arrival: Arrival) -> int:
        """Return this worker's slot, giving it one if it has none. Raises Rejected, NoSlot and other FolderErrors.

        When all are taken, look who owns them, for the next call.
        """
        try:
            return await self._register(arrival, [])
        except NoSlot:
            registrations, presences = await self._look()
            owners = [registration.member for registration in registrations]
            signs = self._liveness.look(self._host.now, owners, presences)
            return await self._register(arrival, vacant(registrations, signs))
        except arbitration.Refused as refusal:
            raise Rejected(str(refusal)) from None

    async def _register(self, arrival: Arrival, vacancies: list[Registration]) -> int:
        host = self._host
        return await self._desk.run(
            lambda desk: arbitration.register(desk.registry, arrival, folder_id=host.folder_id, vacancies=vacancies),
            host.timing.folder_timeout,
        )

    async def _look(self) -> tuple[list[Registration], list[Presence | None]]:
        return await self._desk.run(_Desk.look, self._host.timing.folder_timeout)


def twin(block: Presence) -> str:
    """Return the line that tells of another process with this worker's id."""
    return (
        f"WORKER_ID={block.member}: another process with this id runs (incarnation {block.incarnation}, "
        f"{block.advertise_url}): give each worker an id of its own, or stop the other one"
    )
