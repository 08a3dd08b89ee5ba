"""What is told of a transaction that was judged."""

import msgspec

from hanas_core.state.transactions import ReadKeys


class Row(msgspec.Struct, frozen=True):
    """A key, and the revision that had made what it held."""

    key: bytes
    revision: int


class Put(msgspec.Struct, frozen=True, tag=True):
    """A key got a value."""

    previous: Row | None = None
    """What it held, if that was asked for."""


class Deleted(msgspec.Struct, frozen=True, tag=True):
    """So many keys went."""

    count: int
    previous: tuple[Row, ...] = ()
    """What they held, if that was asked for."""


class Rows(msgspec.Struct, frozen=True, tag=True):
    """What was read."""

    rows: tuple[Row, ...]
    more: bool
    """There are more keys than were asked for."""
    count: int = 0
    """So many keys there are, if that was asked for."""


class Past(msgspec.Struct, frozen=True, tag=True):
    """What is to be read as of a revision, which changes no more: whoever answers reads it."""

    read: ReadKeys


class Report(msgspec.Struct, frozen=True, tag=True):
    """What a transaction told."""

    succeeded: bool
    """Its compares held."""
    results: tuple["Told", ...] = ()
    """Of each operation of the branch."""
    repeated: bool = False
    """It came with an idempotency key, and was done before: the results are not known any more."""
    revision: int = 0
    """Of one that is repeated: that it made."""
    needed: bytes = b""
    """The key whose value must be at hand, see `hanas_core.state.judge.Result`."""


Told = Put | Deleted | Rows | Past | Report
