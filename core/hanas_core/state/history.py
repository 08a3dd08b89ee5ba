"""What keys held before each change since the compacted revision (docs/protocol.md, section 3.12).

A change is kept with the entry that it replaced. So what is no longer needed is always the beginning: an entry matters
for as long as the change behind it does. The entry that a key has now is not kept here a second time.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hanas_core.state.entries import revision_in

CHANGE_BYTES = 60
"""What a change takes beside the bytes of its key and of the entry before it, about: Python's bytes, and lists."""
_HASH = (1 << 32) - 1
_BLOCK = 512
"""Changes that are searched for a key at a time, forwards; then some of the key's own, backwards."""
_STEPS = 4
_MOST_DISTANCE = (1 << 32) - 1


class Change(NamedTuple):
    """A key was written or deleted."""

    revision: int
    key: bytes
    before: bytes | None
    """The entry before, or what was known of the key's last delete; None: nothing was known of the key."""


_change_of: Callable[[tuple[int, bytes, bytes | None]], Change] = partial(tuple.__new__, Change)
"""What `Change` does, without a call of Python: for every write, when it is forgotten."""


class History:
    """The changes, in their order. Of a key there is one in a revision at most."""

    def __init__(self) -> None:
        """Begin with none."""
        self._base = 0
        self._distances = array("I")
        """The revisions, less `_base`."""
        self._hashes = array("I")
        """Of the keys: to find one."""
        self._sizes = array("I")
        """Of the keys, bytes."""
        self._rows: list[bytes] = []
        """Of each change the key, and behind it the entry before, if any: one object, since there may be millions."""
        self.dropped = 0
        """How many were dropped so far."""
        self.bytes = 0
        """What they take in memory, about."""

    def __len__(self) -> int:
        """Return the number of changes."""
        return len(self._rows)

    def note(self, revision: int, key: bytes, before: bytes | None) -> None:
        """Note a change, later than all others or of the same revision as the last one."""
        try:
            self._distances.append(revision - self._base)
        except OverflowError:
            base = self._base + self._distances[0] if self._distances else revision
            self._distances = array("I", [self._base + distance - base for distance in self._distances])
            self._base = base
            self._distances.append(revision - base)
        self._hashes.append(hash(key) & _HASH)
        self._sizes.append(len(key))
        row = key if before is None else key + before
        self._rows.append(row)
        self.bytes += CHANGE_BYTES + len(row)

    def __getitem__(self, at: int) -> Change:
        """Return a change."""
        row, size = self._rows[at], self._sizes[at]
        return Change(self._base + self._distances[at], row[:size], row[size:] or None)

    def replace(self, at: int, before: bytes) -> None:
        """Note another place of the value of an entry."""
        self._rows[at] = self._rows[at][: self._sizes[at]] + before

    def drop(self, revision: int) -> list[Change]:
        """Drop the changes up to ``revision``, and return them."""
        end = self.behind(revision)
        base, sizes, rows = self._base, self._sizes[:end], self._rows[:end]
        dropped = [
            _change_of((base + distance, row[:size], row[size:] or None))
            for distance, size, row in zip(self._distances[:end], sizes, rows, strict=True)
        ]
        self.bytes -= CHANGE_BYTES * end + sum(map(len, rows))
        del self._distances[:end], self._hashes[:end], self._sizes[:end], self._rows[:end]
        self.dropped += end
        return dropped

    def behind(self, revision: int) -> int:
        """Return how many changes there are up to ``revision``."""
        return bisect_right(self._distances, revision - self._base)

    def revision_keeping(self, share: float) -> int:
        """Return the revision up to which changes must go so that a ``share`` of them stays, 0 to 1; 0 if none must."""
        kept = int(len(self) * share)
        return self[len(self) - 1 - kept].revision if kept < len(self) else 0

    def first_after(self, key: bytes, revision: int, last: int) -> int:
        """Return where the first change of ``key`` after ``revision`` is; ``last`` is the revision of its last one.

        It is searched from both sides: forwards a key that changes often is met soon, backwards one that does not.
        """
        at, end = self.behind(revision), len(self)
        while True:
            begin, at = at, min(at + _BLOCK, end)
            place = self._find(key, begin, at)
            if place is not None:
                return place
            for _ in range(_STEPS):
                place = self._find(key, bisect_left(self._distances, last - self._base), end)
                assert place is not None, "the last change of a key is known"
                before = self[place].before
                if before is None or (last := revision_in(before)) <= revision:
                    return place

    def _find(self, key: bytes, begin: int, end: int) -> int | None:
        """Return where the first change of ``key`` is from ``begin`` on, before ``end``; None if there is none."""
        hashes, wanted, size = self._hashes, hash(key) & _HASH, len(key)
        while begin < end:
            try:
                begin = hashes.index(wanted, begin, end)
            except ValueError:
                return None
            if self._sizes[begin] == size and self._rows[begin].startswith(key):
                return begin
            begin += 1
        return None

    def check_invariants(self) -> None:
        """Assert what must hold between two changes."""
        assert list(self._distances) == sorted(self._distances)
        assert len(self._distances) == len(self._hashes) == len(self._sizes) == len(self._rows)
        assert self.bytes == sum(CHANGE_BYTES + len(row) for row in self._rows)
        last = dict[bytes, int]()
        for revision, key, before in (self[at] for at in range(len(self))):
            assert before is None or revision_in(before) < revision
            assert key not in last or (before is not None and revision_in(before) == last[key])
            last[key] = revision
