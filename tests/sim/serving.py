"""Scripts of stories about backups that serve (docs/protocol.md, section 2.9)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import patch

from hanas_core.log.claimfile import SEAL_OFFSET
from hanas_core.members.roles import Role
from hanas_core.state.judge import Opening
from hanas_worker.log import forwarder
from hanas_worker.log.desk import Visit
from tests.sim import lines
from tests.sim.places import Place
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
    always = patch.multiple(forwarder, _SILENCE=1_000, _SILENCES=1)  # its line is the old one
    story.changes.enter_context(always)
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


def session_is_lost(story: Story) -> None:
    """Another process with a backup's name ends its session, while what it has sent waits for its outcome."""
    main, forwarding, _ = _settled(story)
    _put(story, forwarding, b"before")
    assert main.log is not None
    desk, service = main.log.state.desk, main.log.state.service
    assert desk is not None
    assert service is not None
    caught = story.catch(main, Place("sync", "segments/"), "before")
    write = story.ask(forwarding, "PUT", "own", b"sent")
    story.until(caught)
    main.loop.call_soon(service.submit, Opening(forwarding.name), lambda *_: None)
    story.network.cut(main.name, [forwarding.name], both_ways=True)
    story.network.hang_up_lines(forwarding.name)
    main.mount.release()
    story.for_seconds(0.3)
    story.network.heal()
    answer = write()
    done = story.ask(main, "GET", "own")().body == b"sent"
    if done and answer.status == 503 and answer.headers.get("hanas-outcome") != "unknown":
        raise Violation(f"{forwarding.name} answers {answer} to a write that was done")
    story.main()


def read_comes_while_an_answer_is_late(story: Story) -> None:
    """The main's answer to a question is held up; meanwhile a write is acknowledged, and another read comes."""
    main, forwarding, _ = _settled(story)
    _put(story, main, b"old")
    answered = Visit._reached
    held = list[int]()

    def hold(visit: Visit, number: int, epoch: int | None) -> None:
        answered(visit, number, epoch)
        if visit._member == forwarding.name and not held:
            held.append(number)
            story.network.cut(main.name, [forwarding.name], both_ways=False)

    with patch.object(Visit, "_reached", hold):
        story.ask(forwarding, "GET", "own")
        story.until(lambda: bool(held))
        _put(story, main, b"new")
        later = story.ask(forwarding, "GET", "own")
        story.for_seconds(0.02)
        story.network.heal()
        if later().body == b"old":
            raise Violation(f"{forwarding.name} answers a read by a question that was asked before it came")
    story.main()


def copy_comes_late(story: Story) -> None:
    """A write is stuck on a line that its forwarder gives up, and comes to the main behind the next line's writes.

    Nobody else writes there: the number of a later write would say that nobody asks about this one any more.
    """
    story.changes.enter_context(patch.object(lines, "_TRIES_SECONDS", 4.0))
    story.changes.enter_context(patch.object(lines, "_GIVES_UP_SECONDS", 1e6))
    main, forwarding, _ = _settled(story)
    story.clients.avoid(forwarding.name)
    story.for_seconds(1.0)
    _put(story, forwarding, b"there")
    story.network.cut(main.name, [forwarding.name], both_ways=True)
    refused = story.ask(forwarding, "PUT", "own", b"late", {"if-none-match": "*"})
    story.for_seconds(1.2)
    story.network.heal()
    if (answer := refused()).status != 412:
        raise Violation(f"{forwarding.name} answers {answer}")
    _gone(story, main)
    story.for_seconds(4.0)
    _stays_away(story, main)


def copy_waits_in_the_queue(story: Story) -> None:
    """A write whose condition fails is being committed when its line is lost, and the key goes behind it."""
    main, forwarding, _ = _settled(story)
    _put(story, forwarding, b"there")
    caught = story.catch(main, Place("read", "claims/", SEAL_OFFSET, Role.MAIN), "before")
    refused = story.ask(forwarding, "PUT", "own", b"late", {"if-none-match": "*"})
    story.until(caught)
    deleted = story.ask(main, "DELETE", "own")
    story.for_seconds(0.01)
    story.network.hang_up_lines(forwarding.name)
    story.for_seconds(0.2)
    main.mount.release()
    if (answer := refused()).status != 412:
        raise Violation(f"{forwarding.name} answers {answer}")
    deleted()
    story.for_seconds(1.0)
    _stays_away(story, main)


def line_is_lost_under_a_transaction(story: Story) -> None:
    """A transaction that must not be carried out twice is being committed when its line is lost."""
    main, forwarding, _ = _settled(story)
    caught = story.catch(main, Place("sync", "segments/"), "before")
    url, loop = f"http://{forwarding.name}:3000/v1/txn", story.clients.loop
    absent = {"key": "own", "target": "version", "number": 0}
    content = json.dumps({"if": [absent], "then": [{"put": {"key": "own", "text": "sent"}}]}).encode()
    asked = loop.spawn(story.network.request(loop, "POST", url, content, 5.0, {}))
    story.until(caught)
    story.for_seconds(0.1)
    story.network.hang_up_lines(forwarding.name)
    story.for_seconds(0.3)
    main.mount.release()
    story.until(asked.done)
    answer = asked.result()
    done = story.ask(main, "GET", "own")().body == b"sent"
    succeeded = answer.status == 200 and json.loads(answer.body)["succeeded"]
    if done and not succeeded and answer.headers.get("hanas-outcome") != "unknown":
        raise Violation(f"{forwarding.name} answers {answer} to a transaction that was done")
    story.main()


def _gone(story: Story, main: Worker) -> None:
    if (answer := story.ask(main, "DELETE", "own")()).status != 204:
        raise Violation(f"{main.name} answers a deletion with {answer}")


def _stays_away(story: Story, main: Worker) -> None:
    if (answer := story.ask(main, "GET", "own")()).status != 404:
        raise Violation(f"a write that was refused, and whose key was deleted then, was done: {answer}")
    story.main()
