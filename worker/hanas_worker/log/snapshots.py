"""The main's snapshots of its index, for those who start cold (docs/protocol.md, section 3)."""

import asyncio
import logging
from functools import partial

import msgspec

from hanas_core.log import records
from hanas_core.log.positions import Position
from hanas_core.state import snapshots
from hanas_core.state.snapshots import SnapshotFile, SnapshotFrames, SnapshotHeader
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
        self._key: str | None = None
        """Id of the key that it is encrypted with; None for a plain one."""

    async def take(self) -> None:
        """Take a snapshot if it is time. Raises FolderError."""
        state, host, service = self._state, self._host, self._state.service
        if service is None or state.replica.unread or service.full:
            return
        if service.form == records.PLAIN:  # members of an older version could not read it
            return
        if self._searched != service.epoch:
            newest = await host.in_lane(Duty.SNAPSHOT, _newest(host.folder))
            self._last = (None, 0) if newest is None else (newest.position, newest.size)
            self._key = None if newest is None else _key_of(newest)
            self._searched = service.epoch
        # The name is the position: one with another key is replaced once the log has moved on.
        stale = self._last[0] not in {None, service.applied} and self._key != host.folder.keys.current
        if not stale and self._behind(service) < max(host.settings.snapshot_bytes, _TIMES_ITS_SIZE * self._last[1]):
            return
        await self._take(service)

    def _behind(self, service: Service) -> int:
        """Return how much log there is behind the newest snapshot, bytes."""
        whole = msgspec.structs.replace(service.manifest, cuts=service.manifest.cuts + service.cuts)
        return whole.behind(self._last[0])

    async def _take(self, service: Service) -> None:
        host, index, position = self._host, service.index, service.applied
        started = host.now
        header = SnapshotHeader(
            folder_id=host.folder_id,
            position=position,
            sequence=index.sequence,
            revision=index.revision,
            form=index.form,
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
            ending = frames.ending
            size = await file.run(lambda file: file.finish(ending), timeout)
        except FolderError:
            await self._discard(file)
            raise
        self._last, self._key = (position, size), _key_of(header)
        _log.info("snapshot %s: %d bytes in %.1f s", snapshots.name_of(position), size, host.now - started)

    async def _discard(self, file: Owned[SnapshotFile]) -> None:
        try:
            await file.run(SnapshotFile.discard, self._host.timing.folder_timeout)
        except FolderError as error:
            _log.warning("the temporary file of a snapshot was not removed: %s", error)


async def _newest(folder: Folder) -> SnapshotHeader | None:
    for name in await snapshots.newest(folder):
        try:
            return await snapshots.read_header(folder, name)
        except FolderError:
            continue
    return None


def _key_of(header: SnapshotHeader) -> str | None:
    return None if isinstance(header.encryption, msgspec.UnsetType) else header.encryption.key
