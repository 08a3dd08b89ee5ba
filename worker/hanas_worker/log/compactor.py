"""The main's compaction, beside the traffic (docs/protocol.md, section 3)."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from hanas_core.log.batches import FIRST_OFFSET
from hanas_core.log.manifests import Cut
from hanas_core.upkeep import compaction
from hanas_core.upkeep.compaction import Plan
from hanas_core.upkeep.merging import MergeFiles, Merger
from hanas_core.volume import names
from hanas_core.volume.errors import FolderError, NoSpace
from hanas_serving.lanes import Owned
from hanas_worker.host.duties import Duty
from hanas_worker.log.keyring import Keyring
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState
from hanas_worker.log.tenure import Tenure

_log = logging.getLogger("hanas.worker")

_REST = 3.0
"""Pause between two steps, as a multiple of the time of the last one, for the sake of commits."""
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 4 * 3600.0
"""Pause after a compaction that failed, doubled by each further one: one that fails late costs two epochs. Seconds."""
_SHARE_ON_FULL_VOLUME = 0.02
"""The share of garbage that is worth a compaction on a full volume."""


class Compactor:
    """Compacts the log while this worker is the main."""

    def __init__(self, state: LogState, tenure: Tenure, keyring: Keyring, learn: Callable[[], Awaitable[None]]) -> None:
        """Have compacted nothing yet. ``learn`` tells the index the new places of values."""
        self._keyring = keyring
        self._state, self._host = state, state.host
        self._learn = learn
        self._tenure = tenure
        self._number = (0, names.MERGED_FROM)
        """The epoch, and the number of its next merged segment."""
        self._rest = (0, 0)
        """The epoch, and its garbage that the next compaction would make again, bytes: the part of the merged segments
        that is no value, and the unused rest of the segment that the roll has closed."""
        self._failures = 0
        """How many compactions failed, one after the other."""
        self._not_before = -math.inf
        self._last_error: FolderError | None = None
        self.running = False
        self.runs = 0
        """How often this worker has compacted."""
        self.freed_bytes = 0

    def measure(self) -> tuple[int, int]:
        """Return garbage and space of the sealed segments, bytes, about; zeros for a worker that is not the main."""
        service = self._state.service
        if service is None:
            return 0, 0
        live, size = self._state.replica.index.live, self._host.settings.segment_bytes
        sources = _sources(service)
        space = sum(compaction.space_of(cut, size) for cut in sources)
        return space - sum(live[cut.epoch, cut.number] for cut in sources), space

    async def compact(self) -> None:
        """Compact if it is worth it. Raises FolderError."""
        service = self._state.service
        if service is None:
            return
        if self._host.now < self._not_before:
            if self._last_error is not None:
                raise self._last_error.with_traceback(None)  # it still stands
            return
        if (plan := await self._plan(service)) is None:
            return
        self.running = True
        spare = None
        try:
            if service.full:
                spare = await self._tenure.spare_on_full_volume()
            if await self._compact(service, plan, spare):
                spare = None
        except NoSpace:
            raise  # whatever makes room is needed at once
        except FolderError as error:
            self._put_off(error)
            raise
        finally:
            self.running = False
            if spare is not None:
                await self._tenure.discard(spare)

    def _put_off(self, error: FolderError | None) -> None:
        """Try it again later. ``error``: what the folder did, None if the epoch ended."""
        self._not_before = self._host.now + min(_FIRST_WAIT * 2.0**self._failures, _LONGEST_WAIT)
        self._failures = min(self._failures + 1, 16)
        self._last_error = error

    async def _plan(self, service: Service) -> Plan | None:
        settings, live = self._host.settings, self._state.replica.index.live
        rest = self._rest[1] if self._rest[0] == service.epoch else 0
        share, least, room = settings.compact_share, settings.compact_bytes + rest, None
        if service.full:
            free = await self._host.in_lane(Duty.COMPACT, self._host.folder.room())
            share, least, room = _SHARE_ON_FULL_VOLUME, settings.segment_bytes, free.bytes - settings.segment_bytes
        sources, size, stale = _sources(service), settings.segment_bytes, self._keyring.is_stale
        plan = compaction.plan(sources, live, size, share=share, least=least, room=room)
        if plan is not None or service.full:
            return plan
        plan = compaction.plan_anew(sources, live, size, stale)
        if plan is None and stale(service.cuts[-1]):  # the present one: a roll is enough for the next time
            return Plan(len(sources), (), 0, 0)
        return plan

    async def _compact(self, service: Service, plan: Plan, spare: str | None) -> bool:
        """Merge and roll; False if ``spare`` is certainly unused."""
        state, host = self._state, self._host
        started = host.now
        merged = await self._merge(service, plan)
        if merged is None:
            return False
        if not await self._tenure.roll(service, plan, merged, spare):
            self._put_off(None)
            return True
        self._failures, self._last_error = 0, None
        state.replica.compacted(service.manifest)
        await self._learn()
        await self._tenure.remove_leftovers(service.manifest)
        state.wakers[Duty.PREPARE].set()
        remaining = sum(cut.end for cut in merged)
        freed = plan.space - remaining
        live = sum(service.index.live[cut.epoch, cut.number] for cut in merged)
        closed = service.manifest.cuts[-1]
        unused = compaction.space_of(closed, host.settings.segment_bytes) - closed.end + FIRST_OFFSET
        self._rest = service.epoch, max(0, remaining - live) + unused
        self.runs += 1
        self.freed_bytes += freed
        _log.info(
            "compacted %d segments into %d in %.1f s: %d of %d bytes are free again; epoch %d goes on",
            len(plan.cuts),
            len(merged),
            host.now - started,
            freed,
            plan.space,
            service.epoch,
        )
        return True

    async def _merge(self, service: Service, plan: Plan) -> tuple[Cut, ...] | None:
        """Return the merged segments; None if the epoch ended meanwhile."""
        host, claim = self._host, self._state.member.claim
        if claim is None:
            return None
        if not plan.cuts:
            return ()
        number = self._number[1] if self._number[0] == service.epoch else names.MERGED_FROM
        merger, size = Merger(service.index, plan, number, service.form), host.settings.segment_bytes
        files = host.lane(Duty.COMPACT).owning(lambda: MergeFiles(host.folder, claim, size))
        try:
            while not merger.done:
                began = host.now
                await self._merge_piece(merger, files)
                if service.ended:
                    break
                await asyncio.sleep(_REST * (host.now - began))
        finally:
            self._number = service.epoch, merger.number + 1
            if not merger.done:
                await self._discard(merger, files)
        return tuple(merger.cuts) if merger.done and not service.ended else None

    async def _merge_piece(self, merger: Merger, files: Owned[MergeFiles]) -> None:
        timeout = self._host.timing.folder_timeout
        chunk = merger.take(await files.run(lambda files: files.read(*merger.source), timeout))
        if chunk is not None:
            merger.written(await files.run(lambda files: files.write(chunk), timeout))

    async def _discard(self, merger: Merger, files: Owned[MergeFiles]) -> None:
        try:
            await files.run(lambda files: files.discard(merger.cuts), self._host.timing.folder_timeout)
        except FolderError as error:
            _log.warning("files of a failed compaction stay behind: %s", error)


def _sources(service: Service) -> tuple[Cut, ...]:
    """Return the segments that nobody appends to any more."""
    return service.manifest.cuts + service.log.sealed
