"""A lane carries out procedures on a thread of its own, and survives one that hangs."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from hanas_core.volume.errors import FolderUnavailable, NoSpace
from hanas_serving.lanes import Hung, Lane, SystemThread
from tests.unit.waiting import AMPLE_SECONDS, until

T = TypeVar("T")

SHORT_SECONDS = 0.05


async def give(result: T) -> T:
    return result


async def fail(error: BaseException) -> None:
    raise error


class Hang:
    """A procedure that does not return before `release`."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    async def __call__(self, result: T) -> T:
        self.begun.set()
        assert self._released.wait(AMPLE_SECONDS)
        return result


def threads() -> int:
    return sum(thread.name.startswith("folder-") for thread in threading.enumerate())


async def test_it_returns_what_the_procedure_returns() -> None:
    assert await Lane("test", SystemThread).run(give(42), AMPLE_SECONDS) == 42
    assert await Lane("test", SystemThread).run(give([None]), AMPLE_SECONDS) == [None]


@pytest.mark.parametrize("error", [NoSpace("full"), ValueError("wrong"), KeyError("missing")])
async def test_it_raises_what_the_procedure_raises_and_goes_on(error: Exception) -> None:
    lane = Lane("test", SystemThread)
    with pytest.raises(type(error)) as raised:
        await lane.run(fail(error), AMPLE_SECONDS)
    assert raised.value is error
    assert not lane.hung
    assert await lane.run(give("next"), AMPLE_SECONDS) == "next"


async def test_a_procedure_that_suspends_is_a_mistake() -> None:
    async def sleep() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        await Lane("test", SystemThread).run(sleep(), AMPLE_SECONDS)


async def test_procedures_run_one_after_the_other_in_order() -> None:
    lane, order, running = Lane("test", SystemThread), [], threading.Lock()

    async def step(number: int) -> int:
        assert running.acquire(blocking=False)
        time.sleep(0.001)
        order.append(number)
        running.release()
        return number

    assert await asyncio.gather(*(lane.run(step(number), AMPLE_SECONDS) for number in range(10))) == list(range(10))
    assert order == list(range(10))


async def test_the_event_loop_goes_on_meanwhile() -> None:
    lane, hang = Lane("test", SystemThread), Hang()
    waiting = asyncio.create_task(lane.run(hang("done"), AMPLE_SECONDS))
    await until(hang.begun.is_set)
    assert not waiting.done()
    assert await Lane("other", SystemThread).run(give("at once"), AMPLE_SECONDS) == "at once"
    hang.release()
    assert await waiting == "done"


async def test_one_that_hangs_is_given_up_and_the_lane_refuses_more_until_it_returns() -> None:
    lane, hang, before = Lane("commit", SystemThread), Hang(), threads()
    with pytest.raises(FolderUnavailable, match=r"did not answer within 0.05 s \(commit\)"):
        await lane.run(hang("late"), SHORT_SECONDS)
    assert lane.hung
    for _ in range(20):
        with pytest.raises(FolderUnavailable, match=r"the folder still hangs \(commit\)"):
            await lane.run(give("never"), AMPLE_SECONDS)
    # However many are refused, a hung folder costs one thread.
    assert threads() == before + 1
    hang.release()
    await until(lambda: not lane.hung)
    assert await lane.run(give("again"), AMPLE_SECONDS) == "again"
    assert threads() == before + 1


async def test_those_who_queue_behind_one_that_hangs_are_given_up_as_well() -> None:
    lane, hang, done = Lane("test", SystemThread), Hang(), []

    async def note() -> None:
        done.append("late")

    results = await asyncio.gather(
        lane.run(hang(None), SHORT_SECONDS), lane.run(note(), SHORT_SECONDS), return_exceptions=True
    )
    assert [type(result) for result in results] == [Hung, Hung]
    assert done == []
    hang.release()
    # What was given up may still happen, at any later time.
    await until(lambda: done == ["late"])
    await until(lambda: not lane.hung)


