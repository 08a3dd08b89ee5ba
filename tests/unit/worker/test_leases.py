"""Leases at the main: lease time, renewals, expiries, and what clients are told of them (docs/protocol.md, 3.14)."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanas_core.log import records
from hanas_core.log.claimfile import Seal
from hanas_core.log.positions import Version
from hanas_core.log.seals import write_seal
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.leases import Lease
from hanas_core.state.remembered import Done
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_worker.log import lessor
from hanas_worker.log.deadlines import CHECKPOINT_AFTER, MOST_STEP, Deadlines, LeaseTime
from hanas_worker.log.lessor import Lessor, Renewal
from hanas_worker.log.tally import Tally
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.stage import Gate, Stage, started

ONE = Version(1, 1)

# ---------------------------------------------------------------------- lease time and deadlines


def test_lease_time_moves_on_with_checks_and_not_through_pauses() -> None:
    time = LeaseTime(100.0)
    assert time.now(100.4) == pytest.approx(0.4)
    assert time.checked(100.4) == pytest.approx(0.4)
    assert time.checked(900.0) == pytest.approx(0.4 + MOST_STEP)
    assert time.now(900.0) == pytest.approx(0.4 + MOST_STEP)
    assert time.now(910.0) == pytest.approx(10.4 + MOST_STEP), "who is given time gets at least what was said"


def test_each_lease_begins_with_what_remains_of_it() -> None:
    deadlines = Deadlines([(1, Lease(*ONE, 30, 10, 1)), (2, Lease(*ONE, 30, 30, 1))])
    assert deadlines.due(9.9, 9) == []
    assert [held.lease for held in deadlines.due(10.0, 9)] == [1]
    assert deadlines.due(11.0, 9) == [], "it is told once"


def test_a_renewal_and_a_new_grant_count_and_not_what_was_before() -> None:
    deadlines = Deadlines([(1, Lease(*ONE, 5, 5, 1)), (2, Lease(*ONE, 5, 5, 1)), (3, Lease(*ONE, 5, 5, 1))])
    held = deadlines.get(1)
    assert held is not None
    deadlines.renew(held, 4.0)
    deadlines.end(2, ONE)
    deadlines.begin(2, Version(1, 7), 9, 4.0)
    deadlines.end(3, Version(9, 9))
    assert [held.lease for held in deadlines.due(6.0, 9)] == [3]
    assert [(held.lease, held.deadline) for held in deadlines.due(9.0, 9)] == [(1, 9.0), (2, 13.0)]
    assert deadlines.due(13.0, 9) == []
    assert len(deadlines) == 3


def test_no_more_are_due_than_may_be() -> None:
    deadlines = Deadlines((lease, Lease(*ONE, 1, 1, 1)) for lease in range(1, 10))
    assert len(deadlines.due(2.0, 4)) == 4
    assert len(deadlines.due(2.0, 9)) == 5


def test_a_lease_has_one_place_however_often_it_gets_one() -> None:
    deadlines = Deadlines([(1, Lease(*ONE, 1, 1, 1))])
    held = deadlines.get(1)
    assert held is not None
    deadlines.again(held)
    assert len(deadlines.due(2.0, 9)) == 1
    assert deadlines.due(2.0, 9) == []
    deadlines.again(held)
    deadlines.end(1, ONE)
    assert deadlines.due(2.0, 9) == []
    deadlines.again(held)
    assert deadlines.due(2.0, 9) == []


def test_the_garbage_collector_has_nothing_to_look_at_in_the_tables() -> None:
    def tracked() -> int:
        gc.collect()
        return len(gc.get_objects())

    index, before = Index(), tracked()
    for number in range(1, 1001):
        index.leases.grant(number, 30, Version(1, number))
        index.leases.attach(b"%d" % number, number)
        index.remembered.put(f"{number}", Done(b"hash", 1, number, created=True, deleted=False))
    deadlines = Deadlines(index.leases.all())
    assert len(deadlines) == 1000
    assert tracked() - before < 20


# ---------------------------------------------------------------------- at a service


class Scene:
    """A main and its leases, with a clock that stands still."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.service = stage, stage.service
        self.service.form = records.REVISED
        self.clock = 100.0
        self.tally = Tally()
        self.begin()

    def begin(self) -> None:
        """Begin anew, as a new main does."""
        self.lessor = Lessor(self.service, lambda: self.clock, self.tally)

    async def grant(self, lease: int = 7, ttl: int = 10, *keys: str) -> None:
        outcome, epoch = await self.lessor.grant(lease, ttl)
        assert (outcome.result, epoch) == (Result.LEASE_GRANTED, 1)
        for key in keys:
            await self.service.write(Write(key.encode(), b"v", lease=lease))

    async def wait(self, seconds: float) -> None:
        """Let so many seconds pass, with looks in time."""
        while seconds > 0:
            step = min(seconds, 0.5)
            self.clock += step
            seconds -= step
            await self.look()

    async def look(self) -> None:
        await self.lessor.look()
        await self.service.write(None)

    @property
    def keys(self) -> list[str]:
        return [key.decode() for key, _ in self.service.index.page(b"", b"", 99).entries]

    def left(self, lease: int = 7) -> float:
        told = self.lessor.told(lease)
        assert told is not None
        return told.left

    def remaining(self, lease: int = 7) -> int:
        stored = self.service.index.leases.get(lease)
        assert stored is not None
        return stored.remaining


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    stage = await started()
    yield Scene(stage)
    stage.service.end("the test is over")


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(AMPLE_SECONDS):
        return await awaitable


