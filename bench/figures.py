"""Figures of what was measured."""

from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of ``ordered``, which is not empty, lie below."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
