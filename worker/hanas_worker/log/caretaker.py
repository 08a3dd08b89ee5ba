"""The main removes what processes that died left in the folder (docs/protocol.md, section 3.6)."""

import contextlib

from hanas_core.upkeep.leftovers import Manifests, Patience, passing_names
from hanas_core.volume.errors import FolderError
from hanas_worker.host.duties import Duty
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState
from hanas_worker.log.tenure import Tenure

_UNSEEN = 3.0
"""Where the mailboxes were last read this many presence intervals ago, nobody can be seen to live."""


class Caretaker:
    """Removes leftovers while this worker is the main."""

    def __init__(self, state: LogState, tenure: Tenure) -> None:
        """Have seen nothing yet."""
        self._state, self._host = state, state.host
        self._tenure = tenure
        self._manifests = Manifests()
        self._patience = Patience(state.host.timing.leftovers_after)
        self._service: Service | None = None
        """The one during which `_patience` has been looking."""

    async def tidy(self) -> None:
        """Remove what is nobody's by now. Raises FolderError."""
        host, service = self._host, self._state.service
        within = _UNSEEN * host.timing.presence_interval
        if self._service is not service or host.now - host.peers.read_at > within:
            self._service, self._patience = service, Patience(host.timing.leftovers_after)
        if service is None:
            return
        await self._tenure.remove_leftovers(service.manifest)
        for name in await host.in_lane(Duty.REMOVE, self._manifests.unnamed(host.folder, service.epoch)):
            await self._remove(name)
        present = await host.in_lane(Duty.REMOVE, passing_names(host.folder))
        living = {block.incarnation for block in host.peers.alive(host.now, within)} | {host.incarnation}
        for name in self._patience.due(host.awake, present, living):
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(FolderError):  # one that cannot be removed, such as a directory, delays no other
            await self._host.in_lane(Duty.REMOVE, self._host.folder.remove(name))
