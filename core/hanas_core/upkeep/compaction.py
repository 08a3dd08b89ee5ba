"""Compaction: what is live of old segments is merged into new ones, and the epoch rolls (docs/protocol.md, section 3).

    merge beside the traffic -> stop batches, drain -> claim n+1 for oneself -> seal n -> manifest of n+1 -> block 1
    -> seal check -> serve -> remove

What was merged becomes part of the log by the manifest of n+1 only; before that it is a leftover. Files are removed
only after the check that followed block 1 of n+1. Whoever takes over later starts from n+1 or above, and a former main
that sleeps at any of these steps finds its claim lost or its epoch sealed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, assert_never

import msgspec

from hanas_core.epochs.takeover import Promotion
from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Kind, encode, size_of
from hanas_core.log.cells import cell_size
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import write_pointer
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.manifests import Cut, Manifest, write_manifest
from hanas_core.log.positions import Version
from hanas_core.log.seals import SealWatch, seal_below
from hanas_core.log.segments import SegmentHeader, SegmentReader, new_nonce
from hanas_core.state.index import Index, Segment
from hanas_core.volume import blocks, names
from hanas_core.volume.errors import Corruption, FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.publish import give_name

PIECE_BYTES = 256 << 10
"""What one step reads and writes, about: a commit on the same disk waits for one of them at most."""
_FULL_OF_LIFE = 2
"""A segment at either end of the range is left as it is when its share of garbage is below the limit by this factor."""


class Plan(NamedTuple):
    """Neighbouring segments of the log that are worth merging."""

    first: int
    """How many segments of the log come before them."""
    cuts: tuple[Cut, ...]
    space: int
    """What they take on the volume, bytes."""
    live: int
    """What of it is live, bytes, about."""


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
    best = Plan(first, tuple(sources[first:end]), sum(spaces[first:end]), sum(lives[first:end]))
    gain = best.space - (best.live if room is None else _output(best.live))
    return best if best.cuts and gain >= min(least, segment_bytes) else None


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


class Merger:
    """Merges the segments of a plan, in small steps. Only reads the index, which may be another thread's."""

    def __init__(self, folder: Folder, index: Index, claim: Claim, plan: Plan, number: int, segment_bytes: int) -> None:
        """Write segments of ``claim.epoch`` from ``number`` on, of ``segment_bytes`` about."""
        self._folder = folder
        self._index = index
        self._claim = claim
        self._todo = list(plan.cuts)
        self._keeps_deletes = plan.first > 0
        self._segment_bytes = segment_bytes
        self.number = number
        """Of the next segment. A number is used once, also by a merge that failed."""
        self._reader: SegmentReader | None = None
        self._read_to = FIRST_OFFSET
        self._held: list[records.Merged] = []
        self._cells: list[bytes] = []
        self._held_bytes = 0
        self._gone: set[str] = set()
        self._output: _Output | None = None
        self._reached = 0
        self.cuts: list[Cut] = []
        """The merged segments that are complete."""
        self.done = False

    async def step(self) -> None:
        """Read on a little and write what was gathered, until `done`. Raises FolderError; then `discard` it all."""
        await self._read()
        finished = not self._todo
        if finished:
            self._held.append(records.Reached(self._reached))
        if self._held and (finished or self._held_bytes >= PIECE_BYTES):
            await self._write()
        if self._output is not None and (finished or self._output.end >= self._segment_bytes):
            output = self._output
            self.cuts.append(await output.finish())
            self._output, self.done = None, finished

    async def discard(self) -> None:
        """Remove what was made: no manifest names it, and none was tried."""
        if self._output is not None:
            await self._folder.remove(self._output.temporary)
        for cut in self.cuts:
            await self._folder.remove(names.segment(cut.epoch, cut.number))

    async def _read(self) -> None:
        cut = self._todo[0]
        if self._reader is None:
            self._reader = await SegmentReader.open(self._folder, cut.epoch, cut.number, most_bytes=PIECE_BYTES)
            self._read_to = FIRST_OFFSET
        batches, fault = await self._reader.take(self._read_to, cut.end)
        for batch in batches:
            self._gather(batch)
            self._read_to = batch.end
        if self._read_to >= cut.end:
            self._todo.pop(0)
            self._reader = None
        elif not batches:
            raise Corruption(
                f"{names.segment(cut.epoch, cut.number)}: at offset {self._read_to} there is no valid batch "
                f"({'bad' if fault else 'none'}), but valid ones up to {cut.end}; run 'hanas fsck' on the folder"
            )

    def _gather(self, batch: Batch) -> None:
        match batch.kind:
            case Kind.RECORDS:
                self._reached = max(self._reached, batch.first_sequence + batch.count - 1)
                changes, at = records.decode(batch.payload)
                for sequence, record in enumerate(changes, batch.first_sequence):
                    at = self._take(record, Version(batch.origin, sequence), batch.payload, at)
            case Kind.MERGED:
                merged, at = records.decode_merged(batch.payload)
                for once_more in merged:
                    at = self._take_again(once_more, batch.payload, at)
            case Kind.CONTINUES:
                pass
            case _:
                assert_never(batch.kind)

    def _take(self, record: records.Record, version: Version, payload: bytes, at: int) -> int:
        """Keep what is live of a record; return where the next cell begins."""
        if record.idempotency is not None:
            done = self._index.done(record.idempotency.key)
            if done is not None and done.version == version:
                self._keep(records.Remembered(*version, record.idempotency, done.created, done.deleted))
        match record:
            case records.Put(key=key, size=size, checksum=checksum, content_type=content_type):
                return self._keep_live(records.Kept(*version, key, size, checksum, content_type), payload, at)
            case records.Delete(key=key):
                self._keep_gone(records.Gone(*version, key))
            case _:
                assert_never(record)
        return at

    def _take_again(self, record: records.Merged, payload: bytes, at: int) -> int:
        match record:
            case records.Kept():
                return self._keep_live(record, payload, at)
            case records.Gone():
                self._keep_gone(record)
            case records.Remembered(origin=origin, sequence=sequence, idempotency=idempotency):
                done = self._index.done(idempotency.key)
                if done is not None and done.version == (origin, sequence):
                    self._keep(record)
            case records.Reached(sequence=sequence):
                self._reached = max(self._reached, sequence)
            case _:
                assert_never(record)
        return at

    def _keep_live(self, record: records.Kept, payload: bytes, at: int) -> int:
        end = at + cell_size(record.size)
        if self._index.version(record.key) == (record.origin, record.sequence):
            self._keep(record, len(record.key) + end - at)
            self._cells.append(payload[at:end])
        return end

    def _keep_gone(self, record: records.Gone) -> None:
        """A delete matters only to the segments that stay before the merged ones, and once."""
        if self._keeps_deletes and record.key not in self._gone and self._index.version(record.key) is None:
            self._gone.add(record.key)
            self._keep(record)

    def _keep(self, record: records.Merged, size: int = HEADER_BYTES) -> None:
        self._held.append(record)
        self._held_bytes += size

    async def _write(self) -> None:
        if self._output is None:
            self._output = await _Output.begin(self._folder, self._claim, self.number)
            self.number += 1
        held, cells = self._held, self._cells
        self._held, self._cells, self._held_bytes = [], [], 0
        await self._output.write(held, cells)


