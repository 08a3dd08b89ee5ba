"""Scripts of stories about what may be told of the store's revision (docs/protocol.md, 3.11 and 3.15)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from unittest.mock import patch

from hanas_core.log.claimfile import POINTER_OFFSET
from hanas_core.members.roles import Role
from tests.sim import downloads
from tests.sim.clients import TIMEOUT
from tests.sim.places import Place

if TYPE_CHECKING:
    from tests.sim.mount import Call
    from tests.sim.processes import Worker
    from tests.sim.stories import Story

_POINTER = Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT)


def _with_a_write_that_was_logged_again(story: Story) -> tuple[Worker, Worker, Worker]:
    """Return two mains that died, the first before it committed a write, the second one before it served; and the last.

    The second one has logged the write again and pointed to it, so a takeover counts it as committed.
    """
    story.until(lambda: all(worker.role in {Role.MAIN, Role.BACKUP} for worker in story.workers.values()))
    first = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(first)))
    for worker in story.others(first):
        _ = story.clients.loop.spawn(_watch(story, worker))
    story.for_seconds(1.0)
    appended = story.catch(first, Place("sync", "segments/", role=Role.MAIN), "after")
    _ = story.clients.loop.spawn(_write(story, first))  # nobody else does
    story.until(appended)
    pointed = {worker: story.catch(worker, _POINTER, "after") for worker in story.others(first)}
    first.kill(machine=False)
    story.until(lambda: any(done() for done in pointed.values()))
    second, third = sorted(pointed, key=lambda worker: not pointed[worker]())
    second.kill(machine=False)
    third.mount.ambushes.clear()
    return first, second, third


def refusal_during_a_takeover(story: Story) -> None:
    """A worker that has read a write which is not committed answers that it is not the main."""
    first, second, third = _with_a_write_that_was_logged_again(story)
    pointing = story.catch(third, _POINTER, "before")
    story.until(pointing, 20.0)
    story.ask(third, "GET", "unknown")()
    third.mount.release()
    first.start()
    second.start()
    story.clients.start(2)
    story.main()


def copy_of_a_takeover_that_failed(story: Story) -> None:
    """A takeover reads a write that is not committed, and fails; its copy follows an epoch that does not serve yet."""
    story.changes.enter_context(patch.object(downloads, "_LIVES_SECONDS", 1e6))
    first, second, third = _with_a_write_that_was_logged_again(story)
    failed, pointed = list[str](), list[bool]()

    def fail(call: Call) -> bool:
        call.mount.trouble.fails_once = True
        failed.append(third.name)
        return False

    def hold(call: Call) -> bool:
        del call
        pointed.append(True)
        return True

    story.ambushes.wait(third, _POINTER, "before", fail)
    story.until(lambda: bool(failed), 20.0)
    for overseer in story.overseers:
        story.network.cut(third.name, [overseer.name], both_ways=True)
    story.catch(third, Place("link", "claims/"), "before")
    first.start()
    story.ambushes.wait(first, _POINTER, "after", hold)
    story.until(lambda: bool(pointed), 20.0)
    story.until(lambda: third.log is not None and third.log.state.followed_epoch == story.epoch())
    story.for_seconds(0.5)
    first.mount.release()
    third.mount.release()
    story.network.heal()
    second.start()
    story.clients.start(2)
    story.main()


async def _write(story: Story, worker: Worker) -> None:
    with suppress(TimeoutError, OSError):
        await story.network.request(
            story.clients.loop, "PUT", f"http://{worker.name}:3000/v1/kv/unknown", b"v", TIMEOUT
        )


async def _watch(story: Story, worker: Worker) -> None:
    """Watch everything at a worker until its stream ends."""
    url = f"http://{worker.name}:3000/v1/watch"
    with suppress(TimeoutError, OSError):
        download = await story.network.download(story.clients.loop, url, TIMEOUT)
        while await download.next(20.0) is not None:
            pass
