"""Seals: how an epoch ends, and how its main finds out (docs/protocol.md, section 2).

Block 2 of a claim file is the seal. All 4096 bytes zero: unsealed. Anything else, and anything that could not be
read, is sealed or not known, and nothing may be acknowledged.
"""

from hanas_core.log.claimfile import SEAL_OFFSET, Claim, Seal
from hanas_core.log.claims import read_pointer
from hanas_core.volume import blocks, names, reading
from hanas_core.volume.blocks import ZERO_BLOCK, Blank
from hanas_core.volume.errors import Sealed
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.held import Held


async def write_seal(folder: Folder, epoch: int, seal: Seal) -> None:
    """Write one's own seal into ``epoch``, durable when this returns."""
    file = await reading.open_recorded(folder, names.claim(epoch), "blocks")
    await file.write_block(SEAL_OFFSET, blocks.encode(seal))


async def seal_below(folder: Folder, claim: Claim) -> list[int]:
    """Seal the epochs below ``claim.epoch`` down to the newest one with a manifest pointer; return them in this order.

    Also where a seal can be seen already: that one may not be durable. A rotten pointer does not end the search:
    sealing one more is harmless, and who determines the predecessor stops there with an error.
    """
    seal = Seal(claim.epoch, claim.member, claim.incarnation)
    sealed: list[int] = []
    for epoch in range(claim.epoch - 1, 0, -1):
        pointer = await read_pointer(folder, epoch)
        await write_seal(folder, epoch, seal)
        sealed.append(epoch)
        if not isinstance(pointer, Blank):
            break
    return sealed


async def read_seal(folder: Folder, epoch: int) -> Seal | Blank:
    """Return what block 2 of ``epoch`` says, for reports and for planned hand-overs."""
    name = names.claim(epoch)
    block = await (await reading.open_recorded(folder, name, "read")).read(SEAL_OFFSET, BLOCK_BYTES)
    return blocks.decode(block, Seal, name, SEAL_OFFSET)


class SealWatch:
    """The main's question "is my epoch sealed?", asked of a descriptor that is kept open."""

    def __init__(self, file: File, epoch: int) -> None:
        """Use the open claim file of ``epoch``."""
        self._file = file
        self.held = Held(names.claim(epoch), file.identity, "blocks")

    @classmethod
    async def on(cls, folder: Folder, epoch: int) -> "SealWatch":
        """Open the claim of ``epoch``."""
        return cls(await reading.open_recorded(folder, names.claim(epoch), "read"), epoch)

    async def check(self) -> None:
        """Return if the epoch was unsealed at some moment during this call. Raises Sealed, or FolderError: not known.

        Each answer serves only what was waiting when the call began; it is never kept.
        """
        if await self._file.read(SEAL_OFFSET, BLOCK_BYTES) != ZERO_BLOCK:
            raise Sealed
