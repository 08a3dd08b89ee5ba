"""A backup's warm copy: tailing the log of the main's epoch."""

import asyncio
import logging

from hanas_core.log.batches import Batch
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.tailer import Tailer
from hanas_core.members.roles import Role
from hanas_core.volume.errors import FolderError
from hanas_worker.host.duties import Duty
from hanas_worker.log.state import LogState

log = logging.getLogger("hanas.worker")

LOAD_TIMEOUT = 3600.0
"""A snapshot may be large. Seconds."""


class Follower:
    """Feeds the replica while this worker is a backup."""

    def __init__(self, state: LogState) -> None:
        """Follow nobody yet."""
        self._state, self._host = state, state.host

    async def catch_up(self) -> None:
        """Apply what is known to be committed, up to the end of what can be read now. Raises FolderError."""
        state, host = self._state, self._host
        async with state.replica_lock:
            claim = state.member.claim
            if claim is None or state.member.role is not Role.BACKUP:
                return
            if state.followed_epoch != claim.epoch:
                fresh = state.replica.tailer.applied == NOWHERE
                timeout = LOAD_TIMEOUT if fresh else None
                if not await host.in_lane(Duty.LOG, state.replica.follow(claim.epoch), timeout):
                    return
                if fresh and state.replica.tailer.manifest is not None:
                    self._tell_start()
                state.followed_epoch = state.served_epoch = claim.epoch
                state.member.detector.served()
            while state.member.role is Role.BACKUP:
                await self._read_on()
                if state.replica.tailer.at_end:
                    return

    def _tell_start(self) -> None:
        """Say where this worker begins to read."""
        replica = self._state.replica
        for trouble in replica.troubles:
            log.warning("a snapshot cannot be used: %s", trouble)
        replica.troubles.clear()
        if len(replica.index):
            log.info("a snapshot gave %d keys; reading on from %s", len(replica.index), replica.tailer.applied)

    async def learn_places(self) -> bool:
        """Learn where compaction has put values that are known here; True if there was something to learn.

        A takeover does not wait for it: whoever needs such a value meanwhile does. Raises FolderError.
        """
        state, host = self._state, self._host
        index, learned = state.replica.index, False
        while state.replica.unread:
            async with state.replica_lock:
                if not state.replica.unread or state.replica.index is not index:
                    break
                for batch in await host.in_lane(Duty.LOG, state.replica.learn()):
                    state.replica.index.relocate(batch)
                learned = True
        return learned

    async def _read_on(self) -> None:
        """Read and apply one step. A read that is given up goes on behind our back: its tailer is never used again."""
        state, tailer = self._state, self._state.replica.tailer
        applied = tailer.applied
        try:
            batches = await self._host.in_lane(Duty.LOG, _step(tailer, state.known))
        except (FolderError, asyncio.CancelledError):
            state.replica.continue_from(applied)
            state.followed_epoch = 0
            raise
        for batch in batches:
            state.replica.index.apply(batch)


async def _step(tailer: Tailer, known: Position | None) -> list[Batch]:
    if known is not None:
        tailer.know(known)
    return await tailer.step()
