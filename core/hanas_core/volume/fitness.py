"""Whether a volume keeps what the protocol needs, tried out on files of one's own (docs/protocol.md, section 4.4).

Everything happens under temporary names, so that it is safe beside living members. What it takes is written down for
people, and decides nothing: a slow volume is slow, not unfit.
"""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from hanas_core.volume import names, reading
from hanas_core.volume.blocks import ZERO_BLOCK, Blank, pack, unpack
from hanas_core.volume.errors import FolderError, FolderUnavailable, Missing, NoSpace
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.publish import settle

_REPETITIONS = 3


class Unfit(Exception):
    """The volume does not keep what the protocol needs. The message names what failed."""


class Check(NamedTuple):
    """One promise of the volume that was tried. ``trouble``: what failed, None if it was kept."""

    what: str
    seconds: float
    trouble: str | None = None


class Examination:
    """Tries a volume through two views of it: what one writes, the other must see."""

    def __init__(self, mine: Folder, theirs: Folder, name: Callable[[str], str], clock: Callable[[], float]) -> None:
        """``name`` makes a nonce a name in a directory that is there; ``clock`` gives monotonic seconds."""
        self._mine, self._theirs = mine, theirs
        self._first, self._second, self._target = (name(mine.nonce()) for _ in range(3))
        self._clock = clock

    async def run(self) -> list[Check]:
        """Return the checks up to the first failure. Raises NoSpace: a full volume proves nothing."""
        checks: list[Check] = []
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("exclusive link()", self._link),
            ("a new name is seen", self._see_name),
            ("a name leads to the same file each time", self._see_identity),
            ("a block written in place is seen at once through an open file", self._see_blocks),
            ("synced data is seen at once through an open file", self._see_data),
            ("directories can be synced", self._sync_directory),
        ]
        try:
            for what, step in steps:
                began, trouble = self._clock(), None
                try:
                    await step()
                except NoSpace:
                    raise
                except (FolderError, Unfit) as error:
                    trouble = str(error)
                checks.append(Check(what, self._clock() - began, trouble))
                if trouble is not None:
                    break
        finally:
            await self._clear()
        return checks

    async def _link(self) -> None:
        await self._expect_missing()
        await self._mine.create(self._first, pack(b"first") + ZERO_BLOCK)
        await self._mine.create(self._second, pack(b"second") + ZERO_BLOCK)
        # What link() answers may be the answer to its repetition by the network's client: what it did counts.
        await self._mine.link(self._first, self._target)
        await self._mine.link(self._second, self._target)
        linked = await (await self._mine.open(self._target, "read")).read(0, BLOCK_BYTES)
        if linked != pack(b"first"):
            raise Unfit("of two files that were linked to one name, the first is not under it")

    async def _expect_missing(self) -> None:
        """Let the other view learn that the name is missing: a cache may remember it."""
        try:
            await self._theirs.open(self._target, "read")
        except Missing:
            return
        raise Unfit("a name that nobody made is there")

    async def _see_name(self) -> None:
        await self._expect_block(await reading.open_recorded(self._theirs, self._target, "read"), pack(b"first"))

    async def _see_identity(self) -> None:
        first = await self._mine.open(self._target, "read")
        second = await self._mine.open(self._target, "blocks")
        if first.identity != second.identity:
            raise Unfit("a file that was opened twice looks like two files")

    async def _see_blocks(self) -> None:
        reader = await reading.open_recorded(self._theirs, self._target, "read")
        writer = await self._mine.open(self._target, "blocks")
        for repetition in range(_REPETITIONS):
            block = pack(f"block {repetition}".encode())
            await writer.write_block(0, block)
            await self._expect_block(reader, block)

    async def _see_data(self) -> None:
        reader = await reading.open_recorded(self._theirs, self._target, "read")
        writer = await self._mine.open(self._target, "append")
        for repetition in range(_REPETITIONS):
            block = pack(f"data {repetition}".encode())
            await writer.write(0, block)
            await writer.sync()
            await self._expect_block(reader, block)

    async def _sync_directory(self) -> None:
        await self._mine.sync_directory(self._target.rpartition("/")[0])

    @staticmethod
    async def _expect_block(file: File, block: bytes) -> None:
        if await file.read(0, BLOCK_BYTES) != block:
            raise Unfit("a read that began after the write shows older content")

    async def _clear(self) -> None:
        for name in (self._target, self._second, self._first):
            with contextlib.suppress(FolderError):  # what is left is removed with this member's other temporary files
                await self._mine.remove(name)


def hidden(directory: str = "") -> Callable[[str], str]:
    """Return what makes nonces names that a folder which is not initialised may hold as well."""
    return lambda nonce: f"{directory}.check-{nonce}"


def temporary(member: str, incarnation: str) -> Callable[[str], str]:
    """Return what makes nonces names of temporary files of one incarnation."""
    return partial(names.temporary, member, incarnation)


def require(checks: list[Check]) -> None:
    """Raise Unfit if one of ``checks`` failed."""
    for check in checks:
        if check.trouble is not None:
            raise Unfit(f"{check.what}: {check.trouble}")


async def leave_word(folder: Folder, member: str, incarnation: str) -> tuple[str, str]:
    """Write a random word to a new file for others to read back; return the file's name and the word.

    The name is durable: a file server that crashed and forgot it would look like one that does not show it.
    """
    name, word = names.temporary(member, incarnation, folder.nonce()), folder.nonce()
    await folder.create(name, pack(word.encode()))
    await settle(folder, name)
    return name, word


async def find_word(folder: Folder, name: str) -> str:
    """Return the word that another member left. Raises FolderError."""
    directory, _, base = name.rpartition("/")
    if directory != names.TEMPORARY or names.owner_of_temporary(base) is None:
        raise FolderUnavailable(f"{name[:80]!r} is no temporary file")
    file = await reading.open_recorded(folder, name, "read")
    payload = unpack(await file.read(0, BLOCK_BYTES))
    if isinstance(payload, Blank):
        raise FolderUnavailable(f"{name}: what was synced there reads as {payload.value}")
    return payload.decode("ascii", "replace")
