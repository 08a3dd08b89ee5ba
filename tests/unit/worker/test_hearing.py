"""What a backup takes from a keep-alive."""

from typing import Any

import msgspec
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
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of


@pytest.fixture
def main() -> Main:
    return serve(bare_folder(), 1)


FAR = Position(1, 1, 1 << 40)


def keepalive(
    incarnation: str,
    epoch: int = 1,
    log: int = LOG,
    committed: Position | None = FAR,
    state: MainState = MainState.SERVING,
) -> KeepAlive:
    news = LogNews(log=log, epoch=epoch, state=state, committed=committed)
    return KeepAlive(member="a", incarnation=incarnation, folder_id=FOLDER_ID, logs=(news,))


def told(main: Main, folder: MemoryFolder, heard: KeepAlive, *, fresh: bool = True) -> Position | None:
    node = backup_of(main, folder)
    assert node.hear(heard, fresh) == (1,)
    return node.logs[LOG].state.committed


async def test_the_main_tells_up_to_where_the_log_is_committed(main: Main) -> None:
    assert told(main, main.folder.other(), keepalive(main.claim.incarnation)) == FAR


@pytest.mark.parametrize("epoch", [0, 1, 2])
async def test_nobody_else_tells(main: Main, epoch: int) -> None:
    assert told(main, main.folder.other(), keepalive("f" * 32, epoch)) is None


async def test_what_is_repeated_tells_nothing(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    detector = node.logs[LOG].state.member.detector
    node.hear(keepalive(main.claim.incarnation), False)
    node.hear(keepalive(main.claim.incarnation, state=MainState.HANDED_OVER), False)
    assert node.logs[LOG].state.committed is None
    assert detector.verdict is Verdict.UNKNOWN
    assert not node.logs[LOG].state.wakers[Duty.WATCH].is_set()


@pytest.mark.parametrize(
    "committed", [None, Position(0, 1, 4096), Position(2, 1, 4096), Position(1, 0, 4096), Position(1, 2, 4095)]
)
async def test_a_commit_position_that_cannot_be_one_of_its_epoch_is_no_bound(
    main: Main, committed: Position | None
) -> None:
    assert told(main, main.folder.other(), keepalive(main.claim.incarnation, committed=committed)) is None


async def test_a_commit_position_never_goes_back(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    for offset in (8192, 4096):
        node.hear(keepalive(main.claim.incarnation, committed=Position(1, 1, offset)), True)
    assert node.logs[LOG].state.committed == Position(1, 1, 8192)


@pytest.mark.parametrize("news", [{"epoch": 2}, {"state": MainState.HANDED_OVER}])
async def test_the_link_makes_nobody_look_at_the_claims_all_the_time(main: Main, news: dict[str, Any]) -> None:
    node = backup_of(main, main.folder.other())
    driver, wakes = node.logs[LOG], 0
    wake = driver.state.wakers[Duty.WATCH]
    began = node.host.now
    for _ in range(1000):
        node.hear(keepalive(main.claim.incarnation, **news), True)
        driver.hearing.answered(9)
        wakes += wake.is_set()
        wake.clear()
    assert 1 <= wakes <= 1 + (node.host.now - began) / node.host.timing.keepalive_interval
    await until(lambda: node.hear(keepalive(main.claim.incarnation, **news), True) == (1,) and wake.is_set())


@pytest.mark.parametrize(
    ("epoch", "hung", "rolling", "ends"),
    [(2, True, False, True), (1, True, False, False), (2, False, False, False), (2, True, True, False)],
)
async def test_a_main_that_cannot_read_the_claims_believes_that_it_was_replaced(
    main: Main, monkeypatch: pytest.MonkeyPatch, *, epoch: int, hung: bool, rolling: bool, ends: bool
) -> None:
    node = backup_of(main, main.folder.other())
    driver, ended = node.logs[LOG], list[str]()
    monkeypatch.setattr(driver.tenure, "end", ended.append)
    driver.tenure.rolling = rolling
    node.host._returned_at = node.host.awake + (-60.0 if hung else 60.0)
    driver.hearing.answered(epoch)
    assert bool(ended) == ends
    assert driver.state.wakers[Duty.WATCH].is_set() == (epoch > 1), "it looks for itself as well"


async def test_news_of_a_log_that_is_not_known_here_is_ignored(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    assert node.hear(keepalive(main.claim.incarnation, epoch=9, log=LOG + 1), True) == (0,)
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
        node.hear(keepalive(main.claim.incarnation), True)
        assert driver.state.member.detector.verdict is Verdict.HEALTHY
        assert len(driver.book.open) == (failures == 3)
        driver.book.update(node.host.now, "", [])


async def test_a_pause_of_this_process_does_not_age_what_others_sent_meanwhile(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    host, pauses = node.host, 0
    host.turn()
    echo = node.verifier.time
    while node.verifier.is_fresh(echo):
        pauses += 1
        host.own_time._turned_at = host.now - 60.0
        host.turn()
    assert pauses * host.timing.keepalive_interval == pytest.approx(2 * host.timing.suspect_after, rel=0.3)


async def test_what_was_sent_for_longer_ago_than_the_clock_allows_is_stale_to_a_worker_that_has_no_place_yet(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = backup_of(main, main.folder.other())
    echo, now = node.verifier.time, node.host.now
    assert node.verifier.is_fresh(echo)
    monkeypatch.setattr(type(node.host), "now", property(lambda _: now + 3 * node.host.timing.suspect_after))
    assert not node.verifier.is_fresh(echo)


async def test_a_main_tells_how_long_its_process_was_paused(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    heard = keepalive(main.claim.incarnation)
    news = msgspec.structs.replace(heard.logs[0], paused=0.125)
    node.hear(msgspec.structs.replace(heard, logs=(news,)), True)
    assert node.logs[LOG].state.member.detector._main_paused == 0.125
    node.host.own_time._turned_at = node.host.now - 60.0
    node.host.turn()
    told = node.logs[LOG]._news(MainState.SERVING)
    assert told.paused == pytest.approx(60.0, abs=1.0)
