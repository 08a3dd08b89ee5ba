"""The claim file of an epoch, byte by byte (docs/protocol.md, section 6.4).

It is three blocks, all zero but the first when its name appears:

    block 0  the claim            written before the name exists, never changed
    block 1  the manifest pointer written once by the owner, in two copies
    block 2  the seal             whoever ends the epoch; all zero: unsealed
"""

import contextlib
from enum import StrEnum
from typing import Annotated

import msgspec

from hanas_core.volume import blocks, names
from hanas_core.volume.blocks import PAYLOAD_BYTES, ZERO_BLOCK, Blank
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import BLOCK_BYTES

POINTER_OFFSET = BLOCK_BYTES
SEAL_OFFSET = 2 * BLOCK_BYTES
FILE_BYTES = 3 * BLOCK_BYTES
POINTER_COPY_BYTES = 512
"""Each copy of the pointer lies within one sector; the second one starts in the middle of the block."""
_HALF_BYTES = BLOCK_BYTES // 2
_MOST_MANIFEST_BYTES = 1 << 30


class Why(StrEnum):
    """Why an epoch was claimed."""

    FIRST = "first"
    FAILURE = "failure"
    HAND_OVER = "hand-over"
    COMPACTION = "compaction"


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
    why: str = Why.FIRST
    """One of `Why`, or the word of a later version: nothing is decided by it."""
    verdict: str | None = None
    evidence: msgspec.Raw = msgspec.Raw(b"null")
    """What the detector saw, as JSON (hanas_core.members.detector.Evidence)."""
    claimed_at: str = ""
    """Wall clock of the claimer, ISO 8601: for people, never for a decision."""


class Pointer(msgspec.Struct, frozen=True, rename="camel"):
    """Names the manifest of an epoch."""

    manifest: Annotated[str, msgspec.Meta(pattern=names.MANIFEST_PATTERN)]
    size: Annotated[int, msgspec.Meta(ge=BLOCK_BYTES, le=_MOST_MANIFEST_BYTES)]
    """Size of the manifest file, bytes."""
    checksum: int
    """xxh3-64 of the whole file."""


class Seal(msgspec.Struct, frozen=True, rename="camel"):
    """Who ended an epoch. Its content serves people and planned hand-overs; what counts is that it is not zero."""

    by_epoch: int
    member: str
    incarnation: str
    planned: bool = False
    """The main sealed its own epoch after it had served, and waits for a successor."""
    successor: str = ""
    """The incarnation that it waits for; empty: any."""

    def invites(self, incarnation: str) -> bool:
        """Return whether this incarnation may follow at once."""
        return self.planned and self.successor in {"", incarnation}


def fits(claim: Claim) -> bool:
    """Return whether the claim with its evidence fits into its block."""
    return len(msgspec.json.encode(claim)) <= PAYLOAD_BYTES


def encode_claim(claim: Claim) -> bytes:
    """Return a whole new claim file."""
    return blocks.encode(claim) + 2 * ZERO_BLOCK


def decode_claim(content: bytes, epoch: int) -> Claim:
    """Return the claim in block 0 of the file of ``epoch``. Raises Corruption when it is none of this epoch."""
    name = names.claim(epoch)
    claim = blocks.decode(content[:BLOCK_BYTES], Claim, name, 0)
    if isinstance(claim, Blank):
        raise Corruption(f"{name}: block 0 at offset 0 is {claim.value}, a claim was expected")
    if claim.epoch != epoch:
        raise Corruption(f"{name}: block 0 at offset 0 claims epoch {claim.epoch}")
    return claim


def encode_pointer(pointer: Pointer) -> bytes:
    """Return block 1."""
    return 2 * blocks.encode(pointer, POINTER_COPY_BYTES).ljust(_HALF_BYTES, b"\0")


def decode_pointer(block: bytes, epoch: int) -> Pointer | Blank:
    """Return what block 1 of ``epoch`` holds: the pointer, zero, or rotten. One valid copy of the two is enough."""
    if not any(block):
        return Blank.ZERO
    for offset, half in pointer_halves(block):
        with contextlib.suppress(Corruption):
            pointer = blocks.decode(half[:POINTER_COPY_BYTES], Pointer, names.claim(epoch), offset)
            if not isinstance(pointer, Blank):
                return pointer
    return Blank.ROTTEN


def pointer_halves(block: bytes) -> list[tuple[int, bytes]]:
    """Return the two halves of block 1, each a copy and zeros, with their offsets in the file."""
    return [(POINTER_OFFSET + at, block[at : at + _HALF_BYTES]) for at in (0, _HALF_BYTES)]
