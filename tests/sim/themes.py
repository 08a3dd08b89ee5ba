"""What a run is about. Each seed has one theme, by its number: rare things are found sooner by those who look for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Theme(NamedTuple):
    """A mixture of faults, and a cluster that suits it."""

    name: str
    weights: Mapping[str, float] = MappingProxyType({})
    """How often a fault of this name comes, relative to its ordinary weight."""
    others: float = 1.0
    """The same for all other faults."""
    seconds: tuple[float, ...] = (3.0, 5.0, 8.0)
    """How long the faults last."""
    pause: tuple[float, ...] = (0.15, 0.3, 0.6)
    """Seconds between two faults, on average."""
    segment_bytes: int = 32 << 10
    compact_bytes: int = 8 << 10
    large: float = 0.25
    """Part of the written values that are large."""
    rots: float = 0.1
    """Part of the runs in which durable bytes may be spoilt."""


def _of(name: str, others: float, weights: dict[str, float], **rest: float) -> Theme:
    return Theme(name, MappingProxyType(weights), others)._replace(**rest)


ANYTHING = Theme("anything")
DUELS = _of("duels", 0.05, {"duel": 12.0, "kill": 0.3, "late names": 0.2})._replace(
    pause=(0.2, 0.4), seconds=(6.0, 8.0)
)
TAKEOVERS = _of("takeovers", 0.1, {"ambush": 2.0, "kill": 1.0, "late names": 2.0, "server crash": 1.0, "restart": 3.0})
COMPACTION = _of("compaction", 0.1, {"compaction ambush": 8.0, "duel": 0.5, "kill": 1.0, "volume full": 1.0})._replace(
    large=0.6, compact_bytes=4 << 10, seconds=(5.0, 8.0)
)
READS = _of("reads", 0.1, {"duel": 2.0, "hang": 2.0, "link cut": 2.0, "slow": 2.0, "ambush": 0.5})
THEMES = (ANYTHING, DUELS, TAKEOVERS, COMPACTION)


def theme_of(seed: int) -> Theme:
    """Return what a seed is about."""
    return THEMES[seed % len(THEMES)]
