"""One's own epochs: taking over, serving, handing over, and the seal at the end (docs/protocol.md, section 2)."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from hanas_core.epochs import takeover
from hanas_core.log import seals, segments
from hanas_core.log.claimfile import Claim, Seal, Why
from hanas_core.log.claims import claim_epoch
from hanas_core.log.manifests import Cut, Manifest
from hanas_core.log.positions import Position
from hanas_core.members.roles import Role
from hanas_core.state.replica import Replica
from hanas_core.upkeep import compaction
from hanas_core.upkeep.compaction import Plan
from hanas_core.volume.errors import FolderError, KeyMissing, Missing, NoSpace, Sealed
from hanas_core.volume.folder import NOTHING, Folder, Room
from hanas_serving.lines import pair
from hanas_worker.host.duties import Duty
from hanas_worker.log.desk import Desk
from hanas_worker.log.historian import form_of
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.pace import Pace
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState

_log = logging.getLogger("hanas.worker")

_REPLAY_TIMEOUT = 3600.0
"""A replay may take this long: the others watch its progress in the keep-alives. Seconds."""
_SPACE_TIMEOUT = 3600.0
"""Long, since an abandoned allocation still completes and leaks space. Seconds."""

_RESERVE_FILES, _RESERVE_BYTES = 3, 96 << 10
"""Files that are given up for a takeover when the volume has no other room, and the size of each: for its claim, its
manifest, and the names that refresh a cache of names."""
_MOST_RESERVES = 2
"""A takeover may fail when it has used one."""
_FOR_RESERVES = Room(_RESERVE_FILES * _RESERVE_BYTES, _RESERVE_FILES)
"""What making a reserve leaves free: what another worker has just given up for a takeover."""
_FOR_OTHERS_FILES = 8
"""How many files a main leaves free when it prepares a segment."""
_FEW_FILES = 32
"""With fewer free than these a person is told."""


class Tenure:
    """The way from a won claim to the end of its epoch."""

    def __init__(self, state: LogState) -> None:
        """Hold no epoch yet."""
        self._state, self._host = state, state.host
        self.progress = ""
        """How far a takeover is: changes as long as it goes on. Set by its thread."""
        self._planned = False
        self._spares: list[str] = []
        """Prepared space that no log has, by name."""
        self._spare_came = asyncio.Event()
        self._pace = Pace()
        self._reserves: list[str] = []
        """Files that can be given up, by name."""
        self._room_made_for = 0
        """The last epoch for which some were."""
        self.rolling = False
        """A new epoch of this main is being begun: what the claims say meanwhile is its own doing."""

    async def take_over(self, claim: Claim) -> None:
        """Become the main of ``claim``, which is one's own; if that fails, seal its epoch and be a backup again."""
        state, host = self._state, self._host
        started = host.now
        _log.info("epoch %d is ours: taking over", claim.epoch)
        self.progress = "preparing"
        await self.make_room(claim.epoch)
        spare = await self._take_spare()
        try:
            async with state.replica_lock:
                state.followed_epoch = 0  # from here on the replica follows the predecessor, whatever comes of it
                promotion = await state.lend(lambda replica: self._promote(claim, spare, replica), _REPLAY_TIMEOUT)
        except (FolderError, Sealed) as error:
            _log.error("the takeover of epoch %d failed: %s", claim.epoch, str(error) or "a higher epoch sealed it")
            if isinstance(error, KeyMissing):
                state.lacking = error
            state.member.failed(host.awake, claim.epoch, None if isinstance(error, Sealed) else error)
            await self._seal(claim.epoch)
            await self.discard(spare)
            return
        if not state.member.promoted(host.awake, claim.epoch):
            await self._seal(claim.epoch)
            return
        state.service = Service(
            promotion,
            state.replica,
            lanes=(host.new_lane(Duty.COMMIT), host.new_lane(Duty.READ_CHECK)),
            timeout=host.timing.folder_timeout,
            queue_bytes=host.settings.queue_bytes,
            form=form_of(host.folder.format, state.replica.index),
            on_end=self._ended,
            on_room_needed=state.wakers[Duty.PREPARE].set,
        )
        state.desk = Desk(state.service, host.settings.value_bytes, state.carry_out, host.timing.suspect_after)
        state.lessor = Lessor(state.service, lambda: host.now, state.tally)
        state.on_applied()
        if state.forwarder is not None and not state.forwarder.idle:
            pair(state.forwarder, state.desk.visit(host.settings.member))
        host.wakers[Duty.PRESENCE].set()
        # Space for the next segment is prepared after the first commit: it would only hold that up.
        host.spawn(self._clear_up(promotion.manifest))
        took = host.now - started
        _log.info("serving epoch %d with %d keys, %.3f s after the claim", claim.epoch, len(state.replica.index), took)

    def _promote(self, claim: Claim, spare: str, replica: Replica) -> Coroutine[Any, Any, takeover.Promotion]:
        state, host = self._state, self._host
        epoch, concluded_at = state.concluded
        return takeover.promote(
            host.folder,
            claim,
            replica,
            spare=spare,
            segment_bytes=host.settings.segment_bytes,
            commit_position=self._committed(claim.epoch),
            clock=lambda: host.now,
            progress=self._note,
            claiming=host.now - concluded_at if epoch and epoch == claim.follows else 0.0,
        )

    def _committed(self, epoch: int) -> Position | None:
        """Return up to where the log below ``epoch`` is known to be committed, by keep-alives and by all members."""
        known = self._state.committed, self._state.witness().committed
        return max((position for position in known if position is not None and position.epoch < epoch), default=None)

    async def rehearse(self, claim: Claim) -> None:
        """Find out whether a takeover that follows ``claim`` would get to its manifest. Raises FolderError if not."""
        state, host = self._state, self._host
        if not self._spares:
            raise NoSpace("no segment is prepared for the next epoch")
        committed = self._committed(claim.epoch + 1)
        procedure = takeover.rehearse(host.folder, claim.epoch, state.standing.applied, committed)
        await host.in_lane(Duty.REHEARSE, procedure, _REPLAY_TIMEOUT)

    async def spare_on_full_volume(self) -> str:
        """Prepare space for a segment from what is kept free on a full volume. Raises NoSpace."""
        return await self._prepared(self._host.settings.segment_bytes)

    async def roll(self, service: Service, plan: Plan, merged: tuple[Cut, ...], own_spare: str | None) -> bool:
        """Begin a new epoch of this main, with ``merged`` in place of the segments of ``plan``.

        ``own_spare``: prepared space for it; without it, one that is at hand. False if that failed. Then both epochs
        are over: whatever was begun may still land. Raises NoSpace before anything is begun.
        """
        state, host = self._state, self._host
        old, won = service.epoch, False
        claim = Claim(
            epoch=old + 1,
            member=host.settings.member,
            incarnation=host.incarnation,
            nonce=host.folder.nonce(),
            advertise_url=host.settings.advertise_url,
            link_url=host.settings.link_url,
            folder_id=host.folder_id,
            follows=old,
            previous_main=host.settings.member,
            why=Why.COMPACTION,
            claimed_at=host.runtime.wall_clock(),
        )

        def begin() -> Coroutine[Any, Any, takeover.Promotion]:
            spare = own_spare
            if spare is None:
                spare, service.log.spare = service.log.spare, None
            if spare is None and not self._spares:
                raise NoSpace("no segment is prepared for the next epoch")
            return claim_and_roll(spare or self._spares.pop(), service.manifest.cuts + service.log.cuts)

        async def claim_and_roll(spare: str, log: tuple[Cut, ...]) -> takeover.Promotion:
            nonlocal won
            won = (await claim_epoch(host.folder, claim)).nonce == claim.nonce
            if not won:
                raise Sealed
            return await compaction.roll(
                host.folder,
                claim,
                cuts=plan.replaced(log, merged),
                spare=spare,
                segment_bytes=host.settings.segment_bytes,
                next_sequence=service.next_sequence,
                clock=lambda: host.now,
            )

        self.rolling = True
        try:
            await self.make_room(claim.epoch)
            if await service.roll(begin):
                state.member.rolled(host.awake, claim)
                host.wakers[Duty.PRESENCE].set()
                state.wakers[Duty.PREPARE].set()
                return True
            state.member.spoiled(claim.epoch)
            if won:
                await self._seal(claim.epoch)
            return False
        finally:
            self.rolling = False
            state.wakers[Duty.WATCH].set()

    def _note(self, progress: str) -> None:
        self.progress = progress

    def end(self, why: str) -> None:
        """Stop serving, if one does."""
        if self._state.service is not None:
            self._state.service.end(why)

    def _ended(self, service: Service, why: str) -> None:
        state, host = self._state, self._host
        pause = host.own_time.longest_pause
        paused = f"; this process was paused for {pause:.3f} s shortly before" if pause else ""
        _log.warning("epoch %d ended here: %s%s", service.epoch, why, paused)
        state.service = state.lessor = None
        if state.desk is not None:
            state.desk.end()
            state.desk = None
        spare = service.log.spare
        if spare is not None and service.idle:
            self._add_spare(spare)
        elif spare is not None:  # a commit that was given up on may still begin it
            host.spawn(self.discard(spare))
        state.replica.continue_from(service.applied)
        state.read_to, state.certain = service.applied, service.index.revision
        if service.batches:
            state.member.fruited()
        elif service.barren:
            state.member.withered(why)
        state.member.ended(host.awake, service.epoch, 0)
        if not self._planned:
            host.spawn(self._seal(service.epoch))
        state.wakers[Duty.WATCH].set()
        host.wakers[Duty.PRESENCE].set()

    async def hand_over(self, why: str, successor: str = "") -> bool:
        """Finish the accepted writes and seal the own epoch as a planned hand-over; False if that failed.

        ``successor``: the incarnation that may follow at once; empty: any.
        """
        service = self._state.service
        if service is None or self._planned:
            return False
        _log.info("handing over epoch %d: %s", service.epoch, why)
        self._planned = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._host.timing.folder_timeout):
                    await service.drain()
            if service.ended:
                await self._seal(service.epoch)
                return False
            service.end(f"handed over: {why}")
            return await self._seal(service.epoch, planned=True, successor=successor)
        finally:
            self._planned = False

    async def _seal(self, epoch: int, *, planned: bool = False, successor: str = "") -> bool:
        """Seal an epoch of this worker; False if the folder failed."""
        host = self._host
        if host.displaced:
            _log.warning("the own epoch %d is not sealed: %s", epoch, host.displaced)
            return False
        seal = Seal(epoch, host.settings.member, host.incarnation, planned, successor)
        try:
            await host.in_lane(Duty.SEAL, seals.write_seal(host.folder, epoch, seal))
        except FolderError as error:
            _log.warning("the own epoch %d could not be sealed: %s", epoch, error)
            return False
        return True

    async def prepare(self) -> None:
        """Keep ready what an epoch will need: space for its next segment, and reserves. Raises FolderError."""
        member = self._state.member
        try:
            await self._prepare()
            room = await self._host.in_lane(Duty.PREPARE, self._host.folder.room())
        except NoSpace as error:
            member.scarce, member.unprepared = str(error), ""
            self._note_reserve()
            raise
        except FolderError as error:
            member.unprepared = str(error)
            service = self._state.service
            if service is not None and service.starving_for > self._host.timing.stall_limit:
                service.space_lacks()
            raise
        member.unprepared = ""
        member.scarce = f"only {room.files} more files (inodes) find room" if room.files < _FEW_FILES else ""
        self._note_reserve()

    def _note_reserve(self) -> None:
        """Have the service refuse writes while there is not one reserve, and no room for one."""
        service = self._state.service
        if service is None or self.rolling:
            return
        if len(self._reserves) < _RESERVE_FILES:
            service.reserve_lacks()
        else:
            service.reserve_came()

    async def _prepare(self) -> None:
        with contextlib.suppress(NoSpace):  # it is tried again below
            await self._reserve(_RESERVE_FILES)
        await self._forget_lost_spares()
        if not self._spares:
            self._add_spare(await self._make_space())
        service = self._state.service
        if service is not None and service.log.spare is None:
            await self._hand_to(service)
        await self._reserve(_MOST_RESERVES * _RESERVE_FILES)

    async def _reserve(self, files: int) -> None:
        """Keep so many files to give up, unless they are needed just now. Raises FolderError."""
        while len(self._reserves) < files and not self.rolling and self._state.member.role is not Role.ELECT:
            self._reserves.append(await self._prepared(_RESERVE_BYTES, _FOR_RESERVES))

    async def stock(self) -> None:
        """Keep as much more space prepared as the log may need meanwhile, where there is room. Raises FolderError.

        In a lane of its own: what is prepared can be named while more is being prepared.
        """
        host, serving = self._host, self._state.service is not None
        wanted = self._pace.wanted(host.now) if serving else 1
        if 1 <= len(self._spares) < wanted:
            with contextlib.suppress(NoSpace):
                self._add_spare(await self._prepared(host.settings.segment_bytes, self._for_others, Duty.STOCK))
                self._state.wakers[Duty.STOCK].set()
        elif len(self._spares) > wanted and (self._pace.idle(host.now) or not serving):
            await self.discard(self._spares.pop(0))
            self._state.wakers[Duty.STOCK].set()

    async def _forget_lost_spares(self) -> None:
        """Count on no space that is gone: the main removed it while this process slept, or the file server lost it."""
        host = self._host
        for spare in list(self._spares):
            try:
                await host.in_lane(Duty.PREPARE, host.folder.open(spare, "read"))
            except Missing:
                if spare in self._spares:
                    self._spares.remove(spare)
                    await self.discard(spare)

    async def _hand_to(self, service: Service) -> None:
        """Give prepared space to the log, under the name of its next segment. Raises FolderError; then try again."""
        log, spare = service.log, self._spares[-1]
        try:
            await self._host.in_lane(Duty.PREPARE, log.name_ahead(spare))
        except NoSpace:
            self._full(service)
            raise
        except Missing:  # the file server lost it in a crash
            if spare in self._spares:
                self._spares.remove(spare)
                await self.discard(spare)
            raise
        # Meanwhile a new epoch may have begun, perhaps in this space; the name of the old one is then a leftover.
        if service.log is log and not service.ended and spare in self._spares:
            self._spares.remove(spare)
            service.space_came(spare)
            self._pace.used(self._host.now)
            for duty in (Duty.PREPARE, Duty.STOCK):
                self._state.wakers[duty].set()

    def _full(self, service: Service) -> None:
        service.space_lacks()
        self._state.wakers[Duty.COMPACT].set()

    async def make_room(self, epoch: int) -> None:
        """Give up one reserve for the claim and the manifest of ``epoch``, which must not fail for a full volume."""
        if epoch == self._room_made_for:
            return
        self._room_made_for = epoch
        given, self._reserves = self._reserves[:_RESERVE_FILES], self._reserves[_RESERVE_FILES:]
        await self.discard(*given)

    def _add_spare(self, name: str) -> None:
        self._spares.append(name)
        self._spare_came.set()

    async def _take_spare(self) -> str:
        while not self._spares:
            self._spare_came.clear()
            await self._spare_came.wait()
        return self._spares.pop()

    async def _clear_up(self, manifest: Manifest) -> None:
        with contextlib.suppress(FolderError):  # whoever comes next removes it
            await self.remove_leftovers(manifest)

    async def remove_leftovers(self, manifest: Manifest) -> None:
        """Remove the segments of mains before this one that are no part of the log. Raises FolderError."""
        host = self._host
        for name in await host.in_lane(Duty.REMOVE, compaction.removable(host.folder, manifest)):
            await host.in_lane(Duty.REMOVE, host.folder.remove(name))

    async def discard(self, *spares: str) -> None:
        """Remove files that nobody will use, if that is possible; in one call: a new main may wait for it."""
        with contextlib.suppress(FolderError):
            await self._host.in_lane(Duty.REMOVE, _remove(self._host.folder, spares))

    @property
    def _for_others(self) -> Room:
        """What a main leaves free: for compaction, and for a worker that starts anew."""
        if self._state.service is None:
            return NOTHING
        return Room(2 * self._host.settings.segment_bytes, _FOR_OTHERS_FILES)

    async def _make_space(self) -> str:
        try:
            return await self._prepared(self._host.settings.segment_bytes, self._for_others)
        except NoSpace:
            if (service := self._state.service) is not None and service.log.spare is None:
                self._full(service)
            raise

    async def _prepared(self, size: int, keep_free: Room = NOTHING, duty: Duty = Duty.PREPARE) -> str:
        host, began = self._host, self._host.now
        preparation = segments.prepare(host.folder, host.settings.member, host.incarnation, size, keep_free)
        name = await host.in_lane(duty, preparation, _SPACE_TIMEOUT)
        if size == host.settings.segment_bytes:
            self._pace.prepared(host.now - began)
        return name


async def _remove(folder: Folder, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(FolderError):  # one that cannot be removed keeps no other
            await folder.remove(name)
