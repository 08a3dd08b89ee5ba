"""Who owns which slot of the mailboxes (docs/protocol.md, section 4.2).

Registrations are numbered without gaps, and each gives one slot to one member. The first 256 give the slots in order.
Each later one takes a slot away from a member that is gone; it also says by which registration each slot was given
last, so that a reader needs the newest one and those that it names.
"""

import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from hanas_core.members.documents import Presence
from hanas_core.members.liveness import LifeSign
from hanas_core.members.mailboxes import SLOTS, Box, Mailboxes
from hanas_core.volume import blocks, names, reading
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES, Folder
from hanas_core.volume.publish import publish, settle

VACANT_AFTER = 600.0
"""The slot of a member that was not seen to move for this long may be given to another, seconds. The member itself
writes nothing into it when it could not show itself for half of that, before it has arrived anew."""


class NoSlot(FolderUnavailable):
    """All slots belong to members that live, or were not watched for long enough. The message says what to do."""


class Registration(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Gives a slot to a member; the addresses are those of its first arrival."""

    member: str
    slot: int
    advertise_url: str
    link_url: str
    given_by: tuple[int, ...] = ()
    """The number of the present registration of each slot; only in those that take a slot away from another."""
    number: int = 0
    """From its name, not from its content."""


def vacant(registrations: Sequence[Registration], life_signs: Sequence[LifeSign]) -> list[Registration]:
    """Return those whose slots may be given to another: of who left, then of who is silent, the longest first."""
    pairs = [*zip(registrations, life_signs, strict=False)]
    pairs.sort(key=lambda pair: -pair[1].silent)
    left = [owner for owner, sign in pairs if sign.presence is not None and sign.presence.left]
    return left + [owner for owner, sign in pairs if sign.silent >= VACANT_AFTER and owner not in left]


class Registry:
    """Who owns which slot. Belongs to one lane: of its calls, one runs at a time.

    Registrations never change, so each is read once, but for one whose name the file server forgets before it was
    durable: nobody has been given that slot by then.
    """

    def __init__(self, folder: Folder, known: Sequence[Registration] = ()) -> None:
        """``known``: the present registration of each slot, as far as they were read before."""
        self._folder = folder
        self.registrations = list(known)
        """The present one of each slot."""
        self._newest = max((registration.number for registration in known), default=-1)
        """The highest number that was seen."""
        self._strangers: dict[int, str] = {}
        """Who showed itself in a slot of another when the registrations were last read anew for that."""

    @property
    def count(self) -> int:
        """How many registrations were seen to have been made."""
        return self._newest + 1

    async def update(self) -> list[Registration]:
        """Return the present registrations that can be seen, in order of slots."""
        while len(self.registrations) < SLOTS:
            number = len(self.registrations)
            registration = await self._read(number)
            if registration is None:
                return self.registrations
            self._take(registration)
        newest = await self._newest_that_can_be_seen()
        if newest is not None:
            for slot, number in enumerate(newest.given_by):
                if self.registrations[slot].number != number:
                    file = await reading.open_recorded(self._folder, names.member(number), "read")
                    self._take(_registration(await file.read(0, BLOCK_BYTES), number))
        return self.registrations

    async def _newest_that_can_be_seen(self) -> Registration | None:
        """Return the newest registration, None if it is known already: the step doubles, then it halves."""
        newest, step = None, 1
        while (found := await self._read(self._newest + step)) is not None:
            newest, self._newest, step = found, self._newest + step, 2 * step
        while step := step // 2:
            if (found := await self._read(self._newest + step)) is not None:
                newest, self._newest = found, self._newest + step
        return newest

    async def _read(self, number: int) -> Registration | None:
        try:
            file = await self._folder.open(names.member(number), "read")
        except Missing:
            return None
        return _registration(await file.read(0, BLOCK_BYTES), number)

    def _take(self, registration: Registration) -> None:
        slot = registration.slot
        self.registrations[slot : slot + 1] = [msgspec.structs.replace(registration, given_by=())]
        self._newest = max(self._newest, registration.number)

    def _forget_from(self, slot: int) -> None:
        """Read the registration of ``slot`` anew, those behind it, and all that gave a slot to another."""
        first = next((owner.slot for owner in self.registrations[:slot] if owner.number != owner.slot), slot)
        del self.registrations[first:]
        self._newest = first - 1

    async def presence(self, mailboxes: Mailboxes) -> list[Presence | None]:
        """Return what the members show, in order of slots; None where a block is not its slot's owner's.

        A look-up that says "no such member" may be a minute old. So the block behind the last one is read as well: if
        somebody shows itself there, its registration is looked up past the caches. So is that of somebody who shows
        itself in the slot of another.
        """
        await self.update()
        while True:
            count = len(self.registrations)
            presences = await mailboxes.read(Box.PRESENCE, min(count + 1, SLOTS), Presence)
            if count == SLOTS or presences[count] is None:
                break
            await self._folder.refresh(names.MEMBERS)
            if len(await self.update()) == count:
                break
        strangers = dict(self._in_the_slot_of_another(presences))
        if strangers.items() - self._strangers.items():
            await self._folder.refresh(names.MEMBERS)
            if count == SLOTS:  # its slot may have been given to another
                await self.update()
                strangers = dict(self._in_the_slot_of_another(presences))
            if strangers:  # the registration that was read is gone, perhaps
                self._forget_from(min(strangers))
                await self.update()
        self._strangers = strangers
        presences += [None] * (len(self.registrations) - len(presences))
        pairs = zip(self.registrations, presences, strict=False)
        return [block if block is not None and block.member == owner.member else None for owner, block in pairs]

    def _in_the_slot_of_another(self, presences: Sequence[Presence | None]) -> Iterator[tuple[int, str]]:
        for owner, block in zip(self.registrations, presences, strict=False):
            if block is not None and block.member != owner.member:
                yield owner.slot, block.member

    async def slot_of(
        self,
        member: str,
        incarnation: str,
        advertise_url: str,
        link_url: str,
        vacancies: Sequence[Registration] = (),
    ) -> int:
        """Return the slot of ``member``, giving it one if it has none. Raises NoSlot when all are taken.

        ``vacancies``: registrations that may be replaced then, the best first. A slot that was found is made durable,
        too: it may have been given by somebody who died before that.
        """
        await self._folder.refresh(names.MEMBERS)
        while True:
            own = next((one for one in await self.update() if one.member == member), None)
            if own is not None:
                if await self._is_for_good(own):
                    return own.slot
                continue
            number = self._newest + 1
            own = Registration(member, number, advertise_url, link_url)
            if number >= SLOTS:
                own = self._in_place_of_another(own, vacancies)
            temporary = names.temporary(member, incarnation, self._folder.nonce())
            content = blocks.encode(own)
            block = await publish(self._folder, temporary, names.member(number), content)
            self._take(_registration(block, number))
            if block == content:
                return own.slot

    def _in_place_of_another(self, own: Registration, vacancies: Sequence[Registration]) -> Registration:
        number = own.slot
        slot = next((owner.slot for owner in vacancies if owner in self.registrations), None)
        if slot is None:
            raise NoSlot(
                f"all {SLOTS} member slots are taken: stop workers, `hanas forget` dead ones, or wait, for the slot of "
                f"one that was silent for {VACANT_AFTER:g} s is given to another"
            )
        numbers = [owner.number for owner in self.registrations]
        numbers[slot] = number
        return msgspec.structs.replace(own, slot=slot, given_by=tuple(numbers))

    async def _is_for_good(self, registration: Registration) -> bool:
        """Make a registration durable and look it up anew; if it is gone, forget it and those behind it."""
        number = registration.number
        with contextlib.suppress(Missing):
            found = _registration(await settle(self._folder, names.member(number)), number)
            if msgspec.structs.replace(found, given_by=()) == registration:
                return True
        self._forget_from(registration.slot)
        return False


async def registered(folder: Folder, slot: int) -> Registration:
    """Return the present registration of a slot that is known to be taken. Raises FolderError."""
    file = await reading.open_recorded(folder, names.member(slot), "read")
    first = _registration(await file.read(0, BLOCK_BYTES), slot)
    try:
        await folder.open(names.member(SLOTS), "read")
    except Missing:
        return first  # no slot was ever given to another
    return (await Registry(folder).update())[slot]


def flaw_of(registration: Registration, number: int) -> str:
    """Return what is wrong with the content of the registration with this number; empty if nothing is."""
    slot, given_by = registration.slot, registration.given_by
    if not names.is_member(registration.member):
        return f"registers {registration.member[:80]!r}, which is no member id"
    if slot != number if number < SLOTS else not 0 <= slot < SLOTS:
        return f"is the registration of slot {slot}"
    if number < SLOTS:
        return "takes a slot from another, though not all were taken" if given_by else ""
    whole = len(given_by) == SLOTS and given_by[slot] == number and all(0 <= giver <= number for giver in given_by)
    return "" if whole else "does not say by which registration each slot was given"


def _registration(block: bytes, number: int) -> Registration:
    registration = blocks.decode(block, Registration, names.member(number), 0)
    if isinstance(registration, Blank):
        raise FolderUnavailable(f"{names.member(number)}: offset 0 is {registration.value}")
    if flaw := flaw_of(registration, number):
        raise Corruption(f"{names.member(number)}: the block at offset 0 {flaw}")
    return msgspec.structs.replace(registration, number=number)
