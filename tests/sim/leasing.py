"""Scripts of stories about leases (docs/protocol.md, 3.14)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hanas_core.members.roles import Role
from tests.sim.world import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.network import Answer
    from tests.sim.processes import Worker
    from tests.sim.stories import Story

_LEASE = 7


def renewal_at_a_main_that_was_replaced(story: Story) -> None:
    """A main is paused until its lease has expired under another one, and is asked to renew it when it wakes up."""
    first = _begin(story, 2)
    first.pause()
    story.until(lambda: any(other.serves for other in story.others(first)))
    story.until(lambda: _LEASE not in story.witness.past.model.leases)
    renewals = [_asking(story, first, "POST", f"/{_LEASE}/keepalive") for _ in range(5)]
    first.resume()
    if 200 in {renewal().status for renewal in renewals}:
        raise Violation("a lease that has expired was renewed")


def death_after_a_checkpoint(story: Story) -> None:
    """A main dies when half of a lease's time is over: the next one gives it the other half."""
    first = _begin(story, 20)
    story.for_seconds(14.0)
    first.kill(machine=False)
    story.until(lambda: any(other.serves for other in story.others(first)))
    shown = _asking(story, story.main(), "GET", f"/{_LEASE}")()
    first.start()
    if json.loads(shown.body)["remaining"] > 10:
        raise Violation(f"half of its time was over, and this is what remains of a lease: {shown.body!r}")


def death_after_a_late_renewal(story: Story) -> None:
    """A main dies right after it has renewed a lease of which less than the half was left."""
    first = _begin(story, 20)
    story.for_seconds(14.0)
    sent = story.world.now
    if _asking(story, first, "POST", f"/{_LEASE}/keepalive")().status != 200:
        raise Violation("a lease was not renewed")
    story.witness.promises.promised(_LEASE, sent, story.world.now, 20)
    first.kill(machine=False)
    story.until(lambda: any(other.serves for other in story.others(first)))
    story.for_seconds(13.0)
    shown = _asking(story, story.main(), "GET", f"/{_LEASE}")()
    first.start()
    if shown.status != 200:
        raise Violation("a lease has expired before its time was over")


def _begin(story: Story, ttl: int) -> Worker:
    """Return the main, which has granted a lease, and whose backups are well."""
    first = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(first)))
    story.for_seconds(1.0)
    sent = story.world.now
    granted = _asking(story, first, "POST", "", {"ttl": ttl, "id": _LEASE})()
    if granted.status != 201:
        raise Violation(f"a lease was not granted: {granted}")
    story.witness.promises.promised(_LEASE, sent, story.world.now, ttl)
    return first


def _asking(
    story: Story, worker: Worker, method: str, path: str, body: dict[str, int] | None = None
) -> Callable[[], Answer]:
    """Send a request; return a function that waits for its answer."""
    loop, content = story.clients.loop, b"" if body is None else json.dumps(body).encode()
    url = f"http://{worker.name}:3000/v1/leases{path}"
    task = loop.spawn(story.network.request(loop, method, url, content, 5.0, {}))

    def answer() -> Answer:
        story.until(task.done)
        return task.result()

    return answer
