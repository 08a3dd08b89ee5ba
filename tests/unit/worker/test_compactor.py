"""A compaction that fails is tried again ever more rarely: one that fails late costs two epochs."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from hanas_core.members.documents import LOG
from hanas_core.upkeep.compaction import Plan
from hanas_core.volume.errors import Corruption, FolderError, NoSpace
from hanas_worker.host.host import Host
from hanas_worker.log.compactor import Compactor
from hanas_worker.log.service import Service
from hanas_worker.log.tenure import Tenure
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.stage import started

WEEK = 7 * 24 * 3600.0


class Tries:
    """A compactor that finds something to do at each look, and fails; its time is set by hand."""

    def __init__(self, compactor: Compactor) -> None:
        self.compactor = compactor
        self.now = float(round(asyncio.get_running_loop().time()))
        self.times: list[float] = []
        self.error: FolderError | None = None

    async def look(self, seconds: float, interval: float) -> list[float]:
        """Let time pass; return the pauses between the tries."""
        self.times.clear()
        end = self.now + seconds
        while self.now < end:
            self.now += interval
            if self.error is None:
                await self.compactor.compact()
            else:  # what is wrong is told between the tries, too
                with pytest.raises(type(self.error), match=str(self.error)):
                    await self.compactor.compact()
        return [later - earlier for earlier, later in itertools.pairwise(self.times)]


@pytest.fixture
async def tries(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tries]:
    stage = await started()
    driver = backup_of(serve(bare_folder(), 1), bare_folder()).logs[LOG]
    driver.state.service = stage.service
    made = Tries(driver.compactor)

    async def plan(_: Compactor, service: Service) -> Plan:
        del service
        return Plan(0, (), 0, 0)

    async def merge(_: Compactor, service: Service, plan: Plan) -> tuple[()]:
        del service, plan
        made.times.append(made.now)
        if made.error is not None:
            raise made.error
        return ()

    async def roll(*_: object) -> bool:
        return False

    monkeypatch.setattr(Host, "now", property(lambda _: made.now))
    monkeypatch.setattr(Compactor, "_plan", plan)
    monkeypatch.setattr(Compactor, "_merge", merge)
    monkeypatch.setattr(Tenure, "roll", roll)
    yield made
    stage.service.end("the test is over")


@pytest.mark.parametrize("error", [None, Corruption("segments/0000000001-000001: at offset 4096 there is a bad batch")])
async def test_one_that_fails_waits_ever_longer(tries: Tries, error: FolderError | None) -> None:
    tries.error = error
    pauses = await tries.look(WEEK, 10.0)
    assert pauses[:6] == [10.0, 10.0, 20.0, 40.0, 80.0, 160.0]  # of 5 s at first, looked for every 10 s
    assert pauses[-1] == max(pauses) == 4 * 3600.0
    assert sum(time < tries.now - WEEK + 24 * 3600.0 for time in tries.times) < 20


async def test_one_that_finds_no_room_is_tried_again_at_once(tries: Tries) -> None:
    tries.error = NoSpace("tmp/a: no space left on device")
    assert set(await tries.look(600.0, 10.0)) == {10.0}
