"""The script of a story about workers that are stopped and serve on for a while (docs/protocol.md, 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hanas_core.members.roles import Role

if TYPE_CHECKING:
    from tests.sim.stories import Story

_DRAIN_SECONDS = 20.0


def next_main_is_stopped_too(story: Story) -> None:
    """Stop the main; while it redirects still, stop its successor too, when only those two could take over."""
    first = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(first)))
    story.for_seconds(2.0)  # they have seen each other
    node = first.node
    assert node is not None
    node.host.settings = msgspec.structs.replace(node.host.settings, drain_seconds=_DRAIN_SECONDS)
    began = story.world.now
    first.stop()
    story.until(lambda: any(other.serves for other in story.others(first)))
    second = story.main()
    [third] = (worker for worker in story.others(first) if worker is not second)
    story.for_seconds(1.0)
    third.pause()
    second.stop()
    story.until(lambda: not second.running, 15.0)
    story.has_claimed_at_most(2)
    third.resume()
    story.until(lambda: third.serves)
    assert first.running, f"it was to redirect for {_DRAIN_SECONDS:g} s, and {story.world.now - began:g} s have passed"
    story.has_claimed_at_most(3)
    story.until(lambda: not first.running, _DRAIN_SECONDS + 5.0)
    first.start()
    second.start()
