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
from hanas_core.volume.blocks import UNREADABLE, Blank, unpack
from hanas_core.volume.errors import FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES, Access, File, Folder
from hanas_core.volume.publish import give_name

SLOTS = 256
"""How many member ids a folder knows at a time."""


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


MOST_ANSWERS = 64
"""How many answers fit into a block for sure."""

T = TypeVar("T")
Content = TypeVar("Content", Probe, Answers, Canary, Presence)
FILE_BYTES = SLOTS * BLOCK_BYTES


async def allocate(folder: Folder) -> None:
    """Make the files, zero-written and durable; those that are there stay as they are."""
    for box in Box:
        temporary = names.temporary("init", folder.nonce(), folder.nonce())
        await folder.allocate(temporary, FILE_BYTES)
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
    except UNREADABLE:
        return None  # written by a member of another version
