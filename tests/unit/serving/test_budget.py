"""The budget of memory: who gets some, who waits, who loses it, and that nothing is lost count of."""

import asyncio
from collections.abc import Callable

import pytest

from hanas_serving import budget as budget_module
from hanas_serving.budget import Budget, Hold, NoMemory
from tests.unit.waiting import AMPLE_SECONDS, until

KIB = 1 << 10
ROOM = 800 * KIB
ASKED = 700 * KIB
"""What of the room those get that ask."""


@pytest.fixture
def memory() -> Budget:
    return Budget(ROOM)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(budget_module, "_TICK_SECONDS", 0.01)


def holding(memory: Budget, size: int, moved: Callable[[], int] = int) -> Hold:
    """A hold that lets go when it is told to."""

    def lose() -> None:
        asyncio.get_running_loop().call_soon(hold.release)

    hold = Hold(memory, lose, moved)
    hold.resize(size)
    return hold


def lost(*holds: Hold) -> int:
    return sum(hold.loses for hold in holds)


async def test_those_that_ask_wait_in_order_and_leave_an_eighth(memory: Budget) -> None:
    first, second, third = (Hold(memory, None) for _ in range(3))
    await memory.wait(first, ASKED)
    assert memory.used == ASKED
    assert not memory.fits(1)
    assert memory.takes(ROOM - ASKED)
    waiting = [asyncio.create_task(memory.wait(hold, size)) for hold, size in ((second, ASKED), (third, KIB))]
    await asyncio.sleep(0)
    first.resize(KIB)  # the third one would fit, the second one is before it
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    first.release()
    await waiting[0]
    assert (second.size, third.size, memory.used) == (ASKED, 0, ASKED)
    second.resize(ASKED - KIB)
    await waiting[1]
    second.release()
    third.release()
    assert (memory.used, memory.holds) == (0, set())


async def test_what_is_set_aside_is_no_room() -> None:
    memory = Budget(ROOM + 64 * KIB, aside=64 * KIB)
    assert memory.most == ROOM + 64 * KIB
    assert memory.fits(ASKED)
    assert not memory.fits(ASKED + 1)


async def test_more_than_there_ever_is_gets_everything(memory: Budget) -> None:
    hold = Hold(memory, None)
    await memory.wait(hold, 10 * ROOM)
    assert hold.size == ASKED


async def test_one_that_waits_in_vain_is_refused_and_those_behind_it_go_on(
    memory: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "_PATIENCE_SECONDS", 0.05)
    busy, large, small = Hold(memory, None), Hold(memory, None), Hold(memory, None)
    await memory.wait(busy, ASKED // 2)
    waiting = asyncio.create_task(memory.wait(large, ASKED))
    await asyncio.sleep(0)
    monkeypatch.setattr(budget_module, "_PATIENCE_SECONDS", AMPLE_SECONDS)
    behind = asyncio.create_task(memory.wait(small, KIB))
    with pytest.raises(NoMemory):
        await waiting
    await behind
    assert (large.size, small.size, memory.refusals, memory.losses) == (0, KIB, 1, 0)


async def test_one_that_goes_away_while_it_waits_gets_nothing(memory: Budget) -> None:
    busy, gone = Hold(memory, None), Hold(memory, None)
    await memory.wait(busy, ASKED)
    waiting = asyncio.create_task(memory.wait(gone, KIB))
    await asyncio.sleep(0)
    waiting.cancel()
    busy.release()  # before the task has run
    await asyncio.gather(waiting, return_exceptions=True)
    assert (gone.size, memory.used) == (0, 0)
    assert memory.fits(ASKED)


async def test_the_slowest_lose_first_and_no_more_than_needed(memory: Budget) -> None:
    fast = holding(memory, 200 * KIB, moved=lambda: 200 * KIB)
    slow = holding(memory, 200 * KIB, moved=lambda: KIB)
    slowest = holding(memory, 200 * KIB)
    at_work = Hold(memory, None)
    at_work.resize(100 * KIB)
    honest = Hold(memory, None)
    async with asyncio.timeout(AMPLE_SECONDS):
        await memory.wait(honest, 200 * KIB)
    assert (fast.size, slow.size, slowest.size, at_work.size) == (200 * KIB, 200 * KIB, 0, 100 * KIB)
    assert (memory.losses, memory.refusals) == (1, 0)
    assert memory.used == ASKED
    assert not slowest.loses


async def test_nobody_loses_within_the_grace_or_while_this_program_is_at_work(
    memory: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "_PATIENCE_SECONDS", 0.3)
    served = holding(memory, ASKED)
    served.slow = False
    with pytest.raises(NoMemory):
        await memory.wait(Hold(memory, None), KIB)
    monkeypatch.setattr(budget_module, "_GRACE_SECONDS", AMPLE_SECONDS)
    served.slow = True
    with pytest.raises(NoMemory):
        await memory.wait(Hold(memory, None), KIB)
    assert (served.size, memory.losses) == (ASKED, 0)


async def test_what_cannot_wait_takes_from_the_slow_and_else_loses_itself(memory: Budget) -> None:
    old = [holding(memory, 200 * KIB) for _ in range(4)]
    young = holding(memory, 10 * KIB)
    assert lost(young) == 1
    await until(lambda: young.size == 0)
    await asyncio.sleep(0.06)
    young.resize(10 * KIB)
    assert (lost(young), lost(*old)) == (0, 1)
    await until(lambda: memory.used == 610 * KIB)
    assert memory.losses == 2


async def test_what_is_about_to_go_is_no_reason_to_take_from_others(memory: Budget) -> None:
    read = Hold(memory, None)
    await memory.wait(read, ASKED)
    assert not memory.takes(ASKED)
    memory.leave(read)
    assert memory.takes(ASKED)
    sent = holding(memory, ASKED)
    assert not sent.loses
    read.release()
    assert (memory.used, memory.losses) == (ASKED, 0)
    assert not memory.takes(ASKED)
