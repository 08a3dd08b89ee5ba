"""The mailboxes: what members tell each other through the folder (docs/protocol.md, section 4).

Four files of fixed size, made at initialisation, with one block of 4 KiB per slot. Each block is written by the
member that the slot belongs to and read by all, all slots of a file with one read. A block that is zero or rotten
(being written just now) says nothing; one looks again.
"""

import contextlib
from enum import StrEnum
from typing import TypeVar

import msgspec

from hanas_core.members.documents import LOG, Presence
from hanas_core.volume import names, reading
from hanas_core.volume.blocks import Blank, pack, unpack
from hanas_core.volume.errors import FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder

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


class Answer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The main's answer to the probe with ``nonce``, written after a commit that began after the probe was seen."""

    nonce: str
    full: bool = False
    """The main lives, but the volume has no room for more."""


class LogAnswers(msgspec.Struct, frozen=True, rename="camel"):
    """All answers of the main of ``epoch`` of a log, by slot of the asking member."""

    epoch: int
    answers: dict[int, Answer]
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

Content = TypeVar("Content", Probe, Answers, Canary, Presence)
_FILE_BYTES = SLOTS * BLOCK_BYTES


async def allocate(folder: Folder) -> None:
    """Make the files, zero-written and durable; those that are there stay as they are."""
    for box in Box:
        temporary = names.temporary("init", names.nonce())
        await folder.allocate(temporary, _FILE_BYTES)
        await folder.link(temporary, f"{names.MAILBOXES}/{box}")
        await folder.remove(temporary)
    await folder.sync_directory(names.MAILBOXES)


class Mailboxes:
    """Reads all blocks, writes one's own.

    A file that is held open and fails is opened anew at once: its mount may have been replaced, and a probe or a canary
    that failed for that would cost a whole round of suspicion.
    """

    def __init__(self, folder: Folder) -> None:
        """Use the mailboxes in ``folder``; files are opened when they are first needed, and again after an error."""
        self._folder = folder
        self._readers: dict[Box, File] = {}
        self._writers: dict[Box, File] = {}

    async def write(self, box: Box, slot: int, content: Content) -> None:
        """Replace the block of ``slot``, durably."""
        block = pack(msgspec.json.encode(content))
        held = self._writers.pop(box, None)
        if held is not None:
            with contextlib.suppress(Missing, FolderUnavailable):  # of a mount that was replaced, perhaps
                await held.write_block(slot * BLOCK_BYTES, block)
                self._writers[box] = held
                return
        file = await reading.open_recorded(self._folder, f"{names.MAILBOXES}/{box}", "blocks")
        await file.write_block(slot * BLOCK_BYTES, block)
        self._writers[box] = file

    async def read(self, box: Box, slots: int, kind: type[Content]) -> list[Content | None]:
        """Return the first ``slots`` blocks; None where a block says nothing."""
        content = await self._content(box, slots * BLOCK_BYTES) if slots else b""
        return [_decode(content[at : at + BLOCK_BYTES], kind) for at in range(0, len(content), BLOCK_BYTES)]

    async def _content(self, box: Box, length: int) -> bytes:
        held = self._readers.pop(box, None)
        if held is not None:
            with contextlib.suppress(Missing, FolderUnavailable):
                content = await held.read(0, length)
                self._readers[box] = held
                return content
        file = await reading.open_recorded(self._folder, f"{names.MAILBOXES}/{box}", "read")
        content = await file.read(0, length)
        self._readers[box] = file
        return content

    async def try_canary(self, slot: int) -> bool:
        """Write, sync and read back one's canary; tell whether the folder kept it."""
        canary = Canary(names.nonce())
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
    """Who owns which slot. Registrations never change, so each is read once.

    But for one whose name the file server forgets before it was durable: nobody has been given that slot by then.
    """

    def __init__(self, folder: Folder) -> None:
        """Know nobody yet."""
        self._folder = folder
        self.known: list[Registration] = []

    async def update(self) -> list[Registration]:
        """Return all registrations that can be seen, in order of slots; slots are given without gaps."""
        while len(self.known) < SLOTS:
            registration = await self._read(len(self.known))
            if registration is None:
                break
            self.known.append(registration)
        return self.known

    async def _read(self, slot: int) -> Registration | None:
        try:
            file = await self._folder.open(names.member(slot), "read")
        except Missing:
            return None
        payload = unpack(await file.read(0, BLOCK_BYTES))
        if isinstance(payload, Blank):
            raise FolderUnavailable(f"{names.member(slot)}: offset 0 is {payload.value}")
        return msgspec.json.decode(payload, type=Registration)

    async def presence(self, mailboxes: Mailboxes) -> list[Presence | None]:
        """Return what the known members show, in order of slots; None where a block is no word of its slot's owner.

        A look-up that says "no such member" may be a minute old. So the block behind the last one is read as well: if
        somebody shows itself there, its registration is asked for past the caches.
        """
        await self.update()
        shown = await mailboxes.read(Box.PRESENCE, min(len(self.known) + 1, SLOTS), Presence)
        while len(shown) > len(self.known) and shown[len(self.known)] is not None:
            before = len(self.known)
            await self._folder.refresh(names.MEMBERS)
            await self.update()
            if len(self.known) == before:
                break
            shown = await mailboxes.read(Box.PRESENCE, min(len(self.known) + 1, SLOTS), Presence)
        pairs = list(zip(self.known, shown, strict=False))
        for owner, block in pairs:
            if block is not None and block.member != owner.member:  # the registration that was read is gone
                del self.known[owner.slot :]
                await self._folder.refresh(names.MEMBERS)
                break
        return [block if block is not None and block.member == owner.member else None for owner, block in pairs]

    async def slot_of(self, member: str, incarnation: str, advertise_url: str, link_url: str) -> int:
        """Return the slot of ``member``, giving it a free one if it has none. FolderUnavailable when none is left.

        Also one that was found is made durable: it may have been given by somebody who died before that.
        """
        await self._folder.refresh(names.MEMBERS)
        while True:
            found = next((known for known in await self.update() if known.member == member), None)
            if found is not None and await self._is_for_good(found):
                return found.slot
            if found is not None:
                continue
            slot = len(self.known)
            if slot == SLOTS:
                raise FolderUnavailable(f"all {SLOTS} member slots are taken: give workers stable ids (WORKER_ID)")
            temporary = names.temporary(member, incarnation)
            wanted = Registration(member, slot, advertise_url, link_url)
            await self._folder.create(temporary, pack(msgspec.json.encode(wanted)))
            await self._folder.link(temporary, names.member(slot))
            await self._folder.remove(temporary)
            await self._folder.refresh(names.MEMBERS)

    async def _is_for_good(self, found: Registration) -> bool:
        """Make a registration durable and look it up anew; if it is gone, forget it and those behind it."""
        await self._folder.sync_directory(names.MEMBERS)
        await self._folder.refresh(names.MEMBERS)
        kept = await self._read(found.slot) == found
        if not kept:
            del self.known[found.slot :]
        return kept
