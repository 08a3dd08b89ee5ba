"""A main on a full volume takes names ahead, refuses what finds no room, and stays the main; on a folder in memory."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.timing import LAN
from hanas_core.members.verdicts import Verdict
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.upkeep.compaction import Plan
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable, Missing, NoSpace
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.service import Service
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, fresh_backup, serve
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)
SECOND, THIRD = names.segment(2, 2), names.segment(2, 3)
LARGE = bytes(1_000_000)
"""Not two of these fit into one segment beside what is kept for deletes."""


class Serving:
    """A new main of epoch 2 that has cleaned up after epoch 1 and has prepared nothing further."""

    def __init__(self, driver: LogDriver, folder: MemoryFolder, service: Service) -> None:
        self.driver = driver
        self.folder = folder
        self.service = service
        self.number = 0

    async def put(self, value: bytes = LARGE) -> Result:
        self.number += 1
        outcome = await self.service.write(Write(f"k{self.number}".encode(), value))
        return outcome.result

    def full(self) -> bool:
        return self.service.full

    def has_space(self) -> bool:
        return self.service.log.spare is not None

    def segments(self) -> list[str]:
        return [f"{names.SEGMENTS}/{base}" for base in run(self.folder.other().names(names.SEGMENTS))]


@pytest.fixture
async def main() -> AsyncIterator[Serving]:
    former = serve(bare_folder(), 1)
    former.spare()
    former.put("k", "v")
    folder = former.folder.other()
    driver = backup_of(former, folder).logs[LOG]
    await driver.tenure.prepare()
    await driver.challenge(Conclude(1, Verdict.PRIMARY_FAILED, GONE))
    await until(lambda: driver.serving is not None)
    service = driver.serving
    assert service is not None
    serving = Serving(driver, folder, service)
    await until(lambda: names.segment(1, 2) not in serving.segments())
    yield serving
    service.end("the test is over")


async def test_a_new_main_removes_the_name_that_the_one_before_it_had_taken(main: Serving) -> None:
    assert main.segments() == [names.segment(1, 1), names.segment(2, 1)]
    assert main.folder.log("remove").count(f"remove {names.segment(1, 2)}") == 1


async def test_leftovers_that_cannot_be_removed_harm_nobody() -> None:
    former = serve(bare_folder(), 1)
    former.spare()
    folder = former.folder.other()
    driver = backup_of(former, folder).logs[LOG]
    await driver.tenure.prepare()
    folder.at("remove", names.SEGMENTS, before=FolderUnavailable("no answer"))
    await driver.challenge(Conclude(1, Verdict.PRIMARY_FAILED, GONE))
    await until(lambda: driver.serving is not None and not folder.planned)
    assert driver.serving is not None
    assert not driver.state.host.mistake.done()
    driver.serving.end("the test is over")


@pytest.mark.parametrize("took_effect", [False, True])
async def test_no_room_for_the_next_name_is_a_full_volume_and_not_the_end(main: Serving, took_effect: bool) -> None:
    full = NoSpace("no space left on device")
    main.folder.at("link", SECOND, before=None if took_effect else full, after=full if took_effect else None)
    with pytest.raises(NoSpace):
        await main.driver.tenure.prepare()
    assert main.full()
    assert [await main.put() for _ in range(2)] == [Result.CREATED, Result.NO_SPACE]
    assert (await main.service.write(Write(b"k", None))).result is Result.DELETED, "the reserve is kept for this"
    assert await main.service.write(None) == Outcome(Result.COMMITTED)
    assert not main.service.ended
    await main.driver.tenure.prepare()
    assert not main.full()
    assert await main.put() is Result.CREATED
    assert await main.put(b"the first of the next segment" + LARGE) is Result.CREATED
    assert main.service.applied[:2] == (2, 2)
    assert len(fresh_backup(main.folder.other(), 2, main.service.applied).index) == 3


async def test_a_write_that_waits_for_a_segment_that_cannot_be_prepared_is_refused(
    main: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = FolderUnavailable(f"{SECOND}: is a directory")

    async def prepare() -> None:
        main.folder.at("link", SECOND, before=taken)
        with pytest.raises(FolderUnavailable):
            await main.driver.tenure.prepare()

    await prepare()
    assert not main.full()
    assert await main.put() is Result.CREATED
    waiting = asyncio.create_task(main.put())
    await until(lambda: main.service.starving_for > 0)
    await prepare()
    assert not main.full(), "it may come yet"
    told = [condition.message for condition in main.driver.state.member.conditions()]
    assert [message for message in told if f"no further segment: {SECOND}: is a directory; writes go on" in message]
    monkeypatch.setattr(Service, "starving_for", 1.5 * LAN.stall_limit)
    await prepare()
    assert main.full()
    assert await waiting is Result.NO_SPACE
    monkeypatch.undo()
    assert (await main.service.write(None)).result is Result.COMMITTED
    assert (main.service.ended, main.service.starving_for) == (False, 0.0)
    await main.driver.tenure.prepare()
    assert (main.full(), main.driver.state.member.unprepared) == (False, "")
    assert await main.put() is Result.CREATED


async def test_space_that_was_lost_is_made_anew(main: Serving) -> None:
    main.folder.at("link", SECOND, before=Missing("no such file"))
    with pytest.raises(Missing):
        await main.driver.tenure.prepare()
    assert not main.has_space()
    await main.driver.tenure.prepare()
    assert main.has_space()
    assert not main.service.ended


async def test_space_that_an_epoch_took_meanwhile_is_not_given_to_the_log_before_it(main: Serving) -> None:
    taken: list[str] = []
    main.folder.at("link", SECOND, after=lambda: taken.append(main.driver.tenure._spares.pop()))
    await main.driver.tenure.prepare()
    assert len(taken) == 1
    assert main.service.log.spare is None


async def test_every_roll_has_its_name_ahead(main: Serving) -> None:
    for _ in range(6):
        await main.driver.tenure.prepare()
        assert await main.put() is Result.CREATED
    assert main.service.applied[:2] == (2, 3)
    links = [line.removeprefix("link ") for line in main.folder.log("link") if names.SEGMENTS in line]
    assert links == [names.segment(2, number) for number in range(1, 5)]


async def test_a_compaction_gives_up_the_reserve_for_its_claim(main: Serving) -> None:
    tenure = main.driver.tenure
    await tenure.prepare()
    reserves = list(tenure._reserves)
    assert len(reserves) == 6
    main.folder.operations.clear()

    def look() -> None:
        assert main.folder.log("remove") == [f"remove {reserve}" for reserve in reserves[:3]]

    main.folder.at("link", names.CLAIMS, before=look)
    assert await tenure.roll(main.service, Plan(0, (), 0, 0), (), None)
    assert not main.folder.planned
    assert main.service.epoch == 3
    assert tenure._reserves == reserves[3:]
    await tenure.prepare()
    assert len(tenure._reserves) == 6
    assert main.service.log.spare is not None
    assert await main.put() is Result.CREATED


# ---------------------------------------------------------------------- a log that fills fast


def stock_of(main: Serving) -> int:
    return len(main.driver.tenure._spares)


async def fill_fast(main: Serving) -> None:
    """Have two segments used in a quarter of a second, where preparing one takes as long."""
    await main.driver.tenure.prepare()
    await main.driver.tenure.prepare()
    now, pace = main.driver.state.host.now, main.driver.tenure._pace
    pace.used(now - 0.25)
    pace.used(now)
    pace.prepared(0.25)


async def stock_slowly(main: Serving) -> None:
    """Prepare more, on a volume where that took long the last time."""
    main.driver.tenure._pace.prepared(10.0)
    await main.driver.tenure.stock()


async def test_more_is_prepared_while_the_log_fills_fast(main: Serving) -> None:
    await main.driver.tenure.stock()
    assert stock_of(main) <= 1, "a log that hardly grows needs no more"
    await fill_fast(main)
    for stock in (2, 3, 4):
        await stock_slowly(main)
        assert stock_of(main) == stock


async def test_a_volume_with_little_room_gets_no_stock_and_is_not_full_for_that(main: Serving) -> None:
    await fill_fast(main)
    main.folder.free_bytes = 5 << 20
    await main.driver.tenure.stock()
    assert (stock_of(main), main.full()) == (1, False)


async def test_a_stock_that_nobody_needs_goes_but_for_one(main: Serving) -> None:
    await fill_fast(main)
    await stock_slowly(main)
    await stock_slowly(main)
    assert stock_of(main) == 3
    spares = list(main.driver.tenure._spares)
    main.service.end("another one took over")
    while stock_of(main) > 1:
        before = stock_of(main)
        await main.driver.tenure.stock()
        assert stock_of(main) == before - 1
    await main.driver.tenure.stock()
    assert stock_of(main) == 1
    present = {f"{names.TEMPORARY}/{base}" for base in run(main.folder.other().names(names.TEMPORARY))}
    assert len(present.intersection(spares)) <= 1
