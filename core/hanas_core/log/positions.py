"""Where one is in the log, and which write a value comes from."""

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


NOWHERE = Position(0, 0, 0)
"""Before everything: an empty state."""


def start_of(epoch: int, number: int = 1) -> Position:
    """Return the place of the first batch of a segment: behind its header block."""
    return Position(epoch, number, BLOCK_BYTES)
