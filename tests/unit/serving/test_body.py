"""Bodies within a budget: what they hold, when they wait, and how they lose."""

import asyncio
import tracemalloc
from collections.abc import Iterable

import pytest
from starlette.types import Message

from hanas_serving import budget as budget_module
from hanas_serving.answers import Disconnected
from hanas_serving.body import Body
from hanas_serving.budget import Budget, Hold, NoMemory
from hanas_serving.problems import Problem
from tests.unit.waiting import until

KIB = 1 << 10
MOST = 400 * KIB


class Client:
    """Sends pieces, and then nothing, unless it ends."""

    def __init__(self, pieces: Iterable[int], *, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.ends = ends

    async def __call__(self) -> Message:
        if not self.pieces:
            if self.ends:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
        size = self.pieces.pop(0)
        return {"type": "http.request", "body": bytes(size), "more_body": bool(self.pieces) or not self.ends}


def too_large(size: int) -> Exception:
    return OverflowError(size)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_is_held_until_the_end_of_its_context(announced: bool) -> None:
    memory = Budget(800 * KIB)
    for pieces in ([], [10], [60 * KIB, 60 * KIB], [100 * KIB] * 4):
        length = sum(pieces)
        with Body(memory) as body:
            value = await body.read(Client(pieces or [0]), length if announced else None, MOST, too_large)
            assert len(value) == memory.used == length
        assert memory.used == 0


async def test_a_body_in_chunks_asks_for_the_most_as_soon_as_it_is_large() -> None:
    memory = Budget(800 * KIB)
    with Body(memory) as body:
        reading = asyncio.create_task(body.read(Client([64 * KIB], ends=False), None, MOST, too_large))
        await until(lambda: memory.used == 64 * KIB)
        reading.cancel()
    with Body(memory) as body:
        reading = asyncio.create_task(body.read(Client([64 * KIB, 1], ends=False), None, MOST, too_large))
        await until(lambda: memory.used == MOST)
        reading.cancel()
    assert memory.used == 0


async def test_a_body_that_is_too_large_or_breaks_off_holds_nothing_after_it() -> None:
    memory = Budget(800 * KIB)
    with pytest.raises(OverflowError), Body(memory) as body:
        await body.read(Client([MOST, 1]), None, MOST, too_large)
    gone = Client([])
    with pytest.raises(Disconnected), Body(memory) as body:
        await body.read(gone, 20, MOST, too_large)
    assert memory.used == 0


async def test_a_body_without_memory_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_PATIENCE_SECONDS", 0.05)
    memory, client = Budget(800 * KIB), Client([MOST])
    other = Hold(memory, None)
    other.resize(700 * KIB)
    with pytest.raises(NoMemory), Body(memory) as body:
        await body.read(client, MOST, MOST, too_large)
    assert client.pieces == [MOST]
    assert memory.used == 700 * KIB
    with Body(memory) as body:  # a small one does not ask
        await body.read(Client([10 * KIB]), 10 * KIB, MOST, too_large)


async def test_a_withheld_body_loses_its_memory_to_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_GRACE_SECONDS", 0.05)
    memory = Budget(800 * KIB)

    async def read(client: Client) -> int:
        with Body(memory) as body:
            return len(await body.read(client, MOST, MOST, too_large))

    withheld = asyncio.create_task(read(Client([MOST - 1], ends=False)))
    await until(lambda: memory.used == MOST)
    assert await read(Client([MOST])) == MOST
    with pytest.raises(Problem) as refused:
        await withheld
    assert refused.value.status == 408
    assert (memory.used, memory.losses) == (0, 1)


async def test_a_whole_body_cannot_lose_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(budget_module, "_PATIENCE_SECONDS", 0.1)
    memory = Budget(800 * KIB)
    with Body(memory) as body:
        await body.read(Client([MOST]), MOST, MOST, too_large)
        with pytest.raises(NoMemory):
            await memory.wait(Hold(memory, None), MOST)
        assert (memory.used, memory.losses) == (MOST, 0)


async def test_many_small_pieces_take_no_more_memory_than_their_content() -> None:
    count = 100_000

    async def receive() -> Message:
        nonlocal count
        count -= 1
        return {"type": "http.request", "body": b"%02d" % (count % 100), "more_body": count > 0}

    tracemalloc.start()
    try:
        with Body(Budget()) as body:
            content = await body.read(receive, 200_000, 1 << 20, too_large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(content) == 200_000
    assert peak < 3 * len(content)
