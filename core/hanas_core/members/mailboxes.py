"""The mailboxes: what members tell each other through the folder (docs/protocol.md, section 4).

Four files of fixed size, made at initialisation, with one block of 4 KiB per slot. Each block is written by the
member that the slot belongs to and read by all, all slots of a file with one read. A block that is zero or rotten
(being written just now) says nothing; one looks again.
"""

import contextlib
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from hanas_core.members.documents import LOG, Presence
from hanas_core.volume import blocks, names, reading
from hanas_core.volume.blocks import Blank, unpack
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES, Access, File, Folder
from hanas_core.volume.publish import give_name, publish, settle

SLOTS = 256
"""How many member ids a folder can know over its life."""


class Box(StrEnum):
    """The files."""

    PROBES = "probes"
    ANSWERS = "answers"
    CANARIES = "canaries"
    PRESENCE = "presence"


class LogProbe(msgspec.Struct, frozen=True, rename="camel"):
    """The question to the main of ``epoch`` of a log: can you still commit?"""

    nonce: str
    epoch: int
    log: int = LOG


class Probe(msgspec.Struct, frozen=True, rename="camel"):
    """A backup's questions, one at most to each log's main."""

    member: str
    incarnation: str
    logs: tuple[LogProbe, ...]

    def of(self, log: int) -> LogProbe | None:
        """Return the question to the main of ``log``."""
        return next((probe for probe in self.logs if probe.log == log), None)


class ProbeAnswer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The main's answer to the probe with ``nonce``, written after a commit that began after the probe was seen."""

    nonce: str
    full: bool = False
    """The main lives, but the volume has no room for more."""


class LogAnswers(msgspec.Struct, frozen=True, rename="camel"):
    """All answers of the main of ``epoch`` of a log, by slot of the asking member."""

    epoch: int
    answers: dict[int, ProbeAnswer]
    log: int = LOG


class Answers(msgspec.Struct, frozen=True, rename="camel"):
    """All answers of one member, for each log whose main it is."""

    incarnation: str
    logs: tuple[LogAnswers, ...]

    def of(self, log: int) -> LogAnswers | None:
        """Return the answers of the main of ``log``."""
        return next((answers for answers in self.logs if answers.log == log), None)


class Canary(msgspec.Struct, frozen=True):
    """What a member writes and reads back to see whether its own folder works."""

    nonce: str


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """Gives a slot to a member, for ever; the addresses are those of its first arrival."""

    member: str
    slot: int
    advertise_url: str
    link_url: str


MOST_ANSWERS = 64
"""How many answers fit into a block for sure."""

T = TypeVar("T")
Content = TypeVar("Content", Probe, Answers, Canary, Presence)
_FILE_BYTES = SLOTS * BLOCK_BYTES


async def allocate(folder: Folder) -> None:
    """Make the files, zero-written and durable; those that are there stay as they are."""
    for box in Box:
        temporary = names.temporary("init", folder.nonce(), folder.nonce())
        await folder.allocate(temporary, _FILE_BYTES)
        await give_name(folder, temporary, f"{names.MAILBOXES}/{box}")
        await folder.remove(temporary)


class Mailboxes:
    """Reads all blocks, writes one's own. Belongs to one lane: of its calls, one runs at a time.

    A file that is kept open and fails is opened anew at once: its mount may have been replaced, and a probe or a canary
    that failed for that would cost a whole round of suspicion.
    """

    def __init__(self, folder: Folder) -> None:
        """Use the mailboxes in ``folder``; files are opened when they are first needed, and again after an error."""
        self._folder = folder
        self._files: dict[tuple[Box, Access], File] = {}

    async def write(self, box: Box, slot: int, content: Content) -> None:
        """Replace the block of ``slot``, durably."""
        block = blocks.encode(content)
        await self._use(box, "blocks", lambda file: file.write_block(slot * BLOCK_BYTES, block))

    async def read(self, box: Box, slots: int, kind: type[Content]) -> list[Content | None]:
        """Return the first ``slots`` blocks; None where a block says nothing."""
        length = slots * BLOCK_BYTES
        content = await self._use(box, "read", lambda file: file.read(0, length)) if slots else b""
        return [_decode(content[at : at + BLOCK_BYTES], kind) for at in range(0, length, BLOCK_BYTES)]

    async def _use(self, box: Box, access: Access, operation: Callable[[File], Awaitable[T]]) -> T:
        """Run ``operation`` on the file of ``box``; after an error on one that was kept, once more on a new one."""
        file = self._files.pop((box, access), None)
        if file is not None:
            with contextlib.suppress(Missing, FolderUnavailable):  # of a mount that was replaced, perhaps
                result = await operation(file)
                self._files[box, access] = file
                return result
        file = await reading.open_recorded(self._folder, f"{names.MAILBOXES}/{box}", access)
        result = await operation(file)
        self._files[box, access] = file
        return result

    async def try_canary(self, slot: int) -> bool:
        """Write, sync and read back one's canary; return whether the folder kept it."""
        canary = Canary(self._folder.nonce())
        await self.write(Box.CANARIES, slot, canary)
        return (await self.read(Box.CANARIES, slot + 1, Canary))[slot] == canary


