"""The history of epochs. Each claim is read once, newest first, so that a long history delays nothing."""

import logging
from contextlib import suppress

import msgspec

from hanas_core.log.claimfile import Claim, Why
from hanas_core.log.claims import read_claim, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, Missing
from hanas_core.volume.folder import Folder
from hanas_overseer.documents import EpochDurations, EpochEntry

BACKFILL_EPOCHS = 50
"""Number of older epochs that one look at the folder reads."""

_log = logging.getLogger(__name__)
_UNREADABLE = (Corruption, Missing, msgspec.MsgspecError)
_WORDS: dict[str, str] = {
    Why.FIRST: "{member} was the first to claim and became the main",
    Why.FAILURE: "{member} took over from {previous}{verdict}",
    Why.HAND_OVER: "{previous} handed over to {member} as planned",
    Why.COMPACTION: "{member} compacted its log into a new epoch",
}


class History:
    """The epochs from `lowest` up to the highest, in order. Only one update may run at a time."""

    def __init__(self, folder: Folder, takeovers: tuple[EpochEntry, ...], highest: int, lowest: int) -> None:
        """Continue after the ``takeovers`` of an earlier history; empty at first."""
        self._folder = folder
        self._entries = {entry.epoch: entry for entry in takeovers}
        self._highest = highest
        self._changed = False
        self.lowest = lowest
        """The lowest epoch that was read; 1: the history is complete; 0: there is no epoch yet."""
        self.takeovers = takeovers

    async def update(self, holder: Claim) -> None:
        """Read the claims up to ``holder``, the highest one, and some older ones. Raises FolderError.

        A claim that cannot be read is logged and left out: an old error must not hide the present state.
        """
        if not self._entries:
            self._highest, self.lowest = holder.epoch - 1, holder.epoch
        assert holder.epoch >= self._highest, "the highest epoch never decreases"
        for epoch in range(self._highest + 1, holder.epoch + 1):
            await self._read(epoch, holder)
            self._highest = epoch
        for epoch in (holder.epoch - 1, holder.epoch):
            # The manifest of an epoch follows its claim, but never after the claim of the epoch after next.
            entry = self._entries.get(epoch)
            if entry is not None and not entry.served:
                await self._read(epoch, holder)
        for epoch in range(self.lowest - 1, max(self.lowest - 1 - BACKFILL_EPOCHS, 0), -1):
            await self._read(epoch, holder)
            self.lowest = epoch
        if self._changed:
            self._changed = False
            self.takeovers = tuple(self._entries[epoch] for epoch in sorted(self._entries))
            assert self.lowest <= self.takeovers[0].epoch <= self.takeovers[-1].epoch <= self._highest

    async def _read(self, epoch: int, holder: Claim) -> None:
        try:
            claim = holder if epoch == holder.epoch else await read_claim(self._folder, epoch, certain=True)
        except _UNREADABLE as error:
            _log.error("the history omits epoch %d, whose claim cannot be read: %s", epoch, error)
            return
        assert claim.epoch == epoch
        pointer = await read_pointer(self._folder, epoch)
        seconds: dict[str, float] | None = None
        if not isinstance(pointer, Blank):
            with suppress(*_UNREADABLE):  # compaction removes it with the segments of the epoch
                seconds = (await read_manifest(self._folder, pointer)).seconds
        entry = takeover(claim, served=pointer is not Blank.ZERO, seconds=seconds)
        self._changed |= self._entries.get(epoch) != entry
        self._entries[epoch] = entry


def takeover(claim: Claim, *, served: bool, seconds: dict[str, float] | None) -> EpochEntry:
    """Return the entry of an epoch."""
    evidence = _evidence(claim)
    return EpochEntry(
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


def durations(seconds: dict[str, float], evidence: object) -> EpochDurations | None:
    """Return the parts of a takeover; None where its claim lacks the age of the last keep-alive."""
    detection = evidence.get("keepaliveAge") if isinstance(evidence, dict) else None
    if not isinstance(detection, int | float) or "claim" not in seconds:
        return None
    replay = sum(seconds.get(step, 0.0) for step in ("seals", "replay", "relog"))
    return EpochDurations(
        detection=round(detection, 4),
        claim=round(seconds["claim"], 4),
        replay=round(replay, 4),
        total=round(detection + seconds["claim"] + replay, 4),
    )


def words(claim: Claim, evidence: object) -> str:
    """Return the reason of an epoch in a sentence: that of its evidence, else one made here."""
    sentence = evidence.get("words") if isinstance(evidence, dict) else None
    if isinstance(sentence, str) and sentence:
        return sentence
    return _WORDS.get(claim.why, "{member} began a new epoch: {why}").format(
        member=claim.member,
        previous=claim.previous_main or "an unknown main",
        verdict=f": {claim.verdict}" if claim.verdict else " without a verdict",
        why=claim.why,
    )


def _evidence(claim: Claim) -> object:
    try:
        return msgspec.json.decode(claim.evidence)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
