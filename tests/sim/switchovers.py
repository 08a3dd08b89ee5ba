"""Scripts of stories about planned switchovers (docs/protocol.md, 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hanas_core.members.roles import Role
from tests.sim.processes import TIMING
from tests.sim.world import Violation

if TYPE_CHECKING:
    from tests.sim.stories import Story

_GAP_SECONDS = 0.5
"""A successor that is well serves within this time."""


def successor_dies(story: Story) -> None:
    """One backup takes over as asked; the next one dies when the main has handed over, and another one follows."""
    first = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(first)))
    story.for_seconds(2 * TIMING.presence_interval)
    second, third = story.others(first)
    story.faults.switch_over(second.name)
    story.until(lambda: not first.serves)
    story.until(lambda: second.serves, _GAP_SECONDS)
    story.main()
    story.for_seconds(2 * TIMING.presence_interval)
    epoch = story.epoch()
    story.faults.switch_over(third.name)
    story.until(lambda: not second.serves)
    third.kill(machine=False)
    story.for_seconds(1.5 * TIMING.suspect_after)
    if story.epoch() != epoch:
        raise Violation("another one than the successor followed at once")
    story.until(lambda: first.serves or second.serves, 2 * TIMING.suspect_after + _GAP_SECONDS)
    third.start()
    story.main()
