"""What a worker does on the folder beside the log: procedures for its lanes, written against `Folder`."""

from typing import NamedTuple

from hanas_core.epochs import arbitration
from hanas_core.log import claims
from hanas_core.log.claimfile import Claim
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Answers, Box, Mailboxes, Probe, Registration, Registry
from hanas_core.volume import names
from hanas_core.volume.folder import Folder


class Sighting(NamedTuple):
    """What the claims say: the highest, how many went before it without serving, whether it was handed over."""

    claim: Claim
    unserved: int
    handed_over: bool


class Mail(NamedTuple):
    """What the mailboxes say."""

    registrations: list[Registration]
    presence: list[Presence | None]
    probes: list[Probe | None]
    answers: list[Answers | None]


async def look(folder: Folder, at_least: int) -> Sighting | None:
    """Return the highest claim that can be seen, from one known to exist; None if there is none."""
    claim = await claims.highest_claim(folder, at_least)
    if claim is None:
        return None
    unserved = await arbitration.unserved(folder, claim.epoch)
    return Sighting(claim, unserved, unserved == 0 and await arbitration.handed_over(folder, claim))


class MailDesk:
    """What a thread needs to read the mail: files that stay open, and registrations, which never change."""

    def __init__(self, folder: Folder, known: list[Registration]) -> None:
        """``known``: the registrations that were read before."""
        self.mailboxes = Mailboxes(folder)
        self.registry = Registry(folder)
        self.registry.known = list(known)


async def read_mail(desk: MailDesk, *, probes: bool, answers: bool) -> Mail:
    """Read everybody's presence, and the probes or the answers where they matter."""
    mailboxes, registry = desk.mailboxes, desk.registry
    presence = await registry.presence(mailboxes)
    slots = len(registry.known)
    return Mail(
        list(registry.known),
        presence,
        await mailboxes.read(Box.PROBES, slots, Probe) if probes else [],
        await mailboxes.read(Box.ANSWERS, slots, Answers) if answers else [],
    )


async def send_probe(mailboxes: Mailboxes, slot: int, probe: Probe) -> bool:
    """Write one's probe and, at once, try one's own canary; tell whether the folder kept it."""
    await mailboxes.write(Box.PROBES, slot, probe)
    return await mailboxes.try_canary(slot)


async def clear_temporary(folder: Folder, member: str, incarnation: str) -> int:
    """Remove what earlier incarnations of this member left behind; return how many files."""
    leftovers = [
        name
        for name in await folder.names(names.TEMPORARY)
        if (owner := names.owner_of_temporary(name)) and owner[0] == member and owner[1] != incarnation
    ]
    for name in leftovers:
        await folder.remove(f"{names.TEMPORARY}/{name}")
    return len(leftovers)