async def test_a_stop_of_the_whole_process_during_a_call_leaves_the_lane_usable() -> None:
    """The time-out and the call's return are then seen by the event loop in one and the same moment."""
    lane, hang = Lane("test", SystemThread), Hang()
    waiting = asyncio.create_task(lane.run(hang("unheard"), SHORT_SECONDS))
    await until(hang.begun.is_set)
    hang.release()
    time.sleep(2 * SHORT_SECONDS)
    with pytest.raises(FolderUnavailable):
        await waiting
    await until(lambda: lane.idle)
    assert not lane.hung
    assert await lane.run(give("again"), AMPLE_SECONDS) == "again"


async def test_a_closed_lane_ends_its_thread_once_its_last_call_has_returned() -> None:
    Lane("never used", SystemThread).close()
    lane, hang, before = Lane("test", SystemThread), Hang(), threads()
    with pytest.raises(FolderUnavailable):
        await lane.run(hang(None), SHORT_SECONDS)
    lane.close()
    assert not lane.idle
    assert threads() == before + 1
    hang.release()
    await until(lambda: threads() == before)


async def test_a_late_error_of_one_that_was_given_up_harms_nobody() -> None:
    lane, released = Lane("test", SystemThread), threading.Event()

    async def fail_late() -> None:
        released.wait(AMPLE_SECONDS)
        raise NoSpace("too late")

    with pytest.raises(FolderUnavailable):
        await lane.run(fail_late(), SHORT_SECONDS)
    released.set()
    await until(lambda: not lane.hung)
    assert await lane.run(give(1), AMPLE_SECONDS) == 1


async def test_a_caller_that_is_cancelled_leaves_the_lane_usable() -> None:
    lane, hang = Lane("test", SystemThread), Hang()
    waiting = asyncio.create_task(lane.run(hang("unheard"), AMPLE_SECONDS))
    await until(hang.begun.is_set)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hang.release()
    assert await lane.run(give(2), AMPLE_SECONDS) == 2


async def test_a_lane_without_calls_has_no_thread_and_its_thread_keeps_no_process_alive() -> None:
    before = threads()
    lane = Lane("quiet", SystemThread)
    assert threads() == before
    await lane.run(give(None), AMPLE_SECONDS)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "folder-quiet"]
    assert thread.daemon


def test_an_answer_after_the_end_of_the_loop_ends_the_thread() -> None:
    hang = Hang()

    async def give_up() -> None:
        with pytest.raises(FolderUnavailable):
            await Lane("after", SystemThread).run(hang(None), SHORT_SECONDS)

    asyncio.run(give_up())
    [thread] = [thread for thread in threading.enumerate() if thread.name == "folder-after"]
    hang.release()
    thread.join(AMPLE_SECONDS)
    assert not thread.is_alive()


def test_what_a_lane_refuses_is_closed() -> None:
    """A coroutine that is never run would be a warning, which is an error here."""

    async def refuse() -> None:
        lane, hang = Lane("test", SystemThread), Hang()
        with pytest.raises(FolderUnavailable):
            await lane.run(hang(None), SHORT_SECONDS)
        refused: Coroutine[Any, Any, int] = give(1)
        with pytest.raises(FolderUnavailable):
            await lane.run(refused, AMPLE_SECONDS)
        hang.release()
        with pytest.raises(RuntimeError, match="cannot reuse"):
            refused.send(None)

    asyncio.run(refuse())


# ---------------------------------------------------------------------- what a lane owns


