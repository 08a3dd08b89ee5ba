"""Who is the main: the first to claim, then whoever replaces it by compare-and-set (docs/protocol.md, section 2).

The overseer answers its two calls with these functions, and a worker that reaches no overseer calls them itself. All
state is in the folder, so that it does not matter who decides, nor how many.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from hanas_core.log.claimfile import Claim, Seal, Why, fits
from hanas_core.log.claims import claim_epoch, highest_claim, read_claim, read_pointer
from hanas_core.log.seals import read_seal
from hanas_core.members.documents import LOG, MainInfo
from hanas_core.members.mailboxes import Mailboxes
from hanas_core.members.registry import Registration, Registry
from hanas_core.members.roles import MainState, Role
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Verdict
from hanas_core.members.witness import together
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from hanas_core.volume.folder import Folder

_URL = re.compile(r"(?=.{1,256}\Z)https?://[!-~]+")


class Arrival(msgspec.Struct, frozen=True, rename="camel"):
    """Body of ``POST /v1/claim``: a worker has started."""

    member: str
    incarnation: str
    folder_id: str
    advertise_url: str
    link_url: str


class Place(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to an arrival. ``role``: ``main`` for the incarnation that holds the highest claim, else ``backup``."""

    role: str
    epoch: int
    main: MainInfo
    slot: int


class Expected(msgspec.Struct, frozen=True):
    """The main that a backup has given up on: the highest epoch that it knows, and who holds it."""

    epoch: int
    main: str