class _Output:
    """A merged segment that is being written, under a temporary name."""

    def __init__(self, folder: Folder, claim: Claim, number: int, temporary: str, file: File) -> None:
        self.temporary = temporary
        self.end = FIRST_OFFSET
        self._folder = folder
        self._file = file
        self._header = SegmentHeader(claim.folder_id, claim.epoch, number, new_nonce(folder), 0)

    @classmethod
    async def begin(cls, folder: Folder, claim: Claim, number: int) -> "_Output":
        temporary = names.temporary(claim.member, claim.incarnation, folder.nonce())
        await folder.create(temporary, b"")
        return cls(folder, claim, number, temporary, await folder.open(temporary, "append"))

    async def write(self, held: list[records.Merged], cells: list[bytes]) -> None:
        epoch, number, begin = self._header.epoch, self._header.number, self.end
        batch = Batch(epoch, 0, len(held), records.encode(held, cells), Kind.MERGED, epoch, number, begin)
        await self._file.write(begin, encode(batch, self._header.nonce))
        await self._file.sync()
        self.end += size_of(len(batch.payload))

    async def finish(self) -> Cut:
        """Give it its header, its full size and, when all that is durable, its name."""
        size = -(-self.end // BLOCK_BYTES) * BLOCK_BYTES
        header = msgspec.structs.replace(self._header, size=size)
        await self._file.write(self.end, bytes(size - self.end))
        block = blocks.encode(header)
        await self._file.write(0, block)
        await self._file.sync()
        await self._file.close()
        name = names.segment(header.epoch, header.number)
        if await give_name(self._folder, self.temporary, name) != block:
            raise FolderUnavailable(f"{name}: the name is taken by a segment that this main did not make")
        await self._folder.remove(self.temporary)
        return Cut(header.epoch, header.number, self.end)


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

    To be asked only after the epoch's first check since its block 1 said "unsealed". Later manifests name what this
    one names and what is newer, so the answer stays right however late it is acted upon.
    """
    named = {(cut.epoch, cut.number) for cut in manifest.cuts}
    present = [(base, names.segment_of(base)) for base in await folder.names(names.SEGMENTS)]
    return [
        f"{names.SEGMENTS}/{base}"
        for base, segment in present
        if segment is not None and segment[0] < manifest.epoch and segment not in named
    ]
