"""A worker's slot: found, kept, lost to another member, and disputed by a process with the same id."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from hanas_core.log.claims import highest_claim
from hanas_core.members import mailboxes
from hanas_core.members.detector import StartProbe
from hanas_core.members.documents import LOG, Presence
from hanas_core.members.mailboxes import Box, Mailboxes, Probe
from hanas_core.members.registry import VACANT_AFTER, Registration, Registry
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.neighbours.place import Twin
from hanas_worker.node import Node
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder, incarnation, serve, shown
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.nodes import FolderDecides, Nobody, backup_of

INTERVAL = 0.1
URLS = ("http://a:3001", "http://a:4001")


def folder_of(*members: str) -> MemoryFolder:
    """Return a folder in which these were registered, and showed themselves."""
    folder = bare_folder()
    run(mailboxes.allocate(folder))
    for slot, member in enumerate(members):
        run(Registry(folder).slot_of(member, incarnation(member), *URLS))
        show(folder, slot, shown(member))
    return folder


def show(folder: MemoryFolder, slot: int, block: Presence) -> None:
    run(Mailboxes(folder).write(Box.PRESENCE, slot, block))


def node_in(folder: MemoryFolder, member: str = "a") -> Node:
    environment = {"WORKER_ID": member, "HANAS_PRESENCE_INTERVAL": str(INTERVAL)}
    return Node(settings.read(environment), folder, FOLDER_ID, FolderDecides(), Nobody(), Runtime())


def moved(block: Presence, counter: int, **changes: object) -> Presence:
    return msgspec.structs.replace(block, counter=counter, **changes)


# ---------------------------------------------------------------------- at the start


async def test_nobody_waits_for_a_run_that_left_or_for_none() -> None:
    gone = folder_of("a")
    show(gone, 0, moved(shown("a"), 2, left=True))
    for folder in (folder_of(), folder_of("b"), gone):
        node = node_in(folder)
        began = node.host.now
        await node.places.wait_for_earlier_run()
        assert node.host.now - began < 2 * INTERVAL


async def test_a_run_that_stands_still_is_followed_after_two_intervals() -> None:
    folder = folder_of("b", "a")
    show(folder, 1, moved(shown("a"), 9, run=4))
    node = node_in(folder)
    began = node.host.now
    await node.places.wait_for_earlier_run()
    assert node.host.now - began >= 2 * INTERVAL
    assert node.host.run == 5


async def while_it_waits(node: Node, do: Callable[[int], None], times: int) -> None:
    """Let it wait for the earlier run, and do something every half interval meanwhile."""
    waiting = asyncio.create_task(node.places.wait_for_earlier_run())
    for number in range(times):
        await asyncio.sleep(INTERVAL / 2)
        do(number)
    await waiting


async def test_a_second_process_with_a_living_ones_id_is_refused() -> None:
    folder = folder_of("a")
    with pytest.raises(Twin, match=r"WORKER_ID=a: another process with this id runs \(incarnation .*, http://a:3001\)"):
        await while_it_waits(node_in(folder), lambda number: show(folder, 0, moved(shown("a"), 2 + number)), 8)


async def test_the_last_write_of_a_killed_process_is_no_sign_of_life() -> None:
    folder = folder_of("a")
    await while_it_waits(node_in(folder), lambda _: show(folder, 0, moved(shown("a"), 2)), 1)


async def test_who_leaves_while_it_is_waited_for_is_followed_at_once() -> None:
    folder = folder_of("a")
    await while_it_waits(node_in(folder), lambda _: show(folder, 0, moved(shown("a"), 2, left=True)), 1)


# ---------------------------------------------------------------------- two at once


async def test_the_younger_of_two_processes_with_one_id_ends_and_the_older_one_tells_of_it() -> None:
    node = node_in(folder_of("a"))
    node.host.run = 3
    younger, older = moved(shown("a"), 1, run=4), moved(shown("a"), 1, run=2, incarnation="e" * 32)
    for block in (None, moved(younger, 7, incarnation=node.host.incarnation), younger, younger):
        node.places.notice(block)
        assert node.places.twin == ""
    node.places.notice(moved(younger, 2))
    assert node.places.twin == "", "one move may be the last write of a killed process"
    node.places.notice(moved(younger, 3))
    assert "another process with this id runs" in node.places.twin
    assert not node.places.yields
    node.places.notice(older)
    node.places.notice(older)
    for late in (2, 1, 2):  # the last write of a killed process may come late, and again
        node.places.notice(moved(older, late))
    with pytest.raises(Twin):
        node.places.notice(moved(older, 3))
    assert node.places.yields


async def test_of_two_that_started_at_once_one_goes_on() -> None:
    nodes = [node_in(folder_of("a")) for _ in range(2)]
    ended = 0
    for one, other in (nodes, nodes[::-1]):
        block = msgspec.structs.replace(other.presence.content(), counter=1)
        try:
            for counter in (1, 2, 3):
                one.places.notice(moved(block, counter))
        except Twin:
            ended += 1
    assert ended == 1


async def test_a_younger_one_that_ends_does_not_say_that_its_member_left() -> None:
    folder = folder_of("a")
    node = node_in(folder)
    before = run(Mailboxes(folder).read(Box.PRESENCE, 1, Presence))
    node.places.yields = True
    await node.leave()
    assert run(Mailboxes(folder).read(Box.PRESENCE, 1, Presence)) == before


async def test_no_answer_means_nothing_while_another_process_has_written_over_the_probe() -> None:
    main = serve(bare_folder(), 1)
    run(mailboxes.allocate(main.folder))
    folder = main.folder.other()
    node = backup_of(main, folder)
    node.host.slot = run(Registry(folder).slot_of("b", incarnation("b"), *URLS))
    log = node.logs[LOG].state
    looks: list[object] = []
    log.member.detector.looked = lambda *look: looks.append(look)  # type: ignore[method-assign]
    start = None
    while not isinstance(start, StartProbe):
        start = log.member.detector.tick(node.host.now, "e" * 32)
        await asyncio.sleep(0.01)
    await node._mail.probe(log, start)
    await node._mail.exchange()
    assert len(looks) == 1
    run(Mailboxes(folder).write(Box.PROBES, node.host.slot, Probe("b", "f" * 32, ())))
    await node._mail.exchange()
    assert len(looks) == 1


# ---------------------------------------------------------------------- its slot


async def test_a_worker_that_cannot_show_itself_does_not_become_the_main() -> None:
    folder = folder_of()
    for box in (Box.PRESENCE, Box.CANARIES):
        for nth in range(1, 6):
            folder.at("write_block", str(box), nth=nth, before=FolderUnavailable("permission denied"))
    node = node_in(folder)
    stopping = asyncio.Event()
    life = asyncio.create_task(node.run(stopping))
    await until(lambda: "permission denied" in (node.host.folder_trouble or ""))
    assert run(highest_claim(folder.other())) is None
    folder.cancel()
    async with asyncio.timeout(AMPLE_SECONDS):
        await until(lambda: node.logs[LOG].serving is not None)
        stopping.set()
        await life


async def test_a_full_folder_gives_the_slot_of_one_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanas_core.members.registry.SLOTS", 2)
    folder = folder_of("b", "c")
    node = node_in(folder)
    with pytest.raises(FolderUnavailable, match="all 2 member slots are taken"):
        await node._find_slot()
    show(folder, 1, moved(shown("c"), 2, left=True))
    assert await node._find_slot() == 1


async def test_a_worker_whose_slot_was_given_to_another_moves_to_a_new_one() -> None:
    folder = folder_of("a")
    node = node_in(folder)
    node.host.slot = 0
    assert node.host.own_slot == 0
    node.host.peers.update(node.host.now, [Registration("b", 0, *URLS)], [None])
    with pytest.raises(FolderUnavailable, match="slot 0 may belong to another member"):
        assert node.host.own_slot
    run(Registry(folder).slot_of("b", incarnation("b"), *URLS))
    node.host.slot, node.host.peers.registrations = 1, [Registration("x", slot, *URLS) for slot in range(2)]
    await node._show()
    assert node.host.slot == 0
    assert [block and block.member for block in run(Mailboxes(folder).read(Box.PRESENCE, 2, Presence))] == ["a", None]


async def test_a_worker_that_was_paused_for_long_arrives_anew_before_it_writes() -> None:
    node = node_in(folder_of("a"))
    node.host.slot = 0
    node.host.shown_at -= VACANT_AFTER / 2 + 1
    with pytest.raises(FolderUnavailable, match="this worker arrives anew first"):
        assert node.host.own_slot
    await node._show()
    assert node.host.own_slot == 0
