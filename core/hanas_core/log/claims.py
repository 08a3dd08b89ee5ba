"""Claims by compare-and-set on the epoch's number, and the blocks of a claim file (docs/protocol.md, section 2).

A claim file is three blocks, all zero but the first when its name appears:

    block 0  the claim            written before the name exists, never changed
    block 1  the manifest pointer written once by the owner
    block 2  the seal             whoever ends the epoch; see hanas_core.log.seals
"""

import msgspec

from hanas_core.volume import names, reading
from hanas_core.volume.blocks import PAYLOAD_BYTES, ZERO_BLOCK, Blank, pack, unpack
from hanas_core.volume.errors import Corruption, Missing, Sealed
from hanas_core.volume.folder import BLOCK_BYTES, Folder
from hanas_core.volume.publish import publish, settle

POINTER_OFFSET = BLOCK_BYTES
SEAL_OFFSET = 2 * BLOCK_BYTES
POINTER_COPY_BYTES = 512
"""Each copy of the pointer lies within one sector; the second one starts in the middle of the block."""
_SECOND_COPY = BLOCK_BYTES // 2


class Claim(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Who wants to be the main of an epoch, and why."""

    epoch: int
    member: str
    incarnation: str
    nonce: str
    advertise_url: str
    link_url: str
    folder_id: str
    follows: int
    """The epoch whose main is replaced; 0 for the first."""
    previous_main: str | None = None
    why: str = "first"
    """``first``, ``failure`` or ``hand-over``."""
    verdict: str | None = None
    evidence: msgspec.Raw = msgspec.Raw(b"null")
    """What the detector saw, as JSON (hanas_core.members.detector.Evidence)."""
    claimed_at: str = ""
    """Wall clock of the claimer, ISO 8601: for people, never for a decision."""


class Pointer(msgspec.Struct, frozen=True, rename="camel"):
    """Names the manifest of an epoch."""

    manifest: str
    size: int
    """Size of the manifest file, bytes."""
    checksum: int
    """xxh3-64 of the whole file."""


def fits(claim: Claim) -> bool:
    """Tell whether the claim with its evidence fits into its block."""
    return len(msgspec.json.encode(claim)) <= PAYLOAD_BYTES


async def claim_epoch(folder: Folder, claim: Claim) -> Claim:
    """Try to claim ``claim.epoch`` and return the claim that holds it: won if and only if the nonce is one's own.

    Raises FolderError when the outcome is not known; the claim may then be found later.
    """
    temporary = names.temporary(claim.member, claim.incarnation, folder.nonce())
    content = pack(msgspec.json.encode(claim)) + 2 * ZERO_BLOCK
    return _decode(await publish(folder, temporary, names.claim(claim.epoch), content), claim.epoch)


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
    return _decode(await file.read(0, BLOCK_BYTES), epoch)


def _decode(content: bytes, epoch: int) -> Claim:
    """Return the claim at the beginning of the claim file of ``epoch``."""
    name = names.claim(epoch)
    payload = unpack(content[:BLOCK_BYTES])
    if isinstance(payload, Blank):
        raise Corruption(f"{name}: block 0 at offset 0 is {payload.value}, a claim was expected")
    claim = msgspec.json.decode(payload, type=Claim)
    if claim.epoch != epoch:
        raise Corruption(f"{name}: block 0 at offset 0 claims epoch {claim.epoch}")
    return claim


async def highest_claim(folder: Folder, at_least: int = 0) -> Claim | None:
    """Return the highest claim that can be seen, starting from an epoch known to exist; None if there is none.

    Epochs are dense, so the search doubles its step and halves it again. Its end is a failed look-up and so only a
    hint: the decision who comes next is `claim_epoch`'s. What is found beyond ``at_least`` is made durable before it
    is returned: whoever remembers a claim that the file server forgets would ask for it for ever. Raises FolderError.
    """
    await folder.refresh(names.CLAIMS)
    low, found = at_least, None
    if low:
        found = await read_claim(folder, low, certain=True)
    step = 1
    while True:
        try:
            found = await read_claim(folder, low + step)
        except Missing:
            if step == 1:
                break
            step //= 2
        else:
            low += step
            step *= 2
    while found is not None and found.epoch > at_least:
        kept = await _settle(folder, found.epoch)
        if kept.nonce == found.nonce:
            break
        found = kept  # the file server forgot the one, and the name of the other may have come after the sync
    return found


async def _settle(folder: Folder, epoch: int) -> Claim:
    """Make the name of a claim durable and return the claim that is under it then."""
    return _decode(await settle(folder, names.claim(epoch)), epoch)


async def read_pointer(folder: Folder, epoch: int) -> Pointer | Blank:
    """Return block 1 of a claim that exists: the pointer, zero, or rotten. One valid copy of the two is enough."""
    file = await reading.open_recorded(folder, names.claim(epoch), "read")
    block = await file.read(POINTER_OFFSET, BLOCK_BYTES)
    if not any(block):
        return Blank.ZERO
    for start in (0, _SECOND_COPY):
        payload = unpack(block[start : start + POINTER_COPY_BYTES])
        if not isinstance(payload, Blank):
            return msgspec.json.decode(payload, type=Pointer)
    return Blank.ROTTEN


async def write_pointer(folder: Folder, epoch: int, pointer: Pointer) -> None:
    """Write block 1 of one's own claim, once."""
    copy = pack(msgspec.json.encode(pointer), POINTER_COPY_BYTES).ljust(_SECOND_COPY, b"\0")
    file = await reading.open_recorded(folder, names.claim(epoch), "blocks")
    await file.write_block(POINTER_OFFSET, copy + copy)
