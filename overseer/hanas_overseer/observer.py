"""One look at the folder: the registrations, the presence blocks, the main and the history."""

import msgspec

from hanas_core.epochs.arbitration import main_info
from hanas_core.log.claims import highest_claim
from hanas_core.members import cluster
from hanas_core.members.documents import MainInfo, Presence
from hanas_core.members.mailboxes import Mailboxes
from hanas_core.members.registry import Registration, Registry
from hanas_core.volume.folder import Folder
from hanas_overseer.documents import EpochEntry
from hanas_overseer.history import History


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one look. ``presences`` is parallel to ``registrations``, which are in order of slots."""

    registrations: tuple[Registration, ...] = ()
    presences: tuple[Presence | None, ...] = ()
    main: MainInfo | None = None
    takeovers: tuple[EpochEntry, ...] = ()
    lowest: int = 0
    """The lowest epoch in ``takeovers``; 1: it is the whole history; 0: there is no epoch yet."""

    @property
    def highest(self) -> int:
        """The highest epoch, 0 before the first."""
        return 0 if self.main is None else self.main.epoch

    @property
    def complete(self) -> bool:
        """Whether ``takeovers`` is the whole history."""
        return self.lowest <= 1


class Observer:
    """Repeated looks at the folder; what never changes is read once. It belongs to a lane."""

    def __init__(self, folder: Folder, folder_id: str, last: Observation) -> None:
        """Look at ``folder``, which must have this id, and go on from the ``last`` look."""
        self._folder = folder
        self._folder_id = folder_id
        self._registry = Registry(folder, last.registrations)
        self._mailboxes = Mailboxes(folder)
        self._history = History(folder, last.takeovers, last.highest, last.lowest)
        self._highest = last.highest

    async def look(self) -> Observation:
        """Return the present state. Raises FolderError; the next look then continues with what was read so far."""
        await cluster.identify(self._folder, self._folder_id)
        presences = tuple(await self._registry.presence(self._mailboxes))
        registrations = tuple(self._registry.registrations)  # fewer than the presences where one proved to be gone
        holder = await highest_claim(self._folder, self._highest)
        main = None
        if holder is not None:
            self._highest = holder.epoch
            await self._history.update(holder)
            main = await main_info(self._folder, holder)
        return Observation(
            registrations=registrations,
            presences=presences[: len(registrations)],
            main=main,
            takeovers=self._history.takeovers,
            lowest=self._history.lowest,
        )