def _decode(block: bytes, kind: type[Content]) -> Content | None:
    payload = unpack(block)
    if isinstance(payload, Blank):
        return None
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.DecodeError:
        return None  # written by a member of another version


class Registry:
    """Who owns which slot. Belongs to one lane: of its calls, one runs at a time.

    Registrations never change, so each is read once, but for one whose name the file server forgets before it was
    durable: nobody has been given that slot by then.
    """

    def __init__(self, folder: Folder) -> None:
        """Know nobody yet."""
        self._folder = folder
        self.registrations: list[Registration] = []

    async def update(self) -> list[Registration]:
        """Return all registrations that can be seen, in order of slots; slots are given without gaps."""
        while len(self.registrations) < SLOTS:
            registration = await self._read(len(self.registrations))
            if registration is None:
                break
            self.registrations.append(registration)
        return self.registrations

    async def _read(self, slot: int) -> Registration | None:
        try:
            file = await self._folder.open(names.member(slot), "read")
        except Missing:
            return None
        return _registration(await file.read(0, BLOCK_BYTES), slot)

    async def presence(self, mailboxes: Mailboxes) -> list[Presence | None]:
        """Return what the members show, in order of slots; None where a block is not its slot's owner's.

        A look-up that says "no such member" may be a minute old. So the block behind the last one is read as well: if
        somebody shows itself there, its registration is looked up past the caches.
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
        pairs = list(zip(self.registrations, presences, strict=False))
        for owner, block in pairs:
            if block is not None and block.member != owner.member:  # the registration that was read is gone
                del self.registrations[owner.slot :]
                await self._folder.refresh(names.MEMBERS)
                break
        return [block if block is not None and block.member == owner.member else None for owner, block in pairs]

    async def slot_of(self, member: str, incarnation: str, advertise_url: str, link_url: str) -> int:
        """Return the slot of ``member``, giving it a free one if it has none. FolderUnavailable when none is left.

        Also one that was found is made durable: it may have been given by somebody who died before that.
        """
        await self._folder.refresh(names.MEMBERS)
        while True:
            own = next((one for one in await self.update() if one.member == member), None)
            if own is not None:
                if await self._is_for_good(own):
                    return own.slot
                continue
            slot = len(self.registrations)
            if slot == SLOTS:
                raise FolderUnavailable(f"all {SLOTS} member slots are taken: give workers stable ids (WORKER_ID)")
            temporary = names.temporary(member, incarnation, self._folder.nonce())
            own = Registration(member, slot, advertise_url, link_url)
            block = await publish(self._folder, temporary, names.member(slot), blocks.encode(own))
            self.registrations.append(_registration(block, slot))
            if self.registrations[slot] == own:
                return slot

    async def _is_for_good(self, registration: Registration) -> bool:
        """Make a registration durable and look it up anew; if it is gone, forget it and those behind it."""
        slot = registration.slot
        with contextlib.suppress(Missing):
            if _registration(await settle(self._folder, names.member(slot)), slot) == registration:
                return True
        del self.registrations[slot:]
        return False


async def owner_of(folder: Folder, slot: int) -> str:
    """Return the member that a slot belongs to, which is known to be given. Raises FolderError."""
    file = await reading.open_recorded(folder, names.member(slot), "read")
    return _registration(await file.read(0, BLOCK_BYTES), slot).member


def _registration(block: bytes, slot: int) -> Registration:
    registration = blocks.decode(block, Registration, names.member(slot), 0)
    if isinstance(registration, Blank):
        raise FolderUnavailable(f"{names.member(slot)}: offset 0 is {registration.value}")
    if registration.slot != slot:
        raise Corruption(f"{names.member(slot)}: the block at offset 0 is the registration of slot {registration.slot}")
    return registration
