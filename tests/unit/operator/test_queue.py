"""The queue: one reconcile of a cluster at a time, nothing forgotten, failures tried again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from hanas_operator import queue
from hanas_operator.queue import ExpectedError, Key, Queue, Reconcile
from tests.unit.operator.waiting import until

ONE, OTHER = ("shop", "one"), ("shop", "other")


@asynccontextmanager
async def working(reconcile: Reconcile) -> AsyncIterator[Queue]:
    made = Queue()
    task = asyncio.create_task(made.run(reconcile))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Worker:
    """Remembers what it was called for."""

    def __init__(self, answer: Callable[[int], float | None] = lambda _: None) -> None:
        self.calls: list[Key] = []
        self.running: list[Key] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.running, "one at a time"
        self.running.append(key)
        self.calls.append(key)
        try:
            await self.gate.wait()
            return self._answer(len(self.calls))
        finally:
            self.running.remove(key)


async def test_what_is_asked_for_while_it_runs_is_done_once_more() -> None:
    worker = Worker()
    worker.gate.clear()
    async with working(worker) as made:
        made.add(ONE)
        await until(lambda: worker.running == [ONE])
        for _ in range(5):
            made.add(ONE)
        made.add(OTHER)
        await until(lambda: worker.running == [ONE, OTHER])
        worker.gate.set()
        await until(lambda: worker.calls == [ONE, OTHER, ONE])
        await asyncio.sleep(0.05)
        assert worker.calls == [ONE, OTHER, ONE]


async def test_it_comes_back_when_it_said_so() -> None:
    worker = Worker(lambda count: 0.02 if count < 3 else None)
    async with working(worker) as made:
        made.add(ONE)
        await until(lambda: len(worker.calls) == 3)
        await asyncio.sleep(0.1)
        assert len(worker.calls) == 3


async def test_a_restart_breaks_off_what_runs_and_does_it_anew() -> None:
    worker = Worker()
    worker.gate.clear()
    async with working(worker) as made:
        made.add(ONE)
        await until(lambda: worker.running == [ONE])
        made.restart()
        await until(lambda: worker.calls == [ONE, ONE])
        assert worker.running == [ONE]
        worker.gate.set()


async def test_earlier_counts() -> None:
    worker = Worker()
    async with working(worker) as made:
        made.add(ONE, 60.0)
        made.add(ONE, 0.01)
        made.add(ONE, 30.0)
        await until(lambda: worker.calls == [ONE])


@pytest.mark.parametrize(("error", "traced"), [(ExpectedError("no"), False), (ZeroDivisionError("oh"), True)])
async def test_what_fails_is_tried_again_and_ends_nothing(
    error: Exception, traced: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "FIRST_WAIT_SECONDS", 0.01)

    def answer(count: int) -> None:
        if count < 4:
            raise error

    worker = Worker(answer)
    async with working(worker) as made:
        made.add(ONE)
        await until(lambda: len(worker.calls) == 4)
        made.add(OTHER)
        await until(lambda: worker.calls[-1] == OTHER)
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) is traced
