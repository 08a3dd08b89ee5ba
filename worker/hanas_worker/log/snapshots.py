"""The main's snapshots of its index, for those who start cold (docs/protocol.md, section 3)."""

import asyncio
import logging

from hanas_core.log.positions import Position
from hanas_core.state import snapshots
from hanas_core.volume import names
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder
from hanas_worker.host.state import State
from hanas_worker.log.service import Service
from hanas_worker.log.tenure import Tenure

log = logging.getLogger("hanas.worker")

_REST = 2.0
"""Between two frames this many times as long as the last one took, so that commits hardly notice."""
_TIMES_ITS_SIZE = 2
"""There is a next snapshot when the log has grown by this many times what the last one took."""


class Snapshots:
    """Takes a snapshot when enough log has come behind the last one."""

    def __init__(self, state: State, tenure: Tenure) -> None:
        """Know of no snapshot."""
        self._state = state
        self._tenure = tenure
        self._searched = 0
        """The epoch of one's own for which the folder was searched."""
        self._last: tuple[Position | None, int] = (None, 0)
        """Where a reader of the newest one goes on, and its size in bytes."""

    async def take(self) -> None:
        """Take a snapshot if it is time. Raises FolderError."""
        service, state = self._tenure.serving, self._state
        if service is None or state.replica.unread or service.full:
            return
        if self._searched != service.epoch:
            self._last = await state.in_lane("snapshot", _newest(state.folder))
            self._searched = service.epoch
        if self._behind(service) < max(state.settings.snapshot_bytes, _TIMES_ITS_SIZE * self._last[1]):
            return
        await self._take(service)

    def _behind(self, service: Service) -> int:
        """Return how much log there is behind the newest snapshot, bytes."""
        position, own = self._last[0], service.log.cuts
        if position is not None and position.epoch == service.epoch:
            return sum(cut.end for cut in own if cut.number > position.number) + sum(
                max(0, cut.end - position.offset) for cut in own if cut.number == position.number
            )
        return service.manifest.behind(position) + sum(cut.end for cut in own)

    async def _take(self, service: Service) -> None:
        state, index, started = self._state, service.index, self._state.now
        position = service.applied
        header = snapshots.SnapshotHeader(
            folder_id=state.folder_id,
            position=position,
            sequence=index.sequence,
            merged=state.replica.merged,
            keys=0,
            size=0,
        )
        temporary = names.temporary(state.settings.member, state.member.incarnation, state.folder.nonce())
        writer = snapshots.SnapshotWriter(state.folder, index, temporary, header)
        try:
            for frame in writer.frames():
                began = state.now
                await state.in_lane("snapshot", writer.write(frame))
                if service.ended:
                    await self._discard(writer)
                    return
                await asyncio.sleep(_REST * (state.now - began))
            name = await state.in_lane("snapshot", writer.finish())
        except FolderError:
            await self._discard(writer)
            raise
        self._last = position, writer.end
        log.info("snapshot %s: %d bytes in %.1f s", name, writer.end, state.now - started)

    async def _discard(self, writer: snapshots.SnapshotWriter) -> None:
        try:
            await self._state.in_lane("snapshot", writer.discard())
        except FolderError as error:
            log.warning("a temporary file of a snapshot stays behind: %s", error)


async def _newest(folder: Folder) -> tuple[Position | None, int]:
    for name in await snapshots.newest(folder):
        try:
            header = await snapshots.read_header(folder, name)
        except FolderError:
            continue
        return header.position, header.size
    return None, 0
