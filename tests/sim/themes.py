"""Themes of runs: each seed has one, by its number, so that rare events get runs with many of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Theme(NamedTuple):
    """A mixture of faults, and a cluster that suits it."""

    name: str
    weights: Mapping[str, float] = MappingProxyType({})
    """Frequency of a fault of this name, relative to its ordinary weight."""
    others: float = 1.0
    """The same for all other faults."""
    seconds: tuple[float, ...] = (3.0, 5.0, 8.0)
    """Length of the period with faults, seconds."""
    pause: tuple[float, ...] = (0.15, 0.3, 0.6)
    """Seconds between two faults, on average."""
    segment_bytes: int = 32 << 10
    compact_bytes: int = 8 << 10
    compact_share: float = 0.3
    snapshot_bytes: int = 16 << 10
    history_seconds: float = 0.7
    history_bytes: int = 8 << 10
    cache_bytes: tuple[int, ...] = (4 << 10, 28 << 10)
    """Of a worker: the smaller holds a few medium values, the other one a few large ones."""
    keys: tuple[int, ...] = (1, 3, 6)
    large: float = 0.25
    """Part of the written values that are large."""
    only: str = ""
    """The one fault that happens, if any: the machines, the network and the folder are well otherwise."""
    rots: float = 0.05
    """Part of the runs in which durable bytes may be corrupted."""


ANYTHING = Theme("anything")
DUELS = Theme(
    "duels",
    MappingProxyType({"duel": 12.0, "kill": 0.3, "late names": 0.2}),
    others=0.15,
    seconds=(6.0, 8.0),
    pause=(0.1, 0.3),
)
TAKEOVERS = Theme(
    "takeovers",
    MappingProxyType(
        {
            "ambush": 1.5,
            "commit ambush": 5.0,
            "kill": 1.0,
            "late names": 2.0,
            "late read": 1.0,
            "server crash": 1.0,
            "restart": 3.0,
            "switchover": 4.0,
        }
    ),
    others=0.25,
)
COMPACTION = Theme(
    "compaction",
    MappingProxyType({"compaction ambush": 6.0, "late read": 3.0, "duel": 1.5, "kill": 1.0, "volume full": 1.0}),
    others=0.25,
    seconds=(5.0, 8.0),
    pause=(0.1, 0.2, 0.4),
    compact_bytes=4 << 10,
    snapshot_bytes=1 << 20,  # a cold start reads what was merged
    keys=(3, 6, 12),
    large=0.6,
)
ROT = Theme("rot", MappingProxyType({"rot": 4.0, "kill": 2.0}), others=0.3, rots=1.0)
STARVED = Theme("starved", only="starve", seconds=(8.0, 12.0), pause=(0.3, 0.6, 1.2))
"""Processes that wait for a processor."""
THEMES = (ANYTHING, DUELS, TAKEOVERS, COMPACTION, ROT, DUELS, TAKEOVERS, COMPACTION)
_STARVED_EVERY = 12


def theme_of(seed: int) -> Theme:
    """Return the theme of a seed."""
    return STARVED if seed % _STARVED_EVERY == _STARVED_EVERY - 1 else THEMES[seed % len(THEMES)]
