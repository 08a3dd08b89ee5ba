"""Where one is in the log, and which write a value comes from."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hanas_core.volume.folder import BLOCK_BYTES


class Position(NamedTuple):
    """A place in the log: everything before ``offset`` (bytes) of the epoch's ``number``-th segment. Ordered."""

    epoch: int
    number: int
    offset: int

    def __str__(self) -> str:
        """Return ``epoch/segment/offset``."""
        return f"{self.epoch}/{self.number}/{self.offset}"


class Version(NamedTuple):
    """Epoch and sequence of the write that made a value. Kept by re-logging; ordered; the ETag."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        """Return ``epoch-sequence``."""
        return f"{self.epoch}-{self.sequence}"


make_version: Callable[[tuple[int, int]], Version] = partial(tuple.__new__, Version)
"""What `Version` does, without a call of Python: for every write."""


class Facts(NamedTuple):
    """What the store tells of a version of a key beside its `Version` (docs/protocol.md, section 3.11)."""

    revision: int
    """That made it."""
    create: int
    """The revision that created the key."""
    generation: int = 1
    """How many writes have made it since then, this one included."""
    lease: int = 0
    """Id of the lease that the key ends with; 0: none."""


def plain(sequence: int) -> Facts:
    """Return what is told of a write of a log without revisions."""
    return Facts(sequence + 1, sequence + 1)


NOWHERE = Position(0, 0, 0)
"""Before everything: an empty state."""


def start_of(epoch: int, number: int = 1) -> Position:
    """Return the place of the first batch of a segment: behind its header block."""
    return Position(epoch, number, BLOCK_BYTES)
