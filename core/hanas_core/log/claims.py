"""Claims by compare-and-set on the epoch's number, and the pointer to its manifest (docs/protocol.md, section 2)."""

from hanas_core.log import claimfile
from hanas_core.log.claimfile import POINTER_OFFSET, Claim, Pointer, decode_claim
from hanas_core.volume import identity, names, reading
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Missing, Sealed
from hanas_core.volume.folder import BLOCK_BYTES, Folder
from hanas_core.volume.publish import publish, settle


async def claim_epoch(folder: Folder, claim: Claim) -> Claim:
    """Try to claim ``claim.epoch`` and return the claim that holds it: won if and only if the nonce is one's own.

    Raises FolderError when the outcome is not known; the claim may then be found later.
    """
    temporary = names.temporary(claim.member, claim.incarnation, folder.nonce())
    content = claimfile.encode_claim(claim)
    return _own(folder, await publish(folder, temporary, names.claim(claim.epoch), content), claim.epoch)


async def confirm(folder: Folder, claim: Claim) -> None:
    """Make the name of one's own claim durable and read it back, for it may have been adopted before its claimer did.

    Raises Sealed when the file server forgot the claim and another one has the epoch; FolderError: not known.
    """
    if (await _settle(folder, claim.epoch)).nonce != claim.nonce:
        raise Sealed


async def read_claim(folder: Folder, epoch: int, *, certain: bool = False) -> Claim:
    """Return the claim of ``epoch``.

    Raises Missing when the look-up fails; with ``certain`` (the name is known to exist) a failed look-up is asked
    again past the caches first. Raises Corruption when block 0 is not a claim of this epoch.
    """
    name = names.claim(epoch)
    file = await (reading.open_recorded(folder, name, "read") if certain else folder.open(name, "read"))
    return _own(folder, await file.read(0, BLOCK_BYTES), epoch)


async def highest_claim(folder: Folder, at_least: int = 0) -> Claim | None:
    """Return the highest claim that can be seen, starting from an epoch known to exist; None if there is none.

    Epochs are dense, so the search doubles its step and halves it again. Its end is a failed look-up and so only a
    hint: the decision who comes next is `claim_epoch`'s. A claim beyond ``at_least`` is made durable before it
    is returned: whoever remembers a claim that the file server forgets would look for it for ever. Raises FolderError.
    """
    await folder.refresh(names.CLAIMS)
    low, step = at_least, 1
    highest = await read_claim(folder, low, certain=True) if low else None
    while True:
        try:
            highest = await read_claim(folder, low + step)
        except Missing:
            if step == 1:
                break
            step //= 2
        else:
            low += step
            step *= 2
    while highest is not None and highest.epoch > at_least:
        durable = await _settle(folder, highest.epoch)
        if durable.nonce == highest.nonce:
            break
        highest = durable  # the file server forgot the one, and the name of the other may have come after the sync
    return highest


async def _settle(folder: Folder, epoch: int) -> Claim:
    """Make the name of a claim durable and return the claim that is under it then."""
    return _own(folder, await settle(folder, names.claim(epoch)), epoch)


def _own(folder: Folder, content: bytes, epoch: int) -> Claim:
    """Return the claim in the file of ``epoch``. Raises Corruption when it is none, or one of another folder."""
    claim = decode_claim(content, epoch)
    identity.check(folder, claim.folder_id, names.claim(epoch))
    return claim


async def read_pointer(folder: Folder, epoch: int) -> Pointer | Blank:
    """Return block 1 of a claim that exists: the pointer, zero, or rotten. One valid copy of the two is enough."""
    file = await reading.open_recorded(folder, names.claim(epoch), "read")
    return claimfile.decode_pointer(await file.read(POINTER_OFFSET, BLOCK_BYTES), epoch)


async def write_pointer(folder: Folder, epoch: int, pointer: Pointer) -> None:
    """Write block 1 of one's own claim, once."""
    file = await reading.open_recorded(folder, names.claim(epoch), "blocks")
    await file.write_block(POINTER_OFFSET, claimfile.encode_pointer(pointer))
