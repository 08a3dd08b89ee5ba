"""The main removes what processes that died left in the folder (docs/protocol.md, section 3.6)."""

from hanas_core.upkeep.leftovers import Manifests, Patience, momentary_names, temporary_names
from hanas_worker.host.duties import Duty
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState
from hanas_worker.log.tenure import Tenure

LOOKS = 10
"""How often a main looks for leftovers within the time after which it removes them."""


class Caretaker:
    """Removes leftovers while this worker is the main."""

    def __init__(self, state: LogState, tenure: Tenure) -> None:
        """Have seen nothing yet."""
        self._state, self._host = state, state.host
        self._tenure = tenure
        self._service: Service | None = None
        """The one whose main has been looking."""
        self._begin()

    def _begin(self) -> None:
        after = self._host.timing.leftovers_after
        self._manifests = Manifests()
        self._temporary, self._momentary = Patience(after), Patience(after)
        self._looks = 0

    async def tidy(self) -> None:
        """Remove what is nobody's by now; to be called `LOOKS` times in `leftovers_after`. Raises FolderError."""
        host, service = self._host, self._state.service
        within = host.peer_silence  # where the mailboxes were not read for so long, nobody can be seen to live
        if self._service is not service or host.awake - host.peers.read_at > within:
            self._service = service
            self._begin()
        if service is None:
            return
        await self._tenure.remove_leftovers(service.manifest)
        if not self._manifests.all_named:
            await self._remove(await host.in_lane(Duty.REMOVE, self._manifests.unnamed(host.folder, service.epoch)))
        temporary = await host.in_lane(Duty.REMOVE, temporary_names(host.folder))
        living = {block.incarnation for block in host.peers.alive(host.awake, within)} | {host.incarnation}
        await self._remove(self._temporary.due(host.awake, temporary, living))
        if self._looks % LOOKS == 0:
            momentary = await host.in_lane(Duty.REMOVE, momentary_names(host.folder))
            await self._remove(self._momentary.due(host.awake, momentary, set()))
        self._looks += 1

    async def _remove(self, present: list[str]) -> None:
        for name in present:
            await self._tenure.discard(name)  # one that cannot be removed, such as a directory, delays no other
