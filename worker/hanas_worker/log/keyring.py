"""Which keys the log needs, how many segments each has, and which of them this worker lacks (docs/protocol.md, 3.9)."""

from collections import Counter
from typing import NamedTuple

from hanas_core.log.manifests import Cut
from hanas_core.state.keyspace import Segment
from hanas_core.upkeep import compaction, keyuse
from hanas_core.volume import names
from hanas_core.volume.encryption import PLAIN
from hanas_core.volume.errors import KeyMissing
from hanas_worker.host.duties import Duty
from hanas_worker.log.state import LogState

UNKNOWN = "unknown"
_AT_ONCE = 64
"""Headers that are read in one call."""


class KeyUse(NamedTuple):
    """How much of the log is encrypted with one key."""

    key: str
    """The key's id; `PLAIN`: it is not encrypted; `UNKNOWN`: the headers were not read yet."""
    segments: int
    size: int
    """Of these segments, bytes."""


class Keyring:
    """Looks at the headers of the log's segments."""

    def __init__(self, state: LogState) -> None:
        """Have seen none."""
        self._state, self._host = state, state.host
        self._keys: dict[Segment, str] = {}

    async def look(self) -> None:
        """Read the headers that are new, and take note of a key that is lacking. Raises FolderError."""
        keys, folder = self._keys, self._host.folder
        present = {(cut.epoch, cut.number) for cut in self._state.cuts}
        for gone in keys.keys() - present:
            del keys[gone]
        unread = sorted(present - keys.keys())
        while unread:
            keys.update(await self._host.in_lane(Duty.KEYS, keyuse.keys_of(folder, unread[:_AT_ONCE])))
            unread = unread[_AT_ONCE:]
        for segment, key in keys.items():
            if key != PLAIN and key not in folder.keys.ids:
                self._state.lacking = KeyMissing(names.segment(*segment), key)

    @property
    def uses(self) -> tuple[KeyUse, ...]:
        """How much of the log has which key; also those at hand that nothing has. Empty while the log is not known."""
        cuts = self._state.cuts
        segments = Counter[str](dict.fromkeys(self._host.folder.keys.ids if cuts else (), 0))
        sizes = Counter[str]()
        for cut in cuts:
            key = self._keys.get((cut.epoch, cut.number), UNKNOWN)
            segments[key] += 1
            sizes[key] += compaction.space_of(cut, self._host.settings.segment_bytes)
        return tuple(KeyUse(key, count, sizes[key]) for key, count in sorted(segments.items()))

    def is_stale(self, cut: Cut) -> bool:
        """Return whether a segment has another key than new ones get."""
        key = self._keys.get((cut.epoch, cut.number))
        return key is not None and key != (self._host.folder.keys.current or PLAIN)
