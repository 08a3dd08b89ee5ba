"""A main removes what dead members left, and a worker that slept counts on no space that is gone."""

from collections.abc import AsyncIterator

import pytest

from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG, LogPresence, Presence
from hanas_core.members.registry import Registration
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_worker.host.leftovers import clear_temporary
from hanas_worker.log.driver import LogDriver
from hanas_worker.node import Node
from tests.unit.core.memory_folder import Directory, MemoryFolder
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)
LIVING, DEAD = "1" * 32, "2" * 32
OF_LIVING, OF_DEAD = names.temporary("c", LIVING, "a" * 32), names.temporary("d", DEAD, "a" * 32)
REFRESH = f"{names.MANIFESTS}/.refresh-{'3' * 32}"


class Main:
    """A worker that has just become the main of epoch 2."""

    def __init__(self, node: Node, folder: MemoryFolder) -> None:
        self.node = node
        self.driver: LogDriver = node.logs[LOG]
        self.folder = folder
        self.counter = 0
        node.host.turn()

    async def look(self, seconds: float = 6.0) -> None:
        """Let time pass, in which `LIVING` shows itself, and look for leftovers."""
        host = self.node.host
        host.own_time._time += seconds
        self.counter += 1
        block = Presence(
            member="c", incarnation=LIVING, counter=self.counter, advertise_url="", link_url="", logs=(LogPresence(),)
        )
        host.peers.update(host.awake, [Registration("c", 0, "", "")], [block])
        await self.driver._caretaker.tidy()

    def has(self, name: str) -> bool:
        return name.rpartition("/")[2] in run(self.folder.other().names(name.rpartition("/")[0]))


@pytest.fixture
async def main() -> AsyncIterator[Main]:
    former = serve(bare_folder(), 1)
    folder = former.folder.other()
    node = backup_of(former, folder)
    driver = node.logs[LOG]
    await driver.tenure.prepare()
    await driver.challenge(Conclude(1, Verdict.PRIMARY_FAILED, GONE))
    await until(lambda: driver.serving is not None)
    for name in (OF_LIVING, OF_DEAD, REFRESH):
        run(folder.create(name, b""))
    yield Main(node, folder)
    driver.tenure.end("the test is over")


async def test_what_the_dead_left_goes_after_a_while_and_what_the_living_use_stays(main: Main) -> None:
    own = main.driver.tenure._spares
    await main.driver.tenure.prepare()
    for _ in range(10):
        await main.look()
        assert main.has(OF_DEAD)
    await main.look()
    assert not main.has(OF_DEAD)
    assert not main.has(REFRESH)
    assert main.has(OF_LIVING)
    assert all(main.has(spare) for spare in own)


async def test_who_sees_nobody_removes_nothing(main: Main) -> None:
    for _ in range(30):
        await main.look()
        main.node.host.peers.read_at = main.node.host.now - 10.0
        await main.driver._caretaker.tidy()
    assert main.has(OF_DEAD)


async def test_the_time_counts_from_the_begin_of_the_own_service(main: Main) -> None:
    for _ in range(10):
        await main.look()
    main.driver.tenure.end("another one took over")
    await main.look()
    assert main.has(OF_DEAD)


async def test_unfinished_manifests_and_forgotten_segments_go_at_once_and_again(main: Main) -> None:
    manifest, segment = names.manifest(1, "f" * 32), names.segment(1, 7)
    main.folder.at("remove", manifest, before=FolderUnavailable("no answer"))
    for name in (manifest, segment):
        run(main.folder.other().create(name, b""))
    await main.look()
    assert (main.has(manifest), main.has(segment)) == (True, False)
    await main.look()
    assert not main.has(manifest)


async def test_a_spare_that_is_gone_is_replaced(main: Main) -> None:
    await main.driver.tenure.prepare()
    await main.driver.tenure.prepare()
    (spare,) = main.driver.tenure._spares
    run(main.folder.other().remove(spare))
    await main.driver.tenure.prepare()
    (other,) = main.driver.tenure._spares
    assert other != spare
    assert main.has(other)


def test_a_directory_among_temporary_files_stops_no_start() -> None:
    folder = bare_folder()
    name = names.temporary("c", DEAD, "a" * 32)
    run(folder.create(name, b""))
    folder.disk.directory(names.TEMPORARY).visible[f"c~{DEAD}~{'b' * 32}"] = Directory()
    folder.at("remove", "b" * 32, before=FolderUnavailable("is a directory"))
    assert run(clear_temporary(folder, "c", LIVING)) == 2
    assert not folder.planned
    assert name.rpartition("/")[2] not in run(folder.names(names.TEMPORARY))
