"""The main's history: how far it reaches back, and when the folder gets it at all (docs/protocol.md, 3.12 and 3.13)."""

import logging
from collections import deque

from hanas_core.log import records
from hanas_core.members import cluster
from hanas_core.state.index import Index
from hanas_core.state.judge import Compaction, Outcome, Result
from hanas_worker.host.duties import Duty
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState

_log = logging.getLogger("hanas.worker")

_KEPT = 0.75
"""What part of the bound is kept when history is compacted for its size; the rest is for what comes meanwhile."""
_FULL = 0.9
"""The part of the bound at which it is."""
_AT_ONCE = 4096
"""Changes that are forgotten with one record, at most: others have their turns on the event loop between two."""


def form_of(folder_format: int, index: Index) -> int:
    """Return the form of the records that a main writes: what the folder has, or what its log has already."""
    return records.REVISED if folder_format == cluster.FORMAT else index.form


class Historian:
    """Keeps history within its bounds while this worker is the main."""

    def __init__(self, state: LogState) -> None:
        """Know no epoch yet."""
        self._state, self._host = state, state.host
        self._service: Service | None = None
        self._since = 0.0
        self._marks: deque[tuple[float, int]] = deque()
        """Moments of this process, and the revisions that the store had then."""
        self._due = 0
        """The revision up to which history is too old."""

    async def look(self) -> None:
        """Compact history if it is time, or raise the folder's format if all are ready for it. Raises FolderError."""
        service = self._state.service
        if service is None:
            return
        if service is not self._service:
            self._service, self._since = service, self._host.awake
            self._marks.clear()
            self._due = 0
        if service.form == records.PLAIN:
            await self._upgrade(service)
        else:
            self._compact(service)

    async def _upgrade(self, service: Service) -> None:
        """Begin to write revisions when every member that lives can read them."""
        host = self._host
        if host.awake - self._since <= host.peer_silence:
            return  # of some it is not known yet whether they live
        if any(cluster.FORMAT not in other.formats for other in host.others()):
            return
        await host.in_lane(Duty.HISTORY, cluster.upgrade(host.folder, host.folder_id))
        if not service.ended:
            service.form = records.REVISED
            _log.info("every member knows the format %d: the folder has it from now on", cluster.FORMAT)

    def _compact(self, service: Service) -> None:
        settings, now, index = self._host.settings, self._host.now, service.index
        history = index.keys.history
        self._marks.append((now, index.revision))
        while self._marks[0][0] <= now - settings.history_seconds:
            _, self._due = self._marks.popleft()
        revision = self._due
        if service.full:  # nothing else makes room
            revision = index.revision
        else:
            memory = settings.history_bytes / max(history.bytes, 1)
            volume = settings.compact_bytes / max(index.keys.past_bytes, 1)  # so much garbage nobody minds either
            if (room := min(memory, volume)) * _FULL < 1:
                revision = max(revision, history.revision_keeping(_KEPT * room))
        self._state.tally.cuts += revision > max(self._due, index.compacted)
        if len(history) > _AT_ONCE:
            revision = min(revision, history[_AT_ONCE - 1].revision)
        if revision > index.compacted:
            service.submit(Compaction(revision), self._compacted)

    def _compacted(self, outcome: Outcome, epoch: int) -> None:
        """Look whether there is more to be forgotten."""
        del epoch
        if outcome.result is Result.COMPACTED:
            self._state.wakers[Duty.HISTORY].set()
