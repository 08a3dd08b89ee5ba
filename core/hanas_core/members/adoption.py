"""A copied folder becomes a cluster of its own: a new id, and none of the members (docs/protocol.md, section 1.2).

For a folder that nobody uses. Every step may be repeated after a crash; the new id in ``cluster.json`` comes last.
"""

from hanas_core.log.claimfile import Seal
from hanas_core.log.claims import highest_claim
from hanas_core.log.seals import read_seal, write_seal
from hanas_core.members import cluster
from hanas_core.members.cluster import Cluster
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.volume import names
from hanas_core.volume.blocks import ZERO_BLOCK, Blank
from hanas_core.volume.folder import BLOCK_BYTES, Folder


async def life_signs(folder: Folder) -> list[tuple[str, str, int] | None]:
    """Return member, incarnation and counter of each slot: who changes between two calls uses this folder."""
    await cluster.identify(folder)
    shown: list[Presence | None] = await Registry(folder).presence(Mailboxes(folder))
    return [None if block is None else (block.member, block.incarnation, block.counter) for block in shown]


async def adopt(folder: Folder) -> Cluster:
    """Give a folder that nobody uses a new id, and forget its members; keys, log and history stay.

    A folder that was adopted and not used since is left as it is. Raises WrongFolder, FolderError.
    """
    identity = await cluster.identify(folder)
    registry = Registry(folder)
    registrations, holder = await registry.update(), await highest_claim(folder)
    unused = not registrations and (holder is None or holder.folder_id != identity.folder_id)
    if identity.former_ids and unused:
        return identity
    adopted = Cluster(folder.nonce(), identity.format, former_ids=(identity.folder_id, *identity.former_ids))
    content = cluster.encode(adopted)
    if holder is not None and await read_seal(folder, holder.epoch) is Blank.ZERO:
        # No main of this folder that only slept acknowledges anything from now on, and the next one follows at once.
        await write_seal(folder, holder.epoch, Seal(holder.epoch, holder.member, holder.incarnation, planned=True))
    boxes = [await folder.open(f"{names.MAILBOXES}/{box}", "blocks") for box in Box]
    for registration in registrations:
        for box in boxes:
            await box.write_block(registration.slot * BLOCK_BYTES, ZERO_BLOCK)
    for number in reversed(range(registry.count)):  # from the last one on, so that numbers stay without gaps
        await folder.remove(names.member(number))
        await folder.sync_directory(names.MEMBERS)
    for base in await folder.names(names.TEMPORARY):
        await folder.remove(f"{names.TEMPORARY}/{base}")
    await (await folder.open(names.CLUSTER, "blocks")).write_block(0, content)
    return await cluster.identify(folder, adopted.folder_id)
