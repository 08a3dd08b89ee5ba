"""The calls that change the folder: a worker arrives, a backup challenges the main (hanas_core.epochs.arbitration).

No state is kept between calls: each decision depends only on the folder and its atomic operations.
"""

import logging
from collections.abc import Sequence

import msgspec

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Arrival, Challenge, Place, Ruling
from hanas_core.members import cluster
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import SLOTS, Box, Mailboxes
from hanas_core.members.registry import Registration, Registry
from hanas_core.members.timing import Timing
from hanas_core.volume import names
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import Folder
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Runtime

_log = logging.getLogger(__name__)


MOST_UNSEEN = 16
"""An overseer registers no further member while so many have never shown themselves in the folder: slots are given for
ever, and whoever can write to the folder can also register there without an overseer."""


class Decisions:
    """The decisions, one after the other, on a lane of their own."""

    def __init__(self, folder: Folder, folder_id: str, timing: Timing, runtime: Runtime) -> None:
        """Decide in ``folder``, which must have this id."""
        self.folder_id = folder_id
        self._timing = timing
        self._runtime = runtime
        self._desk = Lane("decisions", runtime.thread).owning(lambda: _Desk(folder, folder_id))

    async def arrive(self, arrival: Arrival, vacancies: Sequence[Registration], seen: int) -> Place:
        """Register a worker and return its place; it may replace one of ``vacancies``. Raises Refused, FolderError.

        ``seen``: the highest epoch that this overseer has seen.
        """
        now = self._runtime.wall_clock()
        place = await self._desk.run(
            lambda desk: desk.arrive(arrival, vacancies, now, seen), self._timing.folder_timeout
        )
        _log.info("%s has arrived: role %s in epoch %d, slot %d", arrival.member, place.role, place.epoch, place.slot)
        return place

    async def challenge(self, challenge: Challenge) -> Ruling:
        """Rule on a takeover. Raises Refused, FolderError; after a FolderError the outcome is unknown here."""
        now = self._runtime.wall_clock()
        ruling = await self._desk.run(lambda desk: desk.challenge(challenge, now), self._timing.folder_timeout)
        _log.info(
            "%s asked to replace %.80r, the main of epoch %d (%s): %s; epoch %d has the main %s",
            challenge.member,
            challenge.expected.main,
            challenge.expected.epoch,
            challenge.verdict,
            "granted" if ruling.granted else "not granted",
            ruling.main.epoch,
            ruling.main.member,
        )
        return ruling

    async def forget(self, member: str) -> None:
        """Mark ``member``, which must be dead, as left in the folder, so that its silence raises no alert.

        If it comes back, its next presence block replaces the mark. Raises FolderError.
        """
        await self._desk.run(lambda desk: desk.forget(member), self._timing.folder_timeout)
        _log.info("%s is marked as left", member)


class _Desk:
    """The property of the decisions' thread: open files, and registrations, which never change."""

    def __init__(self, folder: Folder, folder_id: str) -> None:
        self._folder = folder
        self._folder_id = folder_id
        self._registry = Registry(folder)
        self._mailboxes = Mailboxes(folder)

    async def forget(self, member: str) -> None:
        await cluster.identify(self._folder, self._folder_id)
        registration = _find(await self._registry.update(), member)
        if registration is None:
            return
        slot = registration.slot
        presence = (await self._mailboxes.read(Box.PRESENCE, slot + 1, Presence))[slot]
        if presence is not None and presence.member == member:
            logs = tuple(msgspec.structs.replace(log, links=()) for log in presence.logs)
            gone = msgspec.structs.replace(presence, logs=logs, left=True, alerts=())
            await self._mailboxes.write(Box.PRESENCE, slot, gone)

    async def arrive(self, arrival: Arrival, vacancies: Sequence[Registration], now: str, seen: int) -> Place:
        await cluster.identify(self._folder, self._folder_id)
        registrations = await self._registry.update()
        if _find(registrations, arrival.member) is None and len(registrations) < SLOTS:
            unseen = (await self._registry.presence(self._mailboxes)).count(None)
            if unseen >= MOST_UNSEEN:
                raise FolderUnavailable(
                    f"{unseen} members are registered that never showed themselves in the folder, so no further one is "
                    "registered by its word alone: a worker that can use the folder registers itself there"
                )
        return await arbitration.arrive(
            self._folder, self._registry, arrival, folder_id=self._folder_id, now=now, vacancies=vacancies, seen=seen
        )

    async def challenge(self, challenge: Challenge, now: str) -> Ruling:
        await cluster.identify(self._folder, self._folder_id)
        return await arbitration.challenge(
            self._folder,
            challenge,
            folder_id=self._folder_id,
            addresses=await self._addresses(challenge.member),
            now=now,
        )

    async def _addresses(self, member: str) -> tuple[str, str] | None:
        """Return the addresses in the presence block of ``member``, else those of its registration, else None."""
        registration = _find(await self._registry.update(), member)
        if registration is None:
            await self._folder.refresh(names.MEMBERS)
            registration = _find(await self._registry.update(), member)
        if registration is None:
            return None
        presence = (await self._mailboxes.read(Box.PRESENCE, registration.slot + 1, Presence))[registration.slot]
        if presence is not None and presence.member == member:
            return presence.advertise_url, presence.link_url
        return registration.advertise_url, registration.link_url


def _find(registrations: list[Registration], member: str) -> Registration | None:
    return next((registration for registration in registrations if registration.member == member), None)
