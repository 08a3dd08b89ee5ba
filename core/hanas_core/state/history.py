"""What keys held before each change since the compacted revision (docs/protocol.md, section 3.12).

A change is kept with the entry that it replaced. So what is no longer needed is always the beginning: an entry matters
for as long as the change behind it does. The entry that a key has now is not kept here a second time.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from hanas_core.state.entries import revision_in

CHANGE_BYTES = 24
"""What a change takes beside its key and the entry before it, with what lists keep free, about."""
_KEY_BYTES, _ENTRY_BYTES = 49, 40
"""What Python needs for a text, and for bytes, about."""
_FIXED_BYTES = CHANGE_BYTES + _KEY_BYTES
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


class History:
    """The changes, in their order. Of a key there is one in a revision at most."""

    def __init__(self) -> None:
        """Begin with none."""
        self._base = 0
        self._distances = array("I")
        """The revisions, less `_base`."""
        self._keys: list[bytes] = []
        self._before: list[bytes | None] = []
        self.dropped = 0
        """How many were dropped so far."""
        self.bytes = 0
        """What they take in memory, about."""

    def __len__(self) -> int:
        """Return the number of changes."""
        return len(self._keys)

    def note(self, revision: int, key: bytes, before: bytes | None) -> None:
        """Note a change, later than all others or of the same revision as the last one."""
        distances = self._distances
        if not distances:
            self._base = revision
        elif revision - self._base > _MOST_DISTANCE:
            shift = distances[0]
            self._base += shift
            self._distances = distances = array("I", [distance - shift for distance in distances])
        distances.append(revision - self._base)
        self._keys.append(key)
        self._before.append(before)
        self.bytes += _FIXED_BYTES + len(key) + (0 if before is None else _ENTRY_BYTES + len(before))

    def __getitem__(self, at: int) -> Change:
        """Return a change."""
        return Change(self._base + self._distances[at], self._keys[at], self._before[at])

    def replace(self, at: int, before: bytes) -> None:
        """Note another place of the value of an entry."""
        self._before[at] = before

    def drop(self, revision: int) -> list[Change]:
        """Drop the changes up to ``revision``, and return them."""
        end = self.behind(revision)
        dropped = [self[at] for at in range(end)]
        del self._distances[:end], self._keys[:end], self._before[:end]
        self.dropped += end
        self.bytes -= sum(size_of(key, before) for _, key, before in dropped)
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
        at, end, keys = self.behind(revision), len(self), self._keys
        while True:
            begin, at = at, min(at + _BLOCK, end)
            try:
                return keys.index(key, begin, at)
            except ValueError:
                pass
            for _ in range(_STEPS):
                place = self._of(key, last)
                before = self._before[place]
                if before is None or (last := revision_in(before)) <= revision:
                    return place

    def _of(self, key: bytes, revision: int) -> int:
        """Return where the change of ``key`` in ``revision`` is."""
        return self._keys.index(key, bisect_left(self._distances, revision - self._base))

    def check_invariants(self) -> None:
        """Assert what must hold between two changes."""
        assert list(self._distances) == sorted(self._distances)
        assert len(self._distances) == len(self._keys) == len(self._before)
        assert self.bytes == sum(map(size_of, self._keys, self._before))
        last = dict[bytes, int]()
        for revision, key, before in (self[at] for at in range(len(self))):
            assert before is None or revision_in(before) < revision
            assert key not in last or (before is not None and revision_in(before) == last[key])
            last[key] = revision


def size_of(key: bytes, before: bytes | None) -> int:
    """Return what a change takes in memory, about, bytes."""
    return _FIXED_BYTES + len(key) + (0 if before is None else _ENTRY_BYTES + len(before))