class Challenge(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Body of ``POST /v1/takeover``: a backup has concluded that the main failed."""

    member: str
    incarnation: str
    folder_id: str
    expected: Expected
    verdict: str
    evidence: msgspec.Raw = msgspec.Raw(b"null")


class Ruling(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to a challenge: whether it was granted, and who holds the highest claim now."""

    granted: bool
    main: MainInfo


class Refused(Exception):
    """The request makes no sense. The message says what to do."""


async def register(
    registry: Registry, arrival: Arrival, *, folder_id: str, vacancies: Sequence[Registration] = ()
) -> int:
    """Return the slot of a worker, giving it one if it has none. Raises Refused, NoSlot and other FolderErrors.

    ``vacancies``: registrations whose members are gone, as far as they were watched.
    """
    _check(arrival.member, arrival.incarnation, arrival.folder_id, folder_id)
    for what, url in (("advertiseUrl", arrival.advertise_url), ("linkUrl", arrival.link_url)):
        if not _is_url(url):
            raise Refused(
                f"{what} must be an http:// or https:// URL of at most 256 printable ASCII characters, not {url[:80]!r}"
            )
    return await registry.slot_of(
        arrival.member, arrival.incarnation, arrival.advertise_url, arrival.link_url, vacancies
    )


async def arrive(
    folder: Folder,
    registry: Registry,
    arrival: Arrival,
    *,
    folder_id: str,
    now: str,
    vacancies: Sequence[Registration] = (),
    seen: int = 0,
) -> Place:
    """Register a worker and tell it the main; the very first one becomes it. ``now``: wall clock, for people.

    ``seen``: the highest epoch that the caller has seen. Repeating the call changes nothing. Raises as `register`
    does; Corruption if a claim is gone that somebody has seen.
    """
    slot = await register(registry, arrival, folder_id=folder_id, vacancies=vacancies)
    holder = await _highest_claim_of_all(folder, registry, folder_id, seen)
    if holder is None and (relic := await _relic(folder)) is not None:
        holder = await highest_claim(folder)  # somebody may just have been the first
        if holder is None:
            raise FolderUnavailable(
                f"the first claim is gone, but there is {relic}: the folder is damaged; "
                "stop all workers and restore it from a backup"
            )
    if holder is None:
        holder = await claim_epoch(
            folder,
            Claim(
                epoch=1,
                member=arrival.member,
                incarnation=arrival.incarnation,
                nonce=folder.nonce(),
                advertise_url=arrival.advertise_url,
                link_url=arrival.link_url,
                folder_id=folder_id,
                follows=0,
                claimed_at=now,
            ),
        )
    role = Role.MAIN if holder.incarnation == arrival.incarnation else Role.BACKUP
    return Place(role, holder.epoch, await main_info(folder, holder), slot)


async def challenge(
    folder: Folder, challenge: Challenge, *, folder_id: str, addresses: tuple[str, str] | None, now: str
) -> Ruling:
    """Make the challenger the main if the epoch that it expects is still the highest. The set is on the number.

    ``addresses``: where the challenger's clients and its peers reach it, None if it never arrived. Raises Refused,
    FolderError.
    """
    _check(challenge.member, challenge.incarnation, challenge.folder_id, folder_id)
    verdict = _verdict(challenge.verdict)
    if addresses is None:
        raise Refused(f"{challenge.member} is not in the pool: POST /v1/claim first")
    expected = challenge.expected
    present = await highest_claim(folder)
    if present is None:
        raise Refused("there is no main to replace yet: POST /v1/claim to become the first one")
    if (present.epoch, present.member) != (expected.epoch, expected.main):
        return Ruling(present.incarnation == challenge.incarnation, await main_info(folder, present))
    if verdict is Verdict.HANDED_OVER and not await handed_over(folder, present, challenge.incarnation):
        raise Refused(f"{present.member} has not handed over epoch {present.epoch} to this run of {challenge.member}")
    claim = Claim(
        epoch=expected.epoch + 1,
        member=challenge.member,
        incarnation=challenge.incarnation,
        nonce=folder.nonce(),
        advertise_url=addresses[0],
        link_url=addresses[1],
        folder_id=folder_id,
        follows=expected.epoch,
        previous_main=expected.main,
        why=Why.HAND_OVER if verdict is Verdict.HANDED_OVER else Why.FAILURE,
        verdict=verdict.value,
        evidence=challenge.evidence,
        claimed_at=now,
    )
    if not fits(claim):
        raise Refused("the evidence is too long: a claim with it must fit into 4080 bytes of JSON")
    holder = await claim_epoch(folder, claim)
    return Ruling(holder.nonce == claim.nonce, await main_info(folder, holder))


async def handed_over(folder: Folder, claim: Claim, incarnation: str) -> bool:
    """Return whether the holder of ``claim`` sealed its own epoch, after it had served, for this one to follow."""
    if isinstance(await read_pointer(folder, claim.epoch), Blank):
        return False
    seal = await own_seal(folder, claim)
    return seal is not None and seal.invites(incarnation)


async def main_info(folder: Folder, claim: Claim) -> MainInfo:
    """Return who holds ``claim``, and how far it is."""
    state = MainState.ELECT
    if not isinstance(await read_pointer(folder, claim.epoch), Blank):
        seal = await own_seal(folder, claim)
        state = MainState.HANDED_OVER if seal is not None and seal.planned else MainState.SERVING
    return MainInfo(claim.member, claim.incarnation, claim.advertise_url, claim.link_url, claim.epoch, state)


async def own_seal(folder: Folder, claim: Claim) -> Seal | None:
    """Return the seal by which the holder of ``claim`` itself ended its epoch; None if there is none of its own."""
    seal = await read_seal(folder, claim.epoch)
    return seal if isinstance(seal, Seal) and seal.incarnation == claim.incarnation else None


async def unserved(folder: Folder, epoch: int, most: int) -> int:
    """Return how many epochs up to ``epoch`` were claimed since the last one with a manifest, but at most ``most``.

    0 when it has one.
    """
    count = 0
    while count < min(epoch, most) and isinstance(await read_pointer(folder, epoch - count), Blank):
        count += 1
    return count


async def _highest_claim_of_all(folder: Folder, registry: Registry, folder_id: str, seen: int) -> Claim | None:
    """Return the highest claim, which is at least the highest one that any member shows to have seen."""
    presence = await registry.presence(Mailboxes(folder))
    shown = (block.of(LOG).witness for block in presence if block is not None)
    at_least = max(seen, together(folder_id, shown).claim)
    try:
        if at_least:
            await read_claim(folder, at_least, certain=True)
    except Missing:
        raise Corruption(
            f"{names.claim(at_least)} was removed, or the file server lost it although it had acknowledged its sync: "
            "stop all workers and restore the folder from a backup, or accept what is lost by `hanas adopt`"
        ) from None
    return await highest_claim(folder, at_least)


async def _relic(folder: Folder) -> str | None:
    """Return the name of a file that only a main can have made, None if none is seen. Every main has a claim."""
    for directory in (names.CLAIMS, names.MANIFESTS, names.SEGMENTS):
        for name in await folder.names(directory):
            if not name.startswith("."):
                return f"{directory}/{name}"
    return None


def _verdict(text: str) -> Verdict:
    if text not in {verdict.value for verdict in Verdict}:
        raise Refused(f"unknown verdict {text[:80]!r}: use one of {', '.join(sorted(TAKEOVER_VERDICTS))}")
    if text not in TAKEOVER_VERDICTS:
        raise Refused(f"{text} is no reason for a takeover: only {', '.join(sorted(TAKEOVER_VERDICTS))} are")
    return Verdict(text)


def _is_url(text: str) -> bool:
    """Return whether ``text`` can be sent in a ``Location`` header, and be connected to."""
    if _URL.fullmatch(text) is None:
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check(member: str, incarnation: str, their_folder: str, folder_id: str) -> None:
    if not names.is_member(member):
        raise Refused("member must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or a digit")
    if not names.is_nonce(incarnation):
        raise Refused("incarnation must be 16 to 64 lower-case hexadecimal digits, new at every start")
    if their_folder != folder_id:
        raise Refused(
            f"FolderUnavailable: the folder here is {folder_id}, not {their_folder[:80]!r}: "
            "worker and overseer must mount the same volume"
        )
