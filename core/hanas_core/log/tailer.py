"""Reading the log of an epoch as it grows: warm backups, and the replay of a takeover (docs/protocol.md, section 3).

Only what is known to be committed is handed out, and nothing before the followed epoch is known to have passed its
first unsealed check: until then its block 1, and with it all that the manifest names, may be forgotten by the server.
After that everything that an older epoch's cut names is committed; of the epoch's own batches those are that a
keep-alive or the header of a later batch says so of. Re-logged batches come first in their epoch and carry no commit
position, so they wait for that first check like all others.
"""

from collections import deque

from hanas_core.log.batches import FIRST_OFFSET, Batch, Fault, Kind
from hanas_core.log.claims import read_pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest
from hanas_core.log.positions import NOWHERE, Position, start_of
from hanas_core.log.segments import NotBegun, SegmentReader, read_header
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, Missing
from hanas_core.volume.folder import Folder


class Tailer:
    """A reader of the log. ``applied`` is the end of what was handed out.

    The lane that runs a step owns it until the step returns; it is never used again after a step that was given up.
    """

    def __init__(self, folder: Folder, applied: Position = NOWHERE) -> None:
        """Start from a state that holds everything before ``applied``."""
        self._folder = folder
        self._segment: SegmentReader | None = None
        self._beyond: deque[Batch] = deque()
        self._read_to = applied
        self._ends: dict[int, int] = {}
        self.applied = applied
        self.manifest: Manifest | None = None
        self.committed = NOWHERE
        self.at_end = False
        """The last step found nothing new."""

    @property
    def lag_bytes(self) -> int:
        """Bytes between what was handed out and the commit position, as far as they lie in one segment."""
        same = self.applied[:2] == self.committed[:2]
        return max(0, self.committed.offset - self.applied.offset) if same else 0

    @property
    def served(self) -> bool:
        """Whether the followed epoch is known to have passed its first check."""
        return self.committed != NOWHERE

    async def follow(self, epoch: int) -> bool | None:
        """Read the manifest of ``epoch`` and continue along it.

        None: there is no manifest yet, nothing has changed. True: continue with the state at hand. False: that state
        is no prefix of the manifest; the caller must forget it, reading starts anew. Raises Corruption.
        """
        pointer = await read_pointer(self._folder, epoch)
        if pointer is Blank.ZERO:
            return None
        if isinstance(pointer, Blank):
            raise Corruption(f"{names.claim(epoch)}: block 1 at offset 4096 is no manifest pointer")
        manifest = await read_manifest(self._folder, pointer)
        resumed = manifest.resume(self.applied)
        goes_on = resumed is not None or self.applied == NOWHERE
        self.applied = self._read_to = await self._behind_marker(epoch, resumed or manifest.start)
        self.manifest, self.committed, self._ends = manifest, NOWHERE, {}
        self._segment = None
        self._beyond.clear()
        return goes_on

    async def _behind_marker(self, epoch: int, position: Position) -> Position:
        """Return the begin of the next segment for a position behind the marker at the end of one of ``epoch``.

        Whoever followed a later epoch, which the server then forgot, was sent to where that one had cut this segment.
        """
        number = position.number
        if position.epoch != epoch or number >= names.MERGED_FROM or position.offset == FIRST_OFFSET:
            return position
        try:
            following = await read_header(self._folder, epoch, number + 1)
        except (Missing, NotBegun):
            return position
        return start_of(epoch, number + 1) if following.previous_end == position.offset else position

    def know(self, committed: Position) -> None:
        """Take note of a commit position of the followed epoch; ignore older ones and those of other epochs."""
        if self.manifest is not None and committed.epoch == self.manifest.epoch and committed > self.committed:
            self.committed = committed

    def know_relogged(self) -> None:
        """Count what the followed epoch, which is dead, re-logged as committed: it was durable before the manifest."""
        manifest = self._followed()
        self.know(Position(manifest.epoch, 1, manifest.relogged_end))

    async def step(self) -> list[Batch]:
        """Read on, once, and return what is now known to be committed, in order. Go on until `at_end`.

        What was returned is not returned again: whoever gives up on a step, so that nobody takes its batches, goes on
        with a new tailer from the position that was applied before.
        Raises Corruption for a bad batch below the commit position, and where a cut or that position cannot be reached.
        """
        manifest, before = self._followed(), self._read_to
        if self.committed == NOWHERE and not await self._has_served(manifest):
            self.at_end = True
            return []
        cut = manifest.cut_of(self._read_to)
        if self._segment is None:
            self._segment = await SegmentReader.open(self._folder, self._read_to.epoch, self._read_to.number)
        end_known = self._end_known(manifest)  # before the read: a commit that becomes known during it may be later
        batches, fault = await self._segment.take(self._read_to.offset, None if cut is None else cut.end)
        if fault is not None and not batches and self._read_to.offset < end_known:
            what = "nothing" if fault is Fault.ZERO else "a bad batch"
            raise self._corrupt(f"{what}, but valid ones up to {end_known}")
        for batch in batches:
            self._note(batch, manifest)
        if not batches and cut is not None and self._read_to.offset >= cut.end:
            self._move_to(manifest.after(cut))
        self.at_end = self._read_to == before
        return self._committed_part()

    async def _has_served(self, manifest: Manifest) -> bool:
        """Return whether the followed epoch passed its first check: after that it appends what is not re-logged."""
        first = await SegmentReader.open(self._folder, manifest.epoch, 1)
        batches, _ = await first.take(manifest.relogged_end)
        if batches:
            self.know(batches[0].committed or NOWHERE)
        return self.committed != NOWHERE

    async def finish(self) -> list[Batch]:
        """Return the valid batches beyond the commit position, once `at_end`: the end of a dead epoch.

        A bad batch is torn, and ends the log, only if no valid one follows it. Raises Corruption.
        """
        manifest = self._followed()
        if self.committed > self._read_to:
            raise Corruption(f"the log ends at {self._read_to}, but was committed up to {self.committed}")
        if self._segment is not None and manifest.cut_of(self._read_to) is None:
            _, fault = await self._segment.take(self._read_to.offset)
            later = await self._later_batch(self._segment) if fault is Fault.BAD else None
            if later is not None:
                raise self._corrupt(f"a bad batch, but a valid one follows at {later}")
        return [batch for batch in self._beyond if batch.kind is Kind.RECORDS]

    async def _later_batch(self, segment: SegmentReader) -> Position | None:
        """Return where a valid batch stands behind the bad one: in its segment, or first in the next (a bad marker)."""
        epoch, number, offset = self._read_to
        later = await segment.later_batch(offset)
        if later is not None:
            return Position(epoch, number, later)
        try:
            following = await SegmentReader.open(self._folder, epoch, number + 1)
        except (Missing, NotBegun):  # its name is taken ahead of its use
            return None
        batches, _ = await following.take(FIRST_OFFSET)
        return start_of(epoch, number + 1) if batches else None

    async def cuts(self) -> tuple[Cut, ...]:
        """Return every live segment up to ``applied``: what the followed epoch began with, then its own segments."""
        manifest = self._followed()
        epoch, number, offset = self.applied
        own = [Cut(epoch, number, offset)] if number == 1 or offset > FIRST_OFFSET else []
        while number > 1:
            end = self._ends.get(number - 1) or (await read_header(self._folder, epoch, number)).previous_end
            number -= 1
            own.append(Cut(epoch, number, end))
        return manifest.cuts + tuple(reversed(own))

    def _followed(self) -> Manifest:
        assert self.manifest is not None, "follow an epoch first"
        return self.manifest

    def _note(self, batch: Batch, manifest: Manifest) -> None:
        self._beyond.append(batch)
        self._read_to = batch.position
        if batch.committed is not None:
            self.know(batch.committed)
        if batch.kind is Kind.CONTINUES and batch.epoch == manifest.epoch:
            self._ends[batch.number] = batch.end
            self._move_to(self._behind(batch, manifest))

    @staticmethod
    def _behind(batch: Batch, manifest: Manifest) -> Position:
        """Return where a reader goes on: behind a marker that is the next segment, the zeros there are not the end."""
        if batch.kind is Kind.CONTINUES and batch.epoch == manifest.epoch:
            return start_of(batch.epoch, batch.number + 1)
        return batch.position

    def _move_to(self, position: Position) -> None:
        self._read_to = position
        self._segment = None
        if not self._beyond:
            self.applied = position

    def _committed_part(self) -> list[Batch]:
        manifest, ready = self._followed(), []
        while self._beyond and (self._beyond[0].epoch != manifest.epoch or self._beyond[0].position <= self.committed):
            batch = self._beyond.popleft()
            self.applied = self._behind(batch, manifest)
            if batch.kind is not Kind.CONTINUES:
                ready.append(batch)
        if not self._beyond:
            self.applied = self._read_to
        return ready

    def _end_known(self, manifest: Manifest) -> int:
        """Return up to which offset of the segment being read valid batches must be there."""
        cut = manifest.cut_of(self._read_to)
        if cut is not None:
            return cut.end
        if self.committed[:2] == self._read_to[:2]:
            return self.committed.offset
        return self._read_to.offset + 1 if self.committed > self._read_to else 0

    def _corrupt(self, what: str) -> Corruption:
        name = names.segment(self._read_to.epoch, self._read_to.number)
        return Corruption(f"{name}: at offset {self._read_to.offset} there is {what}")