async def test_a_lease_that_nobody_renews_expires_with_its_keys_in_one_revision(scene: Scene) -> None:
    await scene.grant(7, 10, "a", "b")
    await scene.service.write(Write(b"c", b"v"))
    await scene.wait(9.5)
    assert scene.keys == ["a", "b", "c"]
    await scene.wait(0.5)
    assert (scene.keys, scene.service.index.revision) == (["c"], 5)
    assert scene.tally.expiries == 1
    assert scene.lessor.told(7) is None
    assert await scene.lessor.keep_alive(7) == Renewal(Result.LEASE_NOT_FOUND)


async def test_a_lease_that_is_renewed_stays(scene: Scene) -> None:
    await scene.grant(7, 10, "a")
    for _ in range(5):
        await scene.wait(9.0)
        assert await scene.lessor.keep_alive(7) == Renewal(Result.COMMITTED, 10)
        assert scene.left() == pytest.approx(10.0)
    await scene.wait(10.0)
    assert scene.keys == []


async def test_a_pause_takes_no_lease_time(scene: Scene) -> None:
    await scene.grant(7, 10, "a")
    scene.clock += 1000.0
    await scene.look()
    assert scene.left() == pytest.approx(10.0 - MOST_STEP)
    await scene.wait(10.0 - MOST_STEP)
    assert scene.keys == []


async def test_without_leases_there_is_no_check_and_time_goes_on(scene: Scene) -> None:
    checks = scene.service.checks
    await scene.wait(5.0)
    assert scene.service.checks == checks
    await scene.grant(7, 1)
    assert scene.left() == pytest.approx(1.0)


async def test_a_keep_alive_is_answered_after_a_check_that_began_after_it(scene: Scene) -> None:
    await scene.grant()
    gate = Gate()
    scene.stage.folder.at("read", names.claim(1), before=gate)
    renewal = asyncio.create_task(scene.lessor.keep_alive(7))
    await until(gate.reached.is_set)
    await asyncio.sleep(0)
    assert not renewal.done()
    gate.open()
    assert await soon(renewal) == Renewal(Result.COMMITTED, 10)


async def test_a_main_that_was_replaced_renews_and_expires_nothing(scene: Scene) -> None:
    await scene.grant(7, 10, "a")
    run(write_seal(scene.stage.folder.other(), 1, Seal(2, "b", "b" * 32)))
    scene.clock += 1.0
    assert await soon(scene.lessor.keep_alive(7)) == Renewal(Result.NOT_MAIN)
    scene.clock += 1.0
    before = scene.left()
    await scene.lessor.look()
    assert (scene.left(), scene.keys) == (before, ["a"])
    outcome, _ = await scene.lessor.grant(8, 10)
    assert outcome.result is Result.NOT_MAIN


async def test_a_renewal_that_races_an_expiry_gets_its_outcome(scene: Scene) -> None:
    await scene.grant(7, 1, "a")
    gate = Gate()
    scene.stage.folder.at("sync", names.segment(1, 1), before=gate)
    scene.clock += 1.0
    await scene.lessor.look()
    await until(gate.reached.is_set)
    renewals = [asyncio.create_task(scene.lessor.keep_alive(7)) for _ in range(3)]
    for _ in range(5):
        await scene.service.fence()
    assert not any(renewal.done() for renewal in renewals)
    renewals.pop().cancel()
    gate.open()
    assert [await soon(renewal) for renewal in renewals] == 2 * [Renewal(Result.LEASE_NOT_FOUND)]


async def test_an_expiry_that_finds_no_room_is_asked_for_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.grant(7, 1, "a")
    submit = scene.service.submit

    def refuse(_: Any, written: Any) -> None:
        written(Outcome(Result.NO_SPACE), 1)

    monkeypatch.setattr(scene.service, "submit", refuse)
    scene.clock += 1.0
    await scene.lessor.look()
    monkeypatch.setattr(scene.service, "submit", submit)
    assert scene.keys == ["a"]
    assert await soon(scene.lessor.keep_alive(7)) == Renewal(Result.COMMITTED, 1)
    await scene.wait(0.5)
    assert scene.keys == ["a"]
    await scene.wait(1.0)
    assert scene.keys == []


