"""Whether the folder is still the one that a member works in, file by file (docs/protocol.md, section 1.5).

Nobody removes, replaces or overwrites what a member relies on, so that its commit rule needs no look at any name. But
people move directories, mount other volumes and restore copies under running processes. What is checked here ends the
epoch of a main that would go on acknowledging into a file that nobody will ever find.
"""

from enum import Enum, auto
from typing import NamedTuple, assert_never

from hanas_core.epochs.arbitration import unserved
from hanas_core.log.batches import HEADER_BYTES
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import highest_claim, read_claim
from hanas_core.log.manifests import Cut
from hanas_core.log.positions import Position
from hanas_core.members import cluster
from hanas_core.members.mailboxes import FILE_BYTES, Box
from hanas_core.members.registry import registered
from hanas_core.volume import held, names, reading
from hanas_core.volume.errors import Displaced, FolderUnavailable, Missing, NotInitialised, WrongFolder
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.held import Held, Proof


class _Other(Enum):
    """What is looked at in turn with the mailboxes."""

    REGISTRATION = auto()
    SEGMENT = auto()


_TURNS: tuple[Box | _Other, ...] = (*Box, *_Other)


class Reliance(NamedTuple):
    """What a member relies on just now. Each part may be missing."""

    member: str
    slot: int
    claim: Claim | None = None
    """The highest claim that it has seen."""
    tail: Position | None = None
    """The segment that it follows, or wrote last, in the log of the last epoch that served, and where a batch that it
    has applied begins there; offset 0: it knows of none."""
    held: tuple[Held, ...] = ()
    """What a main has open for its commits and its checks, its claim among it."""
    proof: Proof | None = None
    """What stands in one of these."""
    older: tuple[Cut, ...] = ()
    """The other segments that the state needs."""


class Custody:
    """Checks what one process relies on. Belongs to one lane: of its calls, one runs at a time."""

    def __init__(self, folder: Folder, folder_id: str) -> None:
        """Check ``folder``, which must have this id."""
        self._folder = folder
        self._folder_id = folder_id
        self._turn = self._segments = 0
        """How many looks have succeeded: at what is looked at in turn, and at older segments."""
        self._mailboxes: dict[Box, File] = {}
        """As they were first seen: kept open, so that no other file can have their identity."""

    async def check(self, reliance: Reliance) -> bool:
        """Return whether a mailbox was replaced by another file, so that it must be opened anew.

        Raises Displaced when the member's log or claim is not where it was, or the folder is another one; another
        FolderError when something that it needs is damaged or not known. Of what is not the log, one thing is looked
        at with each call; after an error the same one again.
        """
        await self._identify()
        if reliance.held:
            await self._expect_held(reliance.held, reliance.proof)
        elif reliance.claim is not None:
            await self._expect_claim(reliance.claim)
        if reliance.tail is not None:
            await self._expect_tail(reliance.tail)
        replaced = False
        match _TURNS[self._turn % len(_TURNS)]:
            case Box() as box:
                replaced = await self._is_replaced(box)
            case _Other.REGISTRATION:
                await self._expect_registration(reliance.member, reliance.slot)
            case _Other.SEGMENT:
                await self._expect_one_of(reliance.older)
            case unknown:
                assert_never(unknown)
        self._turn += 1
        return replaced

    async def _identify(self) -> None:
        folder, folder_id = self._folder, self._folder_id
        try:
            try:
                await cluster.identify(folder, folder_id)
            except NotInitialised:
                await folder.refresh("")
                await cluster.identify(folder, folder_id)
        except NotInitialised:
            raise Displaced(f"{names.CLUSTER} is gone: it was removed, or the volume is not mounted any more") from None
        except WrongFolder as error:
            raise Displaced(str(error)) from None

    async def _expect_held(self, files: tuple[Held, ...], proof: Proof | None) -> None:
        for file in files:
            present = await held.confirm(self._folder, file)
            if proof is not None and proof.name == file.name:
                await held.prove(present, proof)

    async def _expect_claim(self, claim: Claim) -> None:
        """Expect a claim of this folder under the name; one with another nonce is a matter of its own."""
        name = names.claim(claim.epoch)
        try:
            present = await read_claim(self._folder, claim.epoch, certain=True)
        except Missing:
            raise Displaced(f"{name}, the claim of {claim.member}, was removed") from None
        if present.folder_id != claim.folder_id:
            raise Displaced(f"{name} is a claim of the folder {present.folder_id}, not of {claim.folder_id}")

    async def _expect_tail(self, tail: Position) -> None:
        """Expect the segment as long as no later epoch served: then it may have been merged into others."""
        folder, name = self._folder, names.segment(tail.epoch, tail.number)
        try:
            file = await reading.open_recorded(folder, name, "read")
        except Missing:
            highest = await highest_claim(folder, tail.epoch)
            assert highest is not None, "that of the tail was asked for"
            later = highest.epoch - tail.epoch
            if await unserved(folder, highest.epoch, later) == later:
                raise Displaced(f"{name}, the end of the log, was removed") from None
            return
        # An older copy of a segment has zeros where it goes on, and is the same up to there.
        if tail.offset and not any(await file.read(tail.offset, HEADER_BYTES)):
            raise Displaced(f"{name} was overwritten: what was applied at offset {tail.offset} is gone")

    async def _is_replaced(self, box: Box) -> bool:
        file = await reading.open_recorded(self._folder, f"{names.MAILBOXES}/{box}", "blocks")
        known = self._mailboxes.setdefault(box, file)
        if file.identity == known.identity:
            return False
        await file.read(FILE_BYTES - BLOCK_BYTES, BLOCK_BYTES)  # it is whole
        self._mailboxes[box] = file
        return True

    async def _expect_registration(self, member: str, slot: int) -> None:
        registration = await registered(self._folder, slot)
        if registration.member != member:
            raise FolderUnavailable(
                f"{names.member(slot)} was the registration of {member} and is now that of {registration.member}"
            )

    async def _expect_one_of(self, older: tuple[Cut, ...]) -> None:
        if older:
            cut = older[self._segments % len(older)]
            await reading.open_recorded(self._folder, names.segment(cut.epoch, cut.number), "read")
            self._segments += 1
