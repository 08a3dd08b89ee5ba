"""The simulated file server: what every client sees, and what remains of it after a crash.

A file is a set of pages of 4096 bytes, each with its visible and its durable content. A directory is a set of names,
likewise. A crash of the server discards what is not durable: all of it, or some pages and names and not others, or
parts of a page.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hanas_core.volume.encryption import NO_KEYS
from hanas_core.volume.folder import BLOCK_BYTES

SECTOR_BYTES = 512
ZERO = bytes(BLOCK_BYTES)
Pages = dict[int, bytes]


@dataclass(eq=False, slots=True)
class Inode:
    """A file. Pages that are not in a set are zero."""

    number: int
    size: int
    seen: Pages = field(default_factory=dict)
    durable: Pages = field(default_factory=dict)
    gone: bool = False
    """The file has no name any more: a handle to it is stale."""

    def page(self, page: int) -> bytes:
        return self.seen.get(page, ZERO)

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)
        content = b"".join(self.seen.get(page, ZERO) for page in range(first, last))
        start = offset - first * BLOCK_BYTES
        return content[start : min(start + length, self.size - first * BLOCK_BYTES)]

    def durable_read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)
        content = b"".join(self.durable.get(page, ZERO) for page in range(first, last))
        start = offset - first * BLOCK_BYTES
        return content[start : start + length]

    def crash(self, chance: random.Random) -> None:
        everything = chance.random() < 0.5
        for page in sorted(self.seen.keys() | self.durable.keys()):
            seen, durable = self.seen.get(page, ZERO), self.durable.get(page, ZERO)
            if seen == durable:
                continue
            fate = chance.random()
            if everything or fate < 0.4:
                kept = durable
            elif fate < 0.8:
                kept = seen
            else:
                kept = b"".join(
                    (seen if chance.random() < 0.5 else durable)[at : at + SECTOR_BYTES]
                    for at in range(0, BLOCK_BYTES, SECTOR_BYTES)
                )
            self.seen[page] = self.durable[page] = kept


@dataclass(eq=False, slots=True)
class Directory:
    """Names and their files."""

    seen: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)

    def crash(self, chance: random.Random) -> None:
        everything = chance.random() < 0.5
        for name in sorted(self.seen.keys() | self.durable.keys()):
            seen, durable = self.seen.get(name), self.durable.get(name)
            if seen is durable:
                continue
            kept = durable if everything or chance.random() < 0.5 else seen
            for side in (self.seen, self.durable):
                if kept is None:
                    side.pop(name, None)
                else:
                    side[name] = kept


class Disk:
    """The volume as the server holds it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._inodes = 0
        self.directories: dict[str, Directory] = {"": Directory()}
        self.epoch = 0
        """Number of crashes of the server: after each, a client must send again what it had not committed."""
        self.keys = NO_KEYS
        """Of whoever reads it, and has no keys of its own."""
        self.full = False
        self.down_until = 0.0
        self.block_written: Callable[[str, Inode, int], None] = lambda name, inode, page: None
        """Called for each block that became durable: the file's name, the file, the number of the page."""
        self.block_seen = self.block_written
        """Called for each block that others can see from now on, durable or not."""
        self.removed: Callable[[str], None] = lambda name: None
        """Called for each name, before its removal."""
        self.linked: Callable[[str, Inode], None] = lambda name, inode: None
        """Called for each name that `link` created."""

    def new_inode(self, size: int, pages: Pages) -> Inode:
        self._inodes += 1
        return Inode(self._inodes, size, dict(pages), dict(pages))

    def find(self, name: str) -> Inode | None:
        directory, _, base = name.rpartition("/")
        found = self.directories.get(directory)
        return None if found is None else found.seen.get(base)

    def crash(self) -> None:
        """Restart the server without what was not durable."""
        self.epoch += 1
        inodes = {inode for directory in self.directories.values() for inode in directory.seen.values()}
        inodes |= {inode for directory in self.directories.values() for inode in directory.durable.values()}
        for directory in self.directories.values():
            directory.crash(self._chance)
        linked = {inode for directory in self.directories.values() for inode in directory.seen.values()}
        for inode in sorted(inodes, key=lambda inode: inode.number):
            inode.gone = inode not in linked
            inode.crash(self._chance)

    def forget_name(self, directory: Directory, base: str) -> None:
        inode = directory.seen.pop(base)
        if not any(inode in other.seen.values() for other in self.directories.values()):
            inode.gone = True


def pages_of(content: bytes) -> Pages:
    """Cut content into pages, without those that are zero."""
    cut = {at // BLOCK_BYTES: content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES)}
    return {page: part.ljust(BLOCK_BYTES, b"\0") for page, part in cut.items() if any(part)}


def parent(name: str) -> tuple[str, str]:
    """Return the directory of a name, and the rest."""
    directory, _, base = name.rpartition("/")
    return directory, base
