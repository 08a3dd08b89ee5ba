"""The connections that a link failure cuts: pure functions."""

from collections.abc import Iterable
from typing import NamedTuple

from hanas_operator.spec import Direction, LinkFailure, Plane

ANYBODY, OVERSEER = "*", "overseer"


class LinkCut(NamedTuple):
    """Connections from ``source`` to ``target`` that must fail. Both are member ids; the source may be ``*`` (every
    client, also outside the cluster), the target may be ``overseer``.
    """

    source: str
    target: str
    plane: Plane


def of(failure: LinkFailure, members: Iterable[str]) -> frozenset[LinkCut]:
    """Return the cuts of ``failure`` among ``members``."""
    members = list(members)
    others = [member for member in members if member != failure.source]
    cuts: set[LinkCut] = set()
    if failure.direction in {Direction.BOTH, Direction.TO}:
        for plane in failure.planes:
            targets = [*others, OVERSEER] if failure.target == ANYBODY else [failure.target]
            cuts |= {LinkCut(failure.source, target, plane) for target in targets}
    if failure.direction in {Direction.BOTH, Direction.FROM} and failure.target != OVERSEER:
        for plane in failure.planes:
            sources = others if failure.target == ANYBODY else [failure.target]
            if failure.target == ANYBODY and plane is Plane.CLIENT:
                sources = [ANYBODY]
            cuts |= {LinkCut(source, failure.source, plane) for source in sources}
    # The overseer has no link port.
    return frozenset(cut for cut in cuts if not (cut.target == OVERSEER and cut.plane is Plane.LINK))


_ARROWS = {Direction.BOTH: "<->", Direction.TO: "->", Direction.FROM: "<-"}
_DIRECTIONS = {arrow: direction for direction, arrow in _ARROWS.items()}


def read(name: str, text: str) -> LinkFailure:
    """Return the failure of this name that `words` described with ``text``."""
    source, arrow, target, planes = text.split()
    return LinkFailure(
        name=name,
        source=source,
        target=target,
        direction=_DIRECTIONS[arrow],
        planes=tuple(Plane(plane) for plane in planes.strip("()").split("+")),
    )


def words(failure: LinkFailure) -> str:
    """Return a description of ``failure`` in one line."""
    arrow = _ARROWS[failure.direction]
    planes = "+".join(sorted({plane.value for plane in failure.planes}))
    return f"{failure.source} {arrow} {failure.target} ({planes})"
