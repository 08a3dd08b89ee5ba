"""Whether what is held open is still what its name leads to (docs/protocol.md, section 1.5).

A file that was removed, or replaced by another one, can be read and written for ever by whoever has it open; nobody
else will ever find what is written there.
"""

from typing import NamedTuple

from hanas_core.volume import reading
from hanas_core.volume.errors import Displaced, Missing
from hanas_core.volume.folder import Access, File, Folder


class Held(NamedTuple):
    """A file that is open."""

    name: str
    identity: object
    """`hanas_core.volume.folder.File.identity`."""
    access: Access = "read"
    """How others will have to open it."""


class Proof(NamedTuple):
    """Bytes that were written and synced: a copy that was restored into the same file has others there."""

    name: str
    offset: int
    content: bytes


async def confirm(folder: Folder, held: Held) -> File:
    """Return the file under the name of ``held``, opened anew. Raises Displaced unless it is the same; FolderError."""
    try:
        file = await reading.open_recorded(folder, held.name, held.access)
    except Missing:
        raise Displaced(f"{held.name} was removed") from None
    if file.identity != held.identity:
        raise Displaced(f"{held.name} was replaced by another file")
    return file


async def prove(file: File, proof: Proof) -> None:
    """Raise Displaced unless the file under the name of ``proof`` still has these bytes; FolderError: not known."""
    if await file.read(proof.offset, len(proof.content)) != proof.content:
        raise Displaced(f"{proof.name} was overwritten: what was committed at offset {proof.offset} is gone")
