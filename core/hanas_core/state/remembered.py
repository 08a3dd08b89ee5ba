"""What recent writes did that came with an idempotency key (docs/protocol.md, section 3.3)."""

from collections import Counter, OrderedDict

import msgspec
from msgspec.structs import replace

from hanas_core.log.positions import Version
from hanas_core.state.keyspace import Segment

IDEMPOTENCY_WINDOW = 65_536
"""A write's idempotency key is known until this many later writes came with one. Counted, not timed, so that every
member that reads the same log forgets the same keys."""
_RECORD_BYTES = 32
"""What a record takes in a merged segment beside its idempotency key and the request's hash, about."""


class Done(msgspec.Struct, frozen=True, gc=False):
    """What a write that came with an idempotency key did. It holds nothing that the garbage collector looks at."""

    request: bytes
    origin: int
    sequence: int
    created: bool
    """Of a transaction: its compares held."""
    deleted: bool
    place_epoch: int = 0
    place_number: int = 0
    """The segment that tells of it."""
    revision: int = 0
    """Of a transaction: that it made; 0: it was none."""

    @property
    def version(self) -> Version:
        """Epoch and sequence of the write."""
        return Version(self.origin, self.sequence)

    @property
    def segment(self) -> Segment:
        """The segment that tells of it."""
        return self.place_epoch, self.place_number


class Remembered:
    """The idempotency keys that are known, oldest first."""

    def __init__(self, live: Counter[Segment]) -> None:
        """Know none. ``live``: where it is counted what is live of segments."""
        self._live = live
        self._done: OrderedDict[str, Done] = OrderedDict()

    def get(self, idempotency_key: str) -> Done | None:
        """Return what the write with this key did, None if it is not known (any more)."""
        return self._done.get(idempotency_key)

    def all(self) -> list[tuple[str, Done]]:
        """Return the keys that are known, oldest first."""
        return list(self._done.items())

    def put(self, idempotency_key: str, done: Done) -> None:
        """Note what the latest write with a key did; forget the oldest beyond `IDEMPOTENCY_WINDOW`."""
        self._done[idempotency_key] = done
        self._count(idempotency_key, done, 1)
        if len(self._done) > IDEMPOTENCY_WINDOW:
            forgotten, old = self._done.popitem(last=False)
            self._count(forgotten, old, -1)

    def move(self, idempotency_key: str, version: Version, segment: Segment) -> None:
        """Note another segment that records what a write with a key did."""
        done = self._done.get(idempotency_key)
        if done is not None and done.version == version:
            self._count(idempotency_key, done, -1)
            epoch, number = segment
            self._done[idempotency_key] = done = replace(done, place_epoch=epoch, place_number=number)
            self._count(idempotency_key, done, 1)

    def _count(self, idempotency_key: str, done: Done, sign: int) -> None:
        self._live[done.segment] += sign * _size(idempotency_key, done)

    def check_invariants(self, live: Counter[Segment]) -> None:
        """Assert what must hold between two batches, and add what is live of segments."""
        assert len(self._done) <= IDEMPOTENCY_WINDOW
        for key, done in self._done.items():
            live[done.segment] += _size(key, done)


def _size(idempotency_key: str, done: Done) -> int:
    return _RECORD_BYTES + len(idempotency_key) + len(done.request)
