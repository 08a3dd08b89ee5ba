"""From link failures to the single connections that they cut: pure functions."""

from collections.abc import Iterable
from typing import NamedTuple

from hanas_operator.spec import Direction, LinkFailure, Plane

ANYBODY, OVERSEER = "*", "overseer"


class Cut(NamedTuple):
    """Connections from ``source`` to ``target`` that are not to come through. Both are member ids; the source may be
    ``*`` (everybody, clients outside the cluster too), the target may be ``overseer``.
    """

    source: str
    target: str
    plane: Plane


def of(failure: LinkFailure, members: Iterable[str]) -> frozenset[Cut]:
    """Return what ``failure`` cuts among ``members``."""
    members = list(members)
    others = [member for member in members if member != failure.source]
    found: set[Cut] = set()
    if failure.direction in {Direction.BOTH, Direction.TO}:
        for plane in failure.planes:
            targets = [*others, OVERSEER] if failure.target == ANYBODY else [failure.target]
            found |= {Cut(failure.source, target, plane) for target in targets}
    if failure.direction in {Direction.BOTH, Direction.FROM} and failure.target != OVERSEER:
        for plane in failure.planes:
            sources = others if failure.target == ANYBODY else [failure.target]
            if failure.target == ANYBODY and plane is Plane.CLIENT:
                sources = [ANYBODY]
            found |= {Cut(source, failure.source, plane) for source in sources}
    # The overseer has no link port.
    return frozenset(cut for cut in found if not (cut.target == OVERSEER and cut.plane is Plane.LINK))


def words(failure: LinkFailure) -> str:
    """Return what ``failure`` cuts, in one line."""
    arrow = {Direction.BOTH: "<->", Direction.TO: "->", Direction.FROM: "<-"}[failure.direction]
    planes = "+".join(sorted({plane.value for plane in failure.planes}))
    return f"{failure.source} {arrow} {failure.target} ({planes})"
