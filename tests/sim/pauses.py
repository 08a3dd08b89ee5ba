"""Scripts of stories about processes that wait for a processor, and about a slow folder (docs/protocol.md, 4.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from unittest.mock import patch

from hanas_core.members.roles import Role
from hanas_core.volume import names
from tests.sim import network
from tests.sim.processes import TIMING, Worker
from tests.sim.world import Violation

if TYPE_CHECKING:
    from tests.sim.stories import Story

_RUN_SECONDS = 0.01
"""How long a process runs between two pauses: long enough for a few operations."""
_SLOW, _SLOWER = 75.0, 120.0
"""How many times longer each operation takes."""


def _settled(story: Story) -> Worker:
    """Wait until everybody has a role and the main is heard; return the main."""
    main = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(main)))
    story.for_seconds(1.0)
    return main


def _starve(story: Story, workers: Iterable[Worker], seconds: float, pause: float) -> None:
    """Let processes wait for their processor again and again."""
    end = story.world.now + seconds

    def sleep(worker: Worker) -> None:
        if story.world.now < end:
            worker.pause()
            story.world.after(pause, lambda: wake(worker))

    def wake(worker: Worker) -> None:
        worker.resume()
        story.world.after(_RUN_SECONDS, lambda: sleep(worker))

    for worker in workers:
        sleep(worker)
    story.for_seconds(seconds)


def _cut_link(story: Story, main: Worker) -> None:
    story.network.cut(main.name, [other.name for other in story.others(main)], both_ways=False)


def _nobody_took_over(story: Story, main: Worker) -> None:
    claimed = len(story.disk.directories[names.CLAIMS].seen)
    if claimed > 1 or not main.serves:
        raise Violation(f"{main.name} was replaced for nothing: {claimed} epochs")


def late_observers(story: Story) -> None:
    """The backups are late in every turn, the link is cut, and the main needs a while for its answers."""
    main = _settled(story)
    main.mount.trouble.slow = _SLOW
    _cut_link(story, main)
    _starve(story, story.others(main), 8.0, 0.8 * TIMING.suspect_after)
    _nobody_took_over(story, main)
    main.mount.trouble.slow = 1.0


def slow_folder(story: Story) -> None:
    """The folder is slow for everybody, and the link from the main is cut."""
    main = _settled(story)
    for mount in story.faults.mounts:
        mount.trouble.slow = _SLOWER
    _cut_link(story, main)
    story.for_seconds(5.0)
    _nobody_took_over(story, main)


def main_pauses_again(story: Story) -> None:
    """The main is paused for less than anybody would replace it for, and soon again, a little longer."""
    story.changes.enter_context(patch.object(network, "_IDLE_SECONDS", 1e9))  # no connection is closed for nothing
    main = _settled(story)
    for pause in (1.2, 1.7):
        main.pause()
        story.for_seconds(pause * TIMING.suspect_after)
        main.resume()
        story.for_seconds(1.0)
    _nobody_took_over(story, main)


def returns_to_the_main_last(story: Story) -> None:
    """The folder is away for everybody, and comes back for the main a little later than for the others."""
    main = _settled(story)
    away = TIMING.suspect_after + TIMING.probe_timeout + TIMING.folder_grace + 0.15
    later = TIMING.probe_timeout + 0.7 * TIMING.stall_limit
    assert away + later < TIMING.folder_timeout, "the main does not give up"
    for mount in story.faults.mounts:
        mount.trouble.hangs_until = story.world.now + away
    main.mount.trouble.hangs_until += later
    story.for_seconds(away + later + 1.0)
    _nobody_took_over(story, main)
