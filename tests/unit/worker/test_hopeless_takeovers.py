"""Takeovers that cannot succeed: they are not tried by claims, a person is told, and they go on when they can."""

import pytest

from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Severity, Verdict
from hanas_core.state.judge import Result
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_worker.log.driver import LogDriver
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, serve, win
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)


def claimed(folder: MemoryFolder) -> int:
    return len(run(folder.names(names.CLAIMS)))


async def conclude(driver: LogDriver) -> None:
    await driver.challenge(Conclude(driver.state.member.epoch, Verdict.PRIMARY_FAILED, GONE))


@pytest.fixture
def spoilt() -> tuple[MemoryFolder, bytes]:
    """A log with a changed byte, after a takeover that failed of it; and what was there."""
    main = serve(bare_folder(), 1)
    for key in "abc":
        main.put(key, key)
    win(main.folder.other(), 2, "c")
    whole = main.folder.disk.content(names.segment(1, 1)).visible[BLOCK_BYTES : BLOCK_BYTES + 100]
    main.folder.disk.spoil(names.segment(1, 1), BLOCK_BYTES + 80, b"\xff")
    return main.folder, bytes(whole)


async def test_nobody_claims_an_epoch_that_cannot_serve(spoilt: tuple[MemoryFolder, bytes]) -> None:
    folder, whole = spoilt
    main = serve(bare_folder(), 1)
    node = backup_of(main, folder.other())
    driver = node.logs[LOG]
    await driver.look()
    await driver.tenure.prepare()
    for _ in range(5):
        await conclude(driver)
        assert claimed(folder) == 2
        assert driver.state.member.role is Role.BACKUP
    (told,) = driver.state.member.conditions()
    assert f"{names.segment(1, 1)}: at offset {BLOCK_BYTES} there is a bad batch" in told.message
    folder.disk.spoil(names.segment(1, 1), BLOCK_BYTES, whole)
    await conclude(driver)
    await until(lambda: driver.serving is not None)
    assert (claimed(folder), driver.state.member.obstacle) == (3, None)
    assert driver.state.replica.index.sequence == 3
    assert driver.serving is not None
    driver.serving.end("the test is over")


async def test_nobody_claims_an_epoch_after_a_failed_one_without_a_segment_for_it() -> None:
    main = serve(bare_folder(), 1)
    win(main.folder.other(), 2, "c")
    node = backup_of(main, main.folder.other())
    driver = node.logs[LOG]
    await driver.look()
    await conclude(driver)
    assert claimed(main.folder) == 2
    (told,) = driver.state.member.conditions()
    assert "no segment is prepared" in told.message
    await driver.tenure.prepare()
    await conclude(driver)
    await until(lambda: driver.serving is not None)
    assert driver.serving is not None
    driver.serving.end("the test is over")


async def test_the_first_takeover_that_fails_tells_why_and_lengthens_the_wait() -> None:
    main = serve(bare_folder(), 1)
    for key in "abc":
        main.put(key, key)
    main.folder.disk.spoil(names.segment(1, 1), BLOCK_BYTES + 80, b"\xff")
    node = backup_of(main, main.folder.other())
    driver = node.logs[LOG]
    await driver.tenure.prepare()
    await conclude(driver)
    await until(lambda: driver.state.member.role is Role.BACKUP)
    assert (claimed(main.folder), driver.state.member.unserved) == (2, 1)
    (told,) = driver.state.member.conditions()
    assert (told.kind, told.about) == (Verdict.TAKEOVER_FAILED, "b")
    assert driver.state.member.detector.patience == 2 * node.host.timing.suspect_after


async def test_a_main_that_can_commit_nothing_becomes_the_main_again_after_ever_longer_waits() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    driver = node.logs[LOG]
    member = driver.state.member
    for times in (1, 2):
        await driver.tenure.prepare()
        await conclude(driver)
        await until(lambda: driver.serving is not None)
        service = driver.serving
        assert service is not None
        folder.at("sync", names.segment(service.epoch, 1), before=FolderUnavailable("input/output error"))
        outcome = await service.write(None)
        assert outcome.result is Result.UNKNOWN
        assert (member.role, member.barren) == (Role.BACKUP, times)
        assert member.detector.patience == node.host.timing.suspect_after * 2**times
    await driver.tenure.prepare()
    await conclude(driver)
    await until(lambda: driver.serving is not None)
    assert driver.serving is not None
    await driver.serving.write(None)
    driver.serving.end("the test is over")
    assert member.barren == 0


async def test_a_takeover_that_cannot_be_asked_for_is_told() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    driver = backup_of(main, folder).logs[LOG]
    member = driver.state.member
    await driver.tenure.prepare()
    run(folder.create(names.claim(2), b""))
    member.detector.verdict = Verdict.PRIMARY_FAILED
    await conclude(driver)
    (told,) = member.conditions()
    assert (told.kind, told.severity, told.about) == (Verdict.TAKEOVER_FAILED, Severity.CRITICAL, "b")
    assert names.claim(2) in told.message
    run(folder.remove(names.claim(2)))
    await conclude(driver)
    await until(lambda: driver.serving is not None)
    assert (member.unasked, member.conditions()[1:]) == (None, [])
    assert driver.serving is not None
    driver.serving.end("the test is over")
