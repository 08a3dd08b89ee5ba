"""Compaction: what is live of old segments is merged into new ones, and the epoch rolls (docs/protocol.md, section 3).

    merge beside the traffic -> stop batches, drain -> claim n+1 for oneself -> seal n -> manifest of n+1 -> block 1
    -> seal check -> serve -> remove

What was merged becomes part of the log by the manifest of n+1 only; before that it is a leftover. Files are removed
only after the check that followed block 1 of n+1. Whoever takes over later starts from n+1 or above, and a former main
that sleeps at any of these steps finds its claim lost or its epoch sealed.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from hanas_core.epochs.takeover import Promotion
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import read_claim, write_pointer
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.manifests import Cut, Manifest, write_manifest
from hanas_core.log.pieces import PIECE_BYTES
from hanas_core.log.seals import SealWatch, seal_below
from hanas_core.state.keyspace import Segment
from hanas_core.volume import names
from hanas_core.volume.errors import WrongFolder
from hanas_core.volume.folder import Folder

_FULL_OF_LIFE = 2
"""A segment at either end of the range is left as it is when its share of garbage is below the limit by this factor."""
_MOST_ANEW = 8
"""Segments that are written anew at a time, for another key."""


class Plan(NamedTuple):
    """Neighbouring segments of the log that are worth merging."""

    first: int
    """How many segments of the log come before them."""
    cuts: tuple[Cut, ...]
    space: int
    """What they take on the volume, bytes."""
    live: int
    """What of it is live, bytes, about."""

    def replaced(self, log: tuple[Cut, ...], merged: tuple[Cut, ...]) -> tuple[Cut, ...]:
        """Return ``log`` with the ``merged`` segments in place of these."""
        return log[: self.first] + merged + log[self.first + len(self.cuts) :]


def plan(
    sources: Sequence[Cut],
    live: Mapping[Segment, int],
    segment_bytes: int,
    *,
    share: float,
    least: int,
    room: int | None = None,
) -> Plan | None:
    """Return what to merge of ``sources``, all the sealed segments in order; None if it is not worth it.

    It is worth it when at least ``least`` bytes and the share ``share`` of the space (0 to 1) are garbage. ``live``:
    live bytes by (epoch, number). ``room``: the merged segments may take this many bytes, where the volume is full.
    """
    spaces = [space_of(cut, segment_bytes) for cut in sources]
    lives = [min(live.get((cut.epoch, cut.number), 0), space) for cut, space in zip(sources, spaces, strict=True)]
    garbage = sum(spaces) - sum(lives)
    if not sources or garbage < max(least, share * sum(spaces)):
        return None
    poor = [at for at, space in enumerate(spaces) if (space - lives[at]) * _FULL_OF_LIFE >= share * space]
    first, end = poor[0], poor[-1] + 1
    if room is not None:
        first, end = _best_fit(spaces, lives, first, end, room)
    merge = Plan(first, tuple(sources[first:end]), sum(spaces[first:end]), sum(lives[first:end]))
    gain = merge.space - (merge.live if room is None else _output(merge.live))
    return merge if merge.cuts and gain >= min(least, segment_bytes) else None


def plan_anew(
    sources: Sequence[Cut], live: Mapping[Segment, int], segment_bytes: int, is_stale: Callable[[Cut], bool]
) -> Plan | None:
    """Return the first neighbours among ``sources`` that are stale, to be written anew whatever they hold; None: none.

    At most `_MOST_ANEW` at a time.
    """
    first = next((at for at, cut in enumerate(sources) if is_stale(cut)), None)
    if first is None:
        return None
    cuts = tuple(takewhile(is_stale, sources[first : first + _MOST_ANEW]))
    space = sum(space_of(cut, segment_bytes) for cut in cuts)
    return Plan(first, cuts, space, sum(live.get((cut.epoch, cut.number), 0) for cut in cuts))


def _best_fit(spaces: list[int], lives: list[int], first: int, end: int, room: int) -> tuple[int, int]:
    """Return the part of the range that frees most of those whose merged segments fit into ``room``."""
    best, behind, live, space = (0, first, first), first, 0, 0
    for begin in range(first, end):
        while behind < end and _output(live + lives[behind]) <= room:
            live, space = live + lives[behind], space + spaces[behind]
            behind += 1
        best = max(best, (space - live, begin, behind))
        if behind == begin:  # this one alone is too much
            behind += 1
        else:
            live, space = live - lives[begin], space - spaces[begin]
    return best[1:]


def _output(live: int) -> int:
    """Return what the merged segments will take at most, bytes: estimates are not trusted blindly."""
    return live + live // 4 + 2 * PIECE_BYTES


def space_of(cut: Cut, segment_bytes: int) -> int:
    """Return what a segment takes on the volume, bytes: a merged one what it holds, another one its full size."""
    return cut.end if cut.number >= names.MERGED_FROM else max(segment_bytes, cut.end)


async def roll(
    folder: Folder,
    claim: Claim,
    *,
    cuts: tuple[Cut, ...],
    spare: str,
    segment_bytes: int,
    next_sequence: int,
    clock: Callable[[], float],
) -> Promotion:
    """Begin the epoch of ``claim``, won by the main of the epoch before, which has committed all that it appended.

    ``cuts``: the log up to here, with the merged segments in place of those they were made from. ``spare`` names
    prepared space of ``segment_bytes``. Raises Sealed, FolderError as a takeover does.
    """
    started = clock()
    await seal_below(folder, claim)
    log = await EpochLog.start(folder, claim.folder_id, claim.epoch, spare, segment_bytes)
    manifest = Manifest(
        epoch=claim.epoch,
        member=claim.member,
        incarnation=claim.incarnation,
        predecessor=claim.epoch - 1,
        cuts=cuts,
        relogged_end=log.end,
        next_sequence=next_sequence,
        seconds={"roll": clock() - started},
    )
    await write_pointer(folder, claim.epoch, await write_manifest(folder, claim, manifest))
    applied = await log.check()
    return Promotion(log, applied, next_sequence, manifest, await SealWatch.on(folder, claim.epoch))


async def removable(folder: Folder, manifest: Manifest) -> list[str]:
    """Return the segments of earlier epochs that ``manifest`` does not name: nobody will ever need them again.

    Raises WrongFolder where the claim of that epoch is another's: then this folder, and its segments, are another's.
    To be asked only after the epoch's first check since its block 1 said "unsealed". Later manifests name what this
    one names and what is newer, so the answer stays right however late it is acted upon.
    """
    claim = await read_claim(folder, manifest.epoch, certain=True)
    if claim.incarnation != manifest.incarnation:
        raise WrongFolder(f"{names.claim(manifest.epoch)} is not the claim of {manifest.member}: nothing is removed")
    named = {(cut.epoch, cut.number) for cut in manifest.cuts}
    present = [(base, names.segment_of(base)) for base in await folder.names(names.SEGMENTS)]
    return [
        f"{names.SEGMENTS}/{base}"
        for base, segment in present
        if segment is not None and segment[0] < manifest.epoch and segment not in named
    ]
