"""The small set of operations on the communication folder that the protocol is written against.

Names are relative, with ``/`` between a directory and a file. Offsets and lengths are bytes. Every operation is a
point where another process may run, hang or die; each raises `hanas_core.volume.errors.FolderError` when its effect is
not known. Production: `hanas_core.volume.posix.PosixFolder`.
"""

from typing import Literal, NamedTuple, Protocol

from hanas_core.volume.encryption import Keys

BLOCK_BYTES = 4096
"""Unit of everything that is written in place: claim blocks, mailbox blocks, segment headers."""

Access = Literal["read", "append", "blocks"]
"""``read``: what others write, past every cache. ``append``: buffered writes and no reads, durable after `File.sync`.
``blocks``: whole blocks, each durable when its write returns."""


class Room(NamedTuple):
    """What is free on a volume, about; never a promise."""

    bytes: int
    files: int
    """How many more files it takes (inodes); very many where the volume counts none."""


NOTHING = Room(0, 0)


class File(Protocol):
    """An open file of fixed size."""

    @property
    def identity(self) -> object:
        """What no other file has while this one is open, and this one has each time that it is opened."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes as the file server has them; fewer bytes are an error, never an end.

        Not with access ``append``.
        """

    async def write(self, offset: int, content: bytes) -> None:
        """Write all of ``content``, durable after `sync`. Needs access ``append``. Only a temporary file may grow."""

    async def write_block(self, offset: int, block: bytes) -> None:
        """Write one block of 4096 bytes, durable when this returns. Needs access ``blocks``."""

    async def sync(self) -> None:
        """Make every write that returned before this call durable (fdatasync)."""

    async def close(self) -> None:
        """Close the file, for those who must know about its errors; one that is merely dropped is closed as well.

        What is dropped may be dropped on any thread, and keeps none waiting.
        """


class Folder(Protocol):
    """The communication folder: what all members share."""

    ids: frozenset[str]
    """The id that its files carry, and those it had before; empty until `hanas_core.members.cluster.identify`."""
    format: int
    """That of the folder, as it was seen last; 2 until then."""
    keys: Keys
    """What is in the folder may be encrypted with these. Replaced as a whole, at any moment."""

    async def open(self, name: str, access: Access) -> File:
        """Open an existing file afresh. Raises `Missing` when the look-up fails, which may be a stale cache."""

    async def create(self, name: str, content: bytes) -> None:
        """Create a file that must not exist, with this content, durable when this returns (not yet its name)."""

    async def allocate(self, name: str, size: int) -> None:
        """Create a file of ``size`` zero bytes that are really written and durable when this returns."""

    async def room(self) -> Room:
        """Return what is free on the volume, for what is not worth a try."""

    async def link(self, source: str, target: str) -> bool:
        """Give ``source`` a second name if that name is free: the folder's compare-and-set. False if it is taken.

        The answer may be wrong when a reply was lost: read the target back before relying on it.
        """

    async def remove(self, name: str) -> None:
        """Remove a name; one that is not there is no error."""

    async def sync_directory(self, directory: str) -> None:
        """Make the names in ``directory`` durable."""

    async def refresh(self, directory: str) -> None:
        """Change ``directory`` (a file made and removed) so that look-ups in it go past the caches."""

    async def make_directory(self, directory: str) -> None:
        """Make a directory; one that is there is no error."""

    def nonce(self) -> str:
        """Return 16 random bytes in hexadecimal, for new names and for what must differ from all others."""

    async def names(self, directory: str) -> list[str]:
        """Return the names in ``directory`` (``""``: the folder itself). For clean-up and reports, never a decision."""
