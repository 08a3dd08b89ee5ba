"""A member's own copy of the state, and how far along the log it is."""

from typing import NamedTuple

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, Batch
from hanas_core.log.manifests import Cut, Manifest
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.state.index import Index
from hanas_core.state.keyspace import Segment
from hanas_core.state.reader import Course, Step, merged_cuts
from hanas_core.state.valuecache import DEFAULT_BYTES


class Standing(NamedTuple):
    """What others are told of a replica."""

    applied: Position
    lag_bytes: int
    sequence: int
    keys: int
    value_bytes: int
    last: Position = NOWHERE
    """Where the last batch that was applied begins."""


class Replica:
    """The index and its position in the log. It has one owner at a time, who alone touches it."""

    def __init__(self, cache_bytes: int = DEFAULT_BYTES) -> None:
        """Begin with nothing applied. ``cache_bytes``: see `Index`."""
        self.cache_bytes = cache_bytes
        self.index = Index(cache_bytes)
        self.applied = NOWHERE
        """The index holds everything before this position; set by reading and at the end of a main's epoch."""
        self._lag_bytes = 0
        self._last = NOWHERE
        self._merged: set[Segment] = set()
        """Merged segments that the index knows the places of, or will once the reader has come past them."""
        self.unread: list[Cut] = []
        """Merged segments that the reader does not come past: values that the index knows have moved there."""
        self.read_to = FIRST_OFFSET
        """Up to here the places in the first `unread` one are known."""

    @property
    def standing(self) -> Standing:
        """What others are told of it."""
        index = self.index
        return Standing(self.applied, self._lag_bytes, index.sequence, len(index), index.value_bytes, self._last)

    @property
    def merged(self) -> tuple[Segment, ...]:
        """The merged segments that the index knows the places of; only while none is `unread`."""
        return tuple(sorted(self._merged))

    def forget(self) -> None:
        """Drop everything, also how far it was read."""
        self.index = Index(self.cache_bytes)
        self._merged, self._last = set(), NOWHERE
        self.continue_from(NOWHERE)

    def continue_from(self, applied: Position) -> None:
        """The state now holds everything before ``applied``, by other means than reading: as a main."""
        self.applied, self._lag_bytes = applied, 0

    def install(self, course: Course) -> None:
        """Go on along an epoch's manifest."""
        if course.fresh is not None:
            self.index, self._merged = course.fresh, set(course.merged)
        self.continue_from(course.applied)
        self.compacted(course.manifest)

    def take(self, step: Step) -> None:
        """Apply what was read from `applied` on."""
        for batch in step.batches:
            self.apply(batch)
        self.applied, self._lag_bytes = step.applied, step.lag_bytes

    def apply(self, batch: Batch, changes: list[records.Record] | None = None) -> None:
        """Take in a committed batch, see `Index.apply`: the one door for what was read, re-logged or written here."""
        self.index.apply(batch, changes)
        self._last = Position(batch.epoch, batch.number, batch.offset)

    def compacted(self, manifest: Manifest) -> None:
        """A part of the log was merged: it continues as ``manifest`` says."""
        self.unread = [cut for cut in merged_cuts(manifest) if (cut.epoch, cut.number) not in self._merged]
        self.read_to = FIRST_OFFSET

    def relocate(self, cut: Cut, batches: list[Batch]) -> None:
        """Take in the places of values in ``batches``, read of the first `unread` segment from `read_to` on.

        That may be another segment by now, see `compacted`; then this one is nobody's any more.
        """
        for batch in batches:
            self.index.relocate(batch)
        if self.unread[:1] != [cut] or batches[0].offset != self.read_to:
            return
        self.read_to = batches[-1].end
        if self.read_to >= cut.end:
            self._merged.add((cut.epoch, cut.number))
            self.unread.pop(0)
            self.read_to = FIRST_OFFSET

    def check_invariants(self) -> None:
        """Assert what must hold between two steps; see `Index.check_invariants`."""
        self.index.check_invariants()
        assert not self._merged.intersection((cut.epoch, cut.number) for cut in self.unread)
