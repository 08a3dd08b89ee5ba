"""The epochs as the folder tells them: each claim is read once, newest first, so that a long history delays nothing."""

import logging

import msgspec

from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import read_claim, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, Missing
from hanas_core.volume.folder import Folder
from hanas_overseer.documents import Durations, Takeover

BACKFILL_EPOCHS = 50
"""How many older epochs are read with one look."""

_log = logging.getLogger(__name__)
_UNREADABLE = (Corruption, Missing, msgspec.MsgspecError)
_WORDS = {
    "first": "{member} was the first to claim and became the main",
    "failure": "{member} took over from {previous}: {verdict}",
    "hand-over": "{previous} handed over to {member} as planned",
    "compaction": "{member} compacted its log and began a new epoch with what is left",
}


class History:
    """Takeovers of all epochs from `lowest` up to the highest, in order. One look at a time."""

    def __init__(self, folder: Folder) -> None:
        """Nothing is known yet."""
        self._folder = folder
        self._known: dict[int, Takeover] = {}
        self._highest = 0
        self.lowest = 0
        """The lowest epoch that was read; 1: the history is complete; 0: there is none yet."""
        self.takeovers: tuple[Takeover, ...] = ()

    async def update(self, holder: Claim) -> None:
        """Read on up to ``holder``, the highest claim, and some epochs further back. Raises FolderError.

        An old claim that cannot be read is left out, with a line in the log: it must not hide the present.
        """
        if not self._known:
            self._highest, self.lowest = holder.epoch - 1, holder.epoch
        changed = False
        for epoch in range(self._highest + 1, holder.epoch + 1):
            changed |= await self._read(epoch, holder)
            self._highest = epoch
        for epoch in (holder.epoch - 1, holder.epoch):
            # An epoch gets its manifest after its claim; one that was followed twice gets none any more.
            known = self._known.get(epoch)
            if known is not None and not known.served:
                changed |= await self._read(epoch, holder)
        for epoch in range(self.lowest - 1, max(self.lowest - 1 - BACKFILL_EPOCHS, 0), -1):
            changed |= await self._read(epoch, holder)
            self.lowest = epoch
        if changed:
            self.takeovers = tuple(self._known[epoch] for epoch in sorted(self._known))

    async def _read(self, epoch: int, holder: Claim) -> bool:
        try:
            claim = holder if epoch == holder.epoch else await read_claim(self._folder, epoch, certain=True)
        except _UNREADABLE as error:
            _log.error("the claim of epoch %d is left out of the history: %s", epoch, error)
            return False
        pointer = await read_pointer(self._folder, epoch)
        seconds: dict[str, float] | None = None
        if not isinstance(pointer, Blank):
            try:
                seconds = (await read_manifest(self._folder, pointer)).seconds
            except _UNREADABLE:
                seconds = None  # compaction removed it, with the epoch's segments
        entry = takeover(claim, served=pointer is not Blank.ZERO, seconds=seconds)
        changed = self._known.get(epoch) != entry
        self._known[epoch] = entry
        return changed


def takeover(claim: Claim, *, served: bool, seconds: dict[str, float] | None) -> Takeover:
    """Return the entry of an epoch."""
    evidence = _evidence(claim)
    return Takeover(
        epoch=claim.epoch,
        member=claim.member,
        incarnation=claim.incarnation,
        follows=claim.follows,
        previous_main=claim.previous_main,
        why=claim.why,
        verdict=claim.verdict,
        words=words(claim, evidence),
        evidence=evidence,
        claimed_at=claim.claimed_at,
        served=served,
        seconds=seconds,
        durations=None if seconds is None else durations(seconds, evidence),
    )


def durations(seconds: dict[str, float], evidence: object) -> Durations | None:
    """Split the time of a takeover; None where its claim does not tell enough."""
    detection = evidence.get("keepaliveAge") if isinstance(evidence, dict) else None
    if not isinstance(detection, int | float) or "claim" not in seconds:
        return None
    replay = sum(seconds.get(step, 0.0) for step in ("seals", "replay", "relog"))
    return Durations(
        detection=round(detection, 4),
        claim=round(seconds["claim"], 4),
        replay=round(replay, 4),
        total=round(detection + seconds["claim"] + replay, 4),
    )


def words(claim: Claim, evidence: object) -> str:
    """Return why an epoch was claimed: as its evidence puts it, else in a sentence of our own."""
    told = evidence.get("words") if isinstance(evidence, dict) else None
    if isinstance(told, str) and told:
        return told
    pattern = _WORDS.get(claim.why, "{member} began a new epoch: {why}")
    return pattern.format(
        member=claim.member,
        previous=claim.previous_main or "an unknown main",
        verdict=claim.verdict or "no verdict was given",
        why=claim.why,
    )


def _evidence(claim: Claim) -> object:
    try:
        content: object = msgspec.json.decode(claim.evidence)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    return content
