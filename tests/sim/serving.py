"""Scripts of stories about backups that serve (docs/protocol.md, section 2.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

from hanas_core.members.roles import Role
from hanas_worker.log import forwarder
from tests.sim.processes import Worker
from tests.sim.world import Violation

if TYPE_CHECKING:
    from tests.sim.stories import Story


def _settled(story: Story) -> tuple[Worker, Worker, Worker]:
    """Wait until everybody has a role and a line; return the main and the two others."""
    main = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(main)))
    story.for_seconds(2.0)
    one, other = story.others(main)
    return main, one, other


def former_main_is_asked(story: Story) -> None:
    """A backup does not learn that its main was replaced while that one slept, and asks it on."""
    story.changes.enter_context(patch.object(forwarder, "_SILENCES", 1))  # its line is the old one all the time
    main, ignorant, successor = _settled(story)
    _put(story, main, b"old")
    if (before := story.ask(ignorant, "GET", "own")()).body != b"old":
        raise Violation(f"{ignorant.name} does not serve: {before}")
    story.network.cut(successor.name, [ignorant.name], both_ways=True)
    ignorant.mount.trouble.hangs_until = story.world.now + 60.0
    main.pause()
    story.until(lambda: successor.serves)
    _put(story, successor, b"new")
    read = story.ask(ignorant, "GET", "own")
    story.for_seconds(0.1)
    main.resume()
    if (answer := read()).body == b"old":
        raise Violation(f"{ignorant.name} answers {answer.status} with what was replaced before it was asked")
    ignorant.mount.release()
    story.network.heal()
    story.main()


def _put(story: Story, worker: Worker, body: bytes) -> None:
    answer = story.ask(worker, "PUT", "own", body)()
    if answer.status not in {201, 204}:
        raise Violation(f"{worker.name} answers a write with {answer}")
