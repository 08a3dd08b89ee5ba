"""What a worker does when its folder is changed under it, on a folder in memory."""

from collections.abc import AsyncIterator

import pytest

from hanas_core.members import cluster
from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.registry import Registry
from hanas_core.members.verdicts import Verdict
from hanas_core.state.judge import Result, Write
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, Displaced, FolderUnavailable
from hanas_worker.host.duties import Duty
from hanas_worker.log.follower import Follower
from hanas_worker.neighbours.custody import Custodian
from hanas_worker.node import Node
from tests.unit.core.memory_folder import Content, MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder, serve, win
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)


class Scene:
    """A worker that has taken over, and its custodian."""

    def __init__(self, node: Node, folder: MemoryFolder) -> None:
        self.node = node
        self.folder = folder
        self.driver = node.logs[LOG]
        self.custodian: Custodian = node._custodian
        self.kept: dict[str, Content] = {}

    def take(self, name: str) -> None:
        self.kept[name] = self.folder.disk.content(name)
        directory, base = self.folder.disk.parent(name)
        del directory.visible[base]

    def put_back(self) -> None:
        for name, content in self.kept.items():
            directory, base = self.folder.disk.parent(name)
            directory.visible[base] = content

    def tick(self) -> None:
        self.driver.tick(others_connected=True, blind=self.node._blind, damage=self.custodian.damage)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    folder = bare_folder()
    run(cluster.initialise(folder, FOLDER_ID))
    slot = run(Registry(folder).slot_of("b", "b" * 32, "http://b", "http://b"))
    former = serve(folder, 1)
    former.put("k", "v")
    node = backup_of(former, folder.other())
    node.host.slot = slot
    driver = node.logs[LOG]
    await Follower(driver.state).catch_up()
    await driver.tenure.prepare()
    await driver.challenge(Conclude(1, Verdict.PRIMARY_FAILED, GONE))
    await until(lambda: driver.serving is not None)
    assert driver.serving is not None
    await driver.serving.write(Write(b"l", b"w"))
    assert isinstance(node.host.folder, MemoryFolder)
    made = Scene(node, node.host.folder)
    await made.custodian.check()
    yield made
    if driver.serving is not None:
        driver.serving.end("the test is over")


@pytest.mark.parametrize("name", [names.claim(2), names.segment(2, 1), names.CLUSTER])
async def test_a_main_whose_files_are_gone_ends_its_epoch_until_they_are_back(scene: Scene, name: str) -> None:
    host, driver = scene.node.host, scene.driver
    service = driver.serving
    assert service is not None
    scene.take(name)
    with pytest.raises(Displaced, match=name):
        await scene.custodian.check()
    assert driver.serving is None
    assert (await service.write(Write(b"m", b"x"))).result is Result.NOT_MAIN
    written = scene.folder.log("write_block")
    assert not await driver.tenure._seal(2), "its claim is not looked up in a folder that may be another one"
    for _ in range(3):
        with pytest.raises(Displaced, match=name):
            await scene.custodian.check()
        scene.tick()
    assert scene.folder.log("write_block") == written
    assert host.displaced
    assert [alert.kind for alert in driver.book.open] == [Verdict.FOLDER_UNAVAILABLE]
    assert name in driver.book.open[0].message
    scene.put_back()
    await scene.custodian.check()
    assert not host.displaced
    scene.tick()
    assert driver.book.open == ()


async def test_meanwhile_no_duty_touches_the_folder_but_the_one_that_looks(scene: Scene) -> None:
    host = scene.node.host
    host.displaced = "another volume is mounted"
    done: list[Duty] = []

    async def do(duty: Duty) -> None:
        done.append(duty)

    for duty in (Duty.MAIL, Duty.PRESENCE, Duty.REPORT, Duty.CUSTODY):
        host.spawn(host.repeat(duty, 0.001, lambda duty=duty: do(duty), host.wakers[duty]))  # type: ignore[misc]
    await until(lambda: len(done) > 20)
    assert set(done) == {Duty.REPORT, Duty.CUSTODY}
    host.displaced = ""
    await until(lambda: len(set(done)) == 4)
    host.cancel_background()


async def test_an_error_that_passes_is_no_damage_and_one_that_stays_is(scene: Scene) -> None:
    scene.folder.at("open", names.CLUSTER, before=FolderUnavailable("cluster.json: Permission denied"))
    with pytest.raises(FolderUnavailable):
        await scene.custodian.check()
    await scene.custodian.check()
    for times in range(1, 4):
        scene.folder.at("open", names.CLUSTER, before=FolderUnavailable("cluster.json: Permission denied"))
        with pytest.raises(FolderUnavailable):
            await scene.custodian.check()
        assert bool(scene.custodian.damage) is (times == 3)
    assert scene.node._blind
    assert scene.driver.serving is not None, "it serves as long as it can commit"
    await scene.custodian.check()
    assert not scene.custodian.damage


async def test_what_was_relied_on_in_an_earlier_epoch_may_be_gone(scene: Scene) -> None:
    service = scene.driver.serving
    assert service is not None
    scene.folder.at("open", names.segment(2, 1), before=lambda: setattr(scene.driver.state, "service", None))
    scene.take(names.segment(2, 1))
    await scene.custodian.check()
    assert not scene.custodian.damage
    service.end("the test is over")


async def test_mailboxes_that_were_replaced_are_opened_anew(scene: Scene) -> None:
    for _ in range(6):
        await scene.custodian.check()
    name = f"{names.MAILBOXES}/presence"
    await scene.node.presence.show()
    scene.take(name)
    scene.folder.disk.parent(name)[0].visible["presence"] = Content(bytearray(256 * 4096), b"")
    for _ in range(6):
        await scene.custodian.check()
    await scene.node.presence.show()
    assert any(scene.folder.disk.content(name).visible)


async def test_a_backup_misses_the_segment_that_it_follows() -> None:
    folder = bare_folder()
    run(cluster.initialise(folder, FOLDER_ID))
    slot = run(Registry(folder).slot_of("b", "b" * 32, "http://b", "http://b"))
    former = serve(folder, 1)
    former.put("k", "v")
    former.put("l", "v")
    node = backup_of(former, folder.other())
    node.host.slot = slot
    assert isinstance(node.host.folder, MemoryFolder)
    scene = Scene(node, node.host.folder)
    await scene.custodian.check()
    await Follower(scene.driver.state).catch_up()
    await scene.custodian.check()
    scene.take(names.segment(1, 1))
    scene.driver.state.followed_epoch = 0  # reading on has failed
    with pytest.raises(Displaced, match="the end of the log, was removed"):
        await scene.custodian.check()
    probe = scene.driver.state.member.detector
    for _ in range(3):
        scene.tick()
    assert probe.probe is None, "nothing is concluded from a folder that is not the own one"


async def test_a_claim_of_another_folder_is_not_followed(scene: Scene) -> None:
    win(scene.folder, 3, "c")
    scene.node.host.folder_id, scene.node.host.folder.ids = "0" * 32, frozenset({"0" * 32})
    with pytest.raises(Corruption, match="it was copied here from another cluster"):
        await scene.driver.look()
    assert scene.driver.serving is not None
