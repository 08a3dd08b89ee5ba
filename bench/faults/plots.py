"""A plot as SVG, without a library: the share of finished cases over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 420, 56, 44, 16, 250
_COLOURS = (
    "#1b6ca8",
    "#d1495b",
    "#3a7d44",
    "#edae49",
    "#6a4c93",
    "#00798c",
    "#8d6a9f",
    "#c1666b",
    "#4d908e",
    "#577590",
)
_TICKS = 6


def shares(title: str, cases: Mapping[str, Sequence[float]]) -> str:
    """Return a plot: for each kind, the share of its cases (0 to 1) that took at most so many seconds."""
    longest = max((max(values) for values in cases.values() if values), default=1.0)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(seconds: float) -> float:
        return _LEFT + width * seconds / longest

    def y(share: float) -> float:
        return _TOP + height * (1 - share)

    space = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {space} font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for tick in range(_TICKS + 1):
        at = longest * tick / _TICKS
        parts += [
            f'<path d="M{x(at):.1f} {y(0)}V{y(1)}" stroke="#ddd"/>',
            f'<text x="{x(at):.1f}" y="{y(0) + 16}" text-anchor="middle">{at:.2f} s</text>',
        ]
    for percent in (0, 25, 50, 75, 100):
        at = y(percent / 100)
        parts += [
            f'<path d="M{_LEFT} {at:.1f}H{_LEFT + width}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{percent} %</text>',
        ]
    for number, (name, values) in enumerate(cases.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        steps = "".join(
            f"H{x(value):.1f}V{y((index + 1) / len(values)):.1f}" for index, value in enumerate(sorted(values))
        )
        at = _TOP + 12 + 18 * number
        parts += [
            f'<path d="M{_LEFT} {y(0)}{steps}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
            f'<path d="M{_WIDTH - _RIGHT + 14} {at - 4}h18" stroke="{colour}" stroke-width="3"/>',
            f'<text x="{_WIDTH - _RIGHT + 38}" y="{at}">{escape(name)} ({len(values)})</text>',
        ]
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(title)}</text></svg>')
    return "\n".join(parts) + "\n"
