"""What a backup takes from a keep-alive."""

import pytest

from hanas_core.log.positions import Position
from hanas_core.members.documents import LOG
from hanas_core.members.roles import MainState
from hanas_core.members.verdicts import Verdict
from hanas_worker.host.duties import Duty
from hanas_worker.log.news import LogNews
from hanas_worker.neighbours.keepalives import KeepAlive
from hanas_worker.node import Node
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Main, bare_folder, serve
from tests.unit.worker.nodes import backup_of


@pytest.fixture
def main() -> Main:
    return serve(bare_folder(), 1)


def keepalive(incarnation: str, epoch: int = 1, log: int = LOG) -> KeepAlive:
    return KeepAlive(
        member="a",
        incarnation=incarnation,
        folder_id=FOLDER_ID,
        logs=(LogNews(log=log, epoch=epoch, state=MainState.SERVING, committed=Position(1, 1, 1 << 40)),),
    )


def told(main: Main, folder: MemoryFolder, heard: KeepAlive) -> Position | None:
    node = backup_of(main, folder)
    assert node.hear(heard) == (1,)
    return node.logs[LOG].state.committed


async def test_the_main_tells_up_to_where_the_log_is_committed(main: Main) -> None:
    assert told(main, main.folder.other(), keepalive(main.claim.incarnation)) == Position(1, 1, 1 << 40)


@pytest.mark.parametrize("epoch", [0, 1, 2])
async def test_nobody_else_tells(main: Main, epoch: int) -> None:
    assert told(main, main.folder.other(), keepalive("f" * 32, epoch)) is None


async def test_news_of_a_log_that_is_not_known_here_is_ignored(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    assert node.hear(keepalive(main.claim.incarnation, epoch=9, log=LOG + 1)) == (0,)
    assert node.logs[LOG].state.committed is None
    assert not node.logs[LOG].state.wakers[Duty.WATCH].is_set()


def fail_the_link(main: Main, node: Node) -> None:
    """Let a second go by in which no keep-alive came, and the probe was answered."""
    detector, now = node.logs[LOG].state.member.detector, node.host.now
    detector.restart(now - 1.0)
    assert detector.tick(now - 0.8, "nonce") is None
    assert detector.tick(now - 0.7, "nonce") is not None
    detector.looked(now - 0.6, now - 0.65, ("nonce", main.claim.epoch, main.claim.incarnation, False))
    assert detector.verdict is Verdict.LINK_FAILED


async def test_a_failure_that_ends_between_two_ticks_counts_as_one(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    driver = node.logs[LOG]
    for failures in (1, 2, 3):
        fail_the_link(main, node)
        node.hear(keepalive(main.claim.incarnation))
        assert driver.state.member.detector.verdict is Verdict.HEALTHY
        assert len(driver.book.open) == (failures == 3)
        driver.book.update(node.host.now, "", [])
