"""A backup's warm copy: reading the log of the main's epoch."""

import asyncio
import logging

from hanas_core.log.pieces import PieceReader
from hanas_core.log.positions import NOWHERE
from hanas_core.members.roles import Role
from hanas_core.state.reader import Course, LogReader
from hanas_core.volume.errors import FolderError, KeyMissing
from hanas_worker.host.duties import Duty
from hanas_worker.log.state import LogState

_log = logging.getLogger("hanas.worker")

LOAD_TIMEOUT = 3600.0
"""A snapshot may be large. Seconds."""


class Follower:
    """Feeds the replica while this worker is a backup: the lane reads, the event loop applies."""

    def __init__(self, state: LogState) -> None:
        """Follow nobody yet."""
        self._state, self._host = state, state.host
        lane, folder = self._host.lane(Duty.LOG), self._host.folder
        self._reader = lane.owning(lambda: LogReader(folder, state.replica.cache_bytes))
        self._pieces = lane.owning(lambda: PieceReader(folder))

    async def catch_up(self) -> None:
        """Apply what is known to be committed, up to the end of what can be read now. Raises FolderError."""
        try:
            await self._catch_up()
        except KeyMissing as error:
            self._state.lacking = error
            raise

    async def _catch_up(self) -> None:
        state = self._state
        async with state.replica_lock:
            claim = state.member.claim
            if claim is None or state.member.role is not Role.BACKUP:
                return
            if state.followed_epoch != claim.epoch and not await self._follow(claim.epoch):
                return
            while state.member.role is Role.BACKUP:
                if await self._read_on():
                    return

    async def _follow(self, epoch: int) -> bool:
        """Go on along the manifest of ``epoch``; False if there is none yet."""
        state, applied = self._state, self._state.replica.applied
        timeout = LOAD_TIMEOUT if applied == NOWHERE else self._host.timing.folder_timeout
        course = await self._reader.run(lambda reader: reader.follow(epoch, applied), timeout)
        if course is None:
            return False
        state.replica.install(course)
        state.manifest = course.manifest
        if applied == NOWHERE:
            _log_start(course)
        state.followed_epoch = state.served_epoch = epoch
        state.member.served()
        state.on_applied()
        return True

    async def _read_on(self) -> bool:
        """Read and apply one step; True at the end. After an error what was read is lost: follow again."""
        state, committed = self._state, self._state.committed
        try:
            step = await self._reader.run(lambda reader: reader.step(committed), self._host.timing.folder_timeout)
            state.replica.take(step)
            told = state.certain
            if step.served:
                state.certain = state.replica.index.revision
            if step.batches:
                state.read_to = step.applied
            if step.batches or state.certain != told:
                state.on_applied()
        except (FolderError, asyncio.CancelledError):
            state.followed_epoch = 0
            raise
        return step.at_end

    async def learn_places(self) -> bool:
        """Learn where compaction has put values that are known here; True if there was something to learn.

        A takeover does not wait for it: whoever needs such a value meanwhile does. Raises FolderError.
        """
        state, timeout = self._state, self._host.timing.folder_timeout
        learned = False
        while True:
            async with state.replica_lock:
                replica = state.replica
                if not replica.unread:
                    return learned
                cut, offset = replica.unread[0], replica.read_to
                batches = await self._pieces.run(lambda pieces: pieces.read(cut, offset), timeout)  # noqa: B023
                replica.relocate(cut, batches)
                learned = True


def _log_start(course: Course) -> None:
    for trouble in course.troubles:
        _log.warning("a snapshot cannot be used: %s", trouble)
    if course.fresh:
        _log.info("a snapshot gave %d keys; reading on from %s", len(course.fresh), course.applied)
