"""The main's snapshots of its index, for those who start cold (docs/protocol.md, section 3)."""

import asyncio
import logging
from functools import partial

import msgspec

from hanas_core.log.positions import Position
from hanas_core.state import snapshots
from hanas_core.state.snapshots import SnapshotFile, SnapshotFrames
from hanas_core.volume import names
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder
from hanas_serving.lanes import Owned
from hanas_worker.host.duties import Duty
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState

_log = logging.getLogger("hanas.worker")

_REST = 2.0
"""Pause between two frames, as a multiple of the time of the last one, for the sake of commits."""
_TIMES_ITS_SIZE = 2
"""The next snapshot is due when the log has grown by this many times the size of the last one."""


class Snapshots:
    """Takes a snapshot when enough log has come behind the last one."""

    def __init__(self, state: LogState) -> None:
        """Know no snapshot yet."""
        self._state, self._host = state, state.host
        self._searched = 0
        """The last own epoch for which the folder was searched."""
        self._last: tuple[Position | None, int] = (None, 0)
        """The position of the newest snapshot, and its size in bytes."""

    async def take(self) -> None:
        """Take a snapshot if it is time. Raises FolderError."""
        state, host, service = self._state, self._host, self._state.service
        if service is None or state.replica.unread or service.full:
            return
        if self._searched != service.epoch:
            self._last = await host.in_lane(Duty.SNAPSHOT, _newest(host.folder))
            self._searched = service.epoch
        if self._behind(service) < max(host.settings.snapshot_bytes, _TIMES_ITS_SIZE * self._last[1]):
            return
        await self._take(service)

    def _behind(self, service: Service) -> int:
        """Return how much log there is behind the newest snapshot, bytes."""
        whole = msgspec.structs.replace(service.manifest, cuts=service.manifest.cuts + service.cuts)
        return whole.behind(self._last[0])

    async def _take(self, service: Service) -> None:
        host, index, position = self._host, service.index, service.applied
        started = host.now
        header = snapshots.SnapshotHeader(
            folder_id=host.folder_id,
            position=position,
            sequence=index.sequence,
            merged=self._state.replica.merged,
            keys=0,
            size=0,
            encryption=host.folder.keys.begin(host.folder.nonce),
        )
        temporary = names.temporary(host.settings.member, host.incarnation, host.folder.nonce())
        file = host.lane(Duty.SNAPSHOT).owning(lambda: SnapshotFile(host.folder, temporary, header))
        frames, timeout = SnapshotFrames(index), host.timing.folder_timeout
        try:
            for payload in frames:
                began = host.now
                await file.run(partial(SnapshotFile.write, payload=payload), timeout)
                if service.ended:
                    await self._discard(file)
                    return
                await asyncio.sleep(_REST * (host.now - began))
            size = await file.run(lambda file: file.finish(frames.keys), timeout)
        except FolderError:
            await self._discard(file)
            raise
        self._last = position, size
        _log.info("snapshot %s: %d bytes in %.1f s", snapshots.name_of(position), size, host.now - started)

    async def _discard(self, file: Owned[SnapshotFile]) -> None:
        try:
            await file.run(SnapshotFile.discard, self._host.timing.folder_timeout)
        except FolderError as error:
            _log.warning("the temporary file of a snapshot was not removed: %s", error)


async def _newest(folder: Folder) -> tuple[Position | None, int]:
    for name in await snapshots.newest(folder):
        try:
            header = await snapshots.read_header(folder, name)
        except FolderError:
            continue
        return header.position, header.size
    return None, 0