async def test_expiries_are_paced(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessor, "MOST_AT_ONCE", 3)
    for lease in range(1, 9):
        await scene.grant(lease, 1)
    scene.clock += 1.0
    counts = []
    for _ in range(4):
        await scene.look()
        counts.append(len(scene.service.index.leases))
    assert counts == [5, 2, 0, 0]


async def test_what_remains_is_noted_and_a_new_main_gives_no_more(scene: Scene) -> None:
    await scene.grant(7, 1000, "a")
    await scene.grant(8, 200, "b")
    await scene.wait(CHECKPOINT_AFTER)
    assert (scene.remaining(), scene.keys) == (700, ["a"])
    scene.begin()
    assert scene.left() == pytest.approx(700.0)
    await scene.wait(CHECKPOINT_AFTER)
    assert scene.remaining() == 400


async def test_a_renewal_is_noted_before_it_is_told(scene: Scene) -> None:
    await scene.grant(7, 1000, "a")
    await scene.wait(CHECKPOINT_AFTER)
    assert await soon(scene.lessor.keep_alive(7)) == Renewal(Result.COMMITTED, 1000)
    assert scene.remaining() == 1000
    assert scene.left() == pytest.approx(1000.0)
    sequence = scene.service.index.sequence
    assert await soon(scene.lessor.keep_alive(7)) == Renewal(Result.COMMITTED, 1000)
    assert scene.service.index.sequence == sequence
    scene.begin()
    assert scene.left() == pytest.approx(1000.0)


async def test_a_renewal_waits_for_a_checkpoint_of_less(scene: Scene) -> None:
    await scene.grant(7, 1000, "a")
    await scene.wait(CHECKPOINT_AFTER - 0.5)
    gate = Gate()
    scene.stage.folder.at("sync", names.segment(1, 1), before=gate)
    scene.clock += 0.5
    await scene.lessor.look()
    await until(gate.reached.is_set)
    renewal = asyncio.create_task(scene.lessor.keep_alive(7))
    for _ in range(5):
        await scene.service.fence()
    assert not renewal.done()
    gate.open()
    assert await soon(renewal) == Renewal(Result.COMMITTED, 1000)
    assert scene.remaining() == 1000


async def test_a_renewal_that_cannot_be_noted_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.grant(7, 1000, "a")
    await scene.wait(CHECKPOINT_AFTER)
    submit = scene.service.submit
    for result in (Result.BUSY, Result.NO_SPACE):
        monkeypatch.setattr(scene.service, "submit", lambda _, written, result=result: written(Outcome(result), 1))
        assert await soon(scene.lessor.keep_alive(7)) == Renewal(result)
    monkeypatch.setattr(scene.service, "submit", submit)
    assert await soon(scene.lessor.keep_alive(7)) == Renewal(Result.COMMITTED, 1000)


async def test_a_checkpoint_that_finds_no_room_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.grant(7, 1000, "a")
    await scene.wait(CHECKPOINT_AFTER - 0.5)
    submit = scene.service.submit
    monkeypatch.setattr(scene.service, "submit", lambda _, written: written(Outcome(Result.BUSY), 1))
    scene.clock += 0.5
    await scene.lessor.look()
    monkeypatch.setattr(scene.service, "submit", submit)
    await scene.wait(0.5)
    assert scene.remaining() == 1000
    await scene.wait(0.5)
    assert scene.remaining() == 699


async def test_what_ends_in_flight_renews_nothing(scene: Scene) -> None:
    await scene.grant(7, 1000, "a")
    await scene.wait(CHECKPOINT_AFTER)
    gate = Gate()
    scene.stage.folder.at("sync", names.segment(1, 1), before=gate)
    renewal = asyncio.create_task(scene.lessor.keep_alive(7))
    await until(gate.reached.is_set)
    scene.service.end("the test says so")
    gate.open()
    assert await soon(renewal) == Renewal(Result.NOT_MAIN)
    assert scene.remaining() == 700


async def test_who_goes_away_leaves_the_lease_granted_and_revoked(scene: Scene) -> None:
    for call, there in ((scene.lessor.grant(7, 10), True), (scene.lessor.revoke(7), False)):
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        task.cancel()
        await scene.service.write(None)
        await scene.service.write(None)
        assert (scene.lessor.told(7) is not None) is there


async def test_a_revoke_of_a_lease_that_is_not_there_changes_nothing(scene: Scene) -> None:
    outcome, _ = await scene.lessor.revoke(7)
    assert outcome.result is Result.LEASE_NOT_FOUND
    await scene.grant(7, 10)
    outcome, _ = await scene.lessor.grant(7, 10)
    assert outcome.result is Result.LEASE_EXISTS
