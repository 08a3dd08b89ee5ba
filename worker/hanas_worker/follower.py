"""A backup's warm copy: tailing the log of the main's epoch."""

import asyncio

from hanas_core.batches import Batch
from hanas_core.errors import FolderError
from hanas_core.member import Role
from hanas_core.positions import Position
from hanas_core.tailer import Tailer
from hanas_worker.state import State


class Follower:
    """Feeds the replica while this worker is a backup."""

    def __init__(self, state: State) -> None:
        """Follow nobody yet."""
        self._state = state

    async def catch_up(self) -> None:
        """Apply what is known to be committed, up to the end of what can be read now. Raises FolderError."""
        state = self._state
        async with state.replica_lock:
            claim = state.member.claim
            if claim is None or state.member.role is not Role.BACKUP:
                return
            if state.followed_epoch != claim.epoch:
                if not await state.in_lane("log", state.replica.follow(claim.epoch)):
                    return
                state.followed_epoch = state.served_epoch = claim.epoch
                state.member.detector.served()
            while state.member.role is Role.BACKUP:
                await self._read_on()
                if state.replica.tailer.at_end:
                    return

    async def _read_on(self) -> None:
        """Read and apply one step. A read that is given up goes on behind our back: its tailer is never used again."""
        state, tailer = self._state, self._state.replica.tailer
        applied = tailer.applied
        try:
            batches = await state.in_lane("log", _step(tailer, state.known))
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
