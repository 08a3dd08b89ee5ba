"""How far history reaches back, and when a folder gets it (docs/protocol.md, 3.12 and 3.13)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hanas_core.log import records
from hanas_core.members import cluster
from hanas_core.state.index import Index
from hanas_core.state.judge import Write
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_worker.host.duties import Duty
from hanas_worker.log import historian
from hanas_worker.log.historian import Historian, form_of
from hanas_worker.log.state import LogState
from hanas_worker.log.tally import Tally
from tests.unit.core.scenery import FOLDER_ID
from tests.unit.worker.stage import Stage, started


class Clock:
    """A host with a clock that stands still."""

    def __init__(self, stage: Stage) -> None:
        self.now = self.awake = 100.0
        self.peer_silence = 3.0
        self.settings = SimpleNamespace(history_seconds=10.0, history_bytes=1 << 20, compact_bytes=1 << 20)
        self.folder, self.folder_id = stage.folder, FOLDER_ID
        self.members: list[tuple[int, ...]] = []

    def others(self) -> list[Any]:
        return [SimpleNamespace(formats=formats) for formats in self.members]

    async def in_lane(self, duty: object, procedure: Coroutine[Any, Any, Any]) -> Any:
        del duty
        return await procedure

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.awake += seconds


class Scene:
    """A main and its historian."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.service = stage, stage.service
        self.host = Clock(stage)
        self.wakers = defaultdict[Duty, asyncio.Event](asyncio.Event)
        self.state = SimpleNamespace(service=stage.service, host=self.host, wakers=self.wakers, tally=Tally())
        self.historian = Historian(cast("LogState", self.state))

    async def write(self, count: int = 1) -> None:
        for _ in range(count):
            await self.service.write(Write(b"k", b"v"))

    async def look(self) -> int:
        """Look, and return from which revision on there is history."""
        await self.historian.look()
        await self.service.write(None)
        return self.service.index.compacted


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    stage = await started()
    content = cluster.encode(cluster.Cluster(FOLDER_ID, 2))
    run(stage.folder.create(names.CLUSTER, content))
    run(cluster.identify(stage.folder, FOLDER_ID))
    yield Scene(stage)
    stage.service.end("the test is over")


async def test_a_folder_gets_revisions_when_all_that_live_know_them(scene: Scene) -> None:
    host, service = scene.host, scene.service
    await scene.write()
    host.members = [(2,), (2, 3)]
    for _ in range(3):
        await scene.look()
        host.wait(3.0)
    assert (service.form, scene.stage.folder.format) == (records.PLAIN, 2), "one of them does not"
    host.members = [(2, 3)]
    await scene.look()
    assert (service.form, scene.stage.folder.format) == (records.REVISED, 3)
    assert run(cluster.identify(scene.stage.folder.other(), FOLDER_ID)).format == 3
    await scene.write(2)
    assert (service.index.revision, service.index.compacted, service.index.form) == (4, 2, records.REVISED)


async def test_it_waits_until_it_is_known_who_lives(scene: Scene) -> None:
    await scene.look()
    scene.host.wait(2.9)
    await scene.look()
    assert scene.service.form == records.PLAIN
    scene.host.wait(0.2)
    await scene.look()
    assert scene.service.form == records.REVISED


async def test_an_epoch_that_ended_meanwhile_gets_no_revisions(scene: Scene) -> None:
    await scene.look()
    scene.host.wait(4.0)
    scene.service.end("meanwhile")
    await scene.historian.look()
    assert (scene.service.form, scene.stage.folder.format) == (records.PLAIN, 3)


async def test_nobody_but_the_main_looks_after_it(scene: Scene) -> None:
    scene.state.service = None
    await scene.historian.look()
    assert scene.stage.folder.format == 2


async def test_history_reaches_back_so_far(scene: Scene) -> None:
    scene.service.form = records.REVISED
    assert await scene.look() == 1
    await scene.write(5)
    scene.host.wait(6.0)
    assert await scene.look() == 1
    await scene.write(5)
    scene.host.wait(5.0)
    assert await scene.look() == 1, "of the revision that was present 10 s ago nothing is forgotten"
    scene.host.wait(5.0)
    assert await scene.look() == 6
    scene.host.wait(100.0)
    assert await scene.look() == 11
    assert len(scene.service.index.keys.history) == 0


async def test_history_takes_no_more_than_this(scene: Scene) -> None:
    scene.service.form = records.REVISED
    await scene.look()
    await scene.write(10)
    history = scene.service.index.keys.history
    scene.host.settings.history_bytes = int(history.bytes / 0.9) + 9
    assert await scene.look() == 1
    await scene.write(10)
    assert await scene.look() == 13
    assert history.bytes <= 0.8 * scene.host.settings.history_bytes
    scene.host.wait(11.0)
    assert await scene.look() == 21


async def test_past_values_take_no_more_of_the_volume_than_this(scene: Scene) -> None:
    scene.service.form = records.REVISED
    await scene.look()
    await scene.write(10)
    keys = scene.service.index.keys
    assert keys.past_bytes == 9
    scene.host.settings.compact_bytes = 10
    assert await scene.look() == 1
    await scene.write(10)
    assert scene.state.tally.cuts == 0
    assert await scene.look() > 10
    assert keys.past_bytes <= 8
    assert scene.state.tally.cuts == 1, "before its time"


async def test_not_too_much_is_forgotten_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historian, "_AT_ONCE", 4)
    scene.service.form = records.REVISED
    await scene.write(10)
    await scene.look()
    scene.host.wait(11.0)
    for compacted in (5, 9, 11):
        scene.wakers[Duty.HISTORY].clear()
        assert await scene.look() == compacted
        assert scene.wakers[Duty.HISTORY].is_set(), "there may be more"
    assert scene.state.tally.cuts == 0, "it was time"
    scene.wakers[Duty.HISTORY].clear()
    assert await scene.look() == 11
    assert not scene.wakers[Duty.HISTORY].is_set()


async def test_a_main_that_hands_over_forgets_nothing_more(scene: Scene) -> None:
    scene.service.form = records.REVISED
    await scene.write(10)
    await scene.look()
    scene.host.wait(11.0)
    await scene.service.drain()
    await scene.historian.look()
    assert scene.service.index.compacted == 1
    assert not scene.wakers[Duty.HISTORY].is_set(), "it would look again and again"


async def test_a_full_volume_keeps_no_history(scene: Scene) -> None:
    scene.service.form = records.REVISED
    await scene.write(3)
    scene.service.reserve_lacks()
    assert await scene.look() == 4


def test_what_a_main_writes() -> None:
    index = Index()
    assert form_of(2, index) == records.PLAIN
    assert form_of(3, index) == records.REVISED
    index.form = records.REVISED
    assert form_of(2, index) == records.REVISED, "what was seen of the folder is older than its log"
