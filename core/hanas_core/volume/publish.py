"""Giving a file its name, always in one order (docs/protocol.md, section 1.4).

    create under a temporary name -> link -> sync the directory -> look the name up anew, read -> remove the temporary

- The file is whole and durable before its name exists: nobody ever sees a part of it.
- ``link`` never replaces anything, and its answer is not used: a reply that was lost and retransmitted says "taken" of
  one's own file.
- The name is read back after the sync: a file server that crashed in between has forgotten it. Between the two the
  look-up is asked anew, for a cache of names may still have what the server forgot.
- The temporary name goes last: what failed on the way can be seen, and is removed by its member's next start.

Whoever needs to know whether the name is one's own compares what these functions return with what was written.
"""

from hanas_core.volume import reading
from hanas_core.volume.folder import BLOCK_BYTES, Folder


async def publish(folder: Folder, temporary: str, name: str, content: bytes) -> bytes:
    """Make a file of ``content`` under ``name``, unless that is taken; return what stands there, durably.

    Raises FolderError when that is not known; the file may then be found under its name later.
    """
    await folder.create(temporary, content)
    present = await give_name(folder, temporary, name, len(content))
    await folder.remove(temporary)
    return present


async def give_name(folder: Folder, temporary: str, name: str, length: int = BLOCK_BYTES) -> bytes:
    """Give a file that is whole and durable its name beside the temporary one; return what `settle` does."""
    await folder.link(temporary, name)
    return await settle(folder, name, length)


async def settle(folder: Folder, name: str, length: int = BLOCK_BYTES) -> bytes:
    """Make a visible name durable; return the first ``length`` bytes under it. Raises Missing if it is gone since."""
    directory = name.rpartition("/")[0]
    await folder.sync_directory(directory)
    await folder.refresh(directory)
    return await (await reading.open_recorded(folder, name, "read")).read(0, length)