class Ledger:
    """Something that procedures change."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def note(self, line: str) -> list[str]:
        self.lines.append(line)
        return list(self.lines)

    async def note_late(self, line: str, hang: Hang) -> list[str]:
        await hang(None)
        return await self.note(line)

    async def fail(self, line: str) -> None:
        self.lines.append(line)
        raise FolderUnavailable(line)


async def test_what_a_lane_owns_is_made_once_and_kept_over_calls_and_their_errors() -> None:
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger())
        return made[-1]

    owned = Lane("test", SystemThread).owning(make)
    assert made == []
    assert await owned.run(lambda ledger: ledger.note("one"), AMPLE_SECONDS) == ["one"]
    with pytest.raises(FolderUnavailable, match="two"):
        await owned.run(lambda ledger: ledger.fail("two"), AMPLE_SECONDS)
    assert await owned.run(lambda ledger: ledger.note("three"), AMPLE_SECONDS) == ["one", "two", "three"]
    assert len(made) == 1


async def test_what_is_forgotten_is_made_anew_with_the_next_call() -> None:
    owned = Lane("test", SystemThread).owning(Ledger)
    assert await owned.run(lambda ledger: ledger.note("one"), AMPLE_SECONDS) == ["one"]
    owned.forget()
    assert await owned.run(lambda ledger: ledger.note("two"), AMPLE_SECONDS) == ["two"]


async def test_its_procedures_run_one_after_the_other_in_order() -> None:
    owned = Lane("test", SystemThread).owning(Ledger)
    notes = (owned.run(lambda ledger, line=line: ledger.note(line), AMPLE_SECONDS) for line in "abc")  # type: ignore[misc]  # B023
    assert await asyncio.gather(*notes) == [["a"], ["a", "b"], ["a", "b", "c"]]


async def test_a_call_that_times_out_keeps_what_it_works_on_and_the_next_gets_another() -> None:
    lane, hang = Lane("test", SystemThread), Hang()
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger())
        return made[-1]

    owned = lane.owning(make)
    await owned.run(lambda ledger: ledger.note("before"), AMPLE_SECONDS)
    results = await asyncio.gather(
        owned.run(lambda ledger: ledger.note_late("given up", hang), SHORT_SECONDS),
        owned.run(lambda ledger: ledger.note("behind it"), AMPLE_SECONDS),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Hung, Hung]
    hang.release()
    await until(lambda: lane.idle)
    assert await owned.run(lambda ledger: ledger.note("after"), AMPLE_SECONDS) == ["after"]
    assert [ledger.lines for ledger in (made[0], made[-1])] == [["before", "given up"], ["after"]]


async def test_a_call_whose_caller_is_cancelled_keeps_what_it_works_on() -> None:
    owned, hang = Lane("test", SystemThread).owning(Ledger), Hang()
    waiting = asyncio.create_task(owned.run(lambda ledger: ledger.note_late("unheard", hang), AMPLE_SECONDS))
    await until(hang.begun.is_set)
    following = asyncio.create_task(owned.run(lambda ledger: ledger.note("heard"), AMPLE_SECONDS))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hang.release()
    assert await following == ["heard"]


async def test_one_that_is_cancelled_before_its_turn_takes_nothing_away() -> None:
    owned, hang = Lane("test", SystemThread).owning(Ledger), Hang()
    first = asyncio.create_task(owned.run(lambda ledger: ledger.note_late("one", hang), AMPLE_SECONDS))
    await until(hang.begun.is_set)
    second = asyncio.create_task(owned.run(lambda ledger: ledger.note("never"), AMPLE_SECONDS))
    await asyncio.sleep(0)
    second.cancel()
    hang.release()
    assert await first == ["one"]
    assert await owned.run(lambda ledger: ledger.note("two"), AMPLE_SECONDS) == ["one", "two"]


async def test_a_result_that_comes_with_the_time_out_is_lost_and_so_is_what_it_was_made_of() -> None:
    """After a stop of the whole process the event loop sees both in one and the same moment."""
    lane, hang = Lane("test", SystemThread), Hang()
    owned = lane.owning(Ledger)
    waiting = asyncio.create_task(owned.run(lambda ledger: ledger.note_late("unheard", hang), SHORT_SECONDS))
    await until(hang.begun.is_set)
    hang.release()
    time.sleep(2 * SHORT_SECONDS)
    with pytest.raises(Hung):
        await waiting
    await until(lambda: lane.idle)
    assert await owned.run(lambda ledger: ledger.note("heard"), AMPLE_SECONDS) == ["heard"]
