"""Names of workers, asked of a name service that is slow, or gone for a while."""

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from hanas_worker.neighbours import addresses
from hanas_worker.neighbours.addresses import LastKnown


def address(host: str) -> ResolveResult:
    return ResolveResult(hostname="peer", host=host, port=4001, family=socket.AF_INET, proto=0, flags=0)


class Names(AbstractResolver):
    """A name service that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: asyncio.Queue[asyncio.Future[list[ResolveResult]]] = asyncio.Queue()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answer: asyncio.Future[list[ResolveResult]] = asyncio.get_running_loop().create_future()
        self._answers.put_nowait(answer)
        return await answer

    async def answers(self, result: list[ResolveResult] | OSError) -> None:
        answer = await self._answers.get()
        if isinstance(result, OSError):
            answer.set_exception(result)
        else:
            answer.set_result(result)
        for _ in range(5):  # until those who wait have heard of it
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.asked.append("closed")


GONE = OSError("no such name")


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def known(names: Names, monkeypatch: pytest.MonkeyPatch) -> LastKnown:
    """What is known is old at once."""
    monkeypatch.setattr(addresses, "_FRESH_SECONDS", -1.0)
    return LastKnown(names)


async def found(known: LastKnown, names: Names, host: str) -> None:
    asking = asyncio.create_task(known.resolve("peer", 4001))
    await names.answers([address(host)])
    assert await asking == [address(host)]


async def test_an_answer_that_is_fresh_is_used_again(names: Names) -> None:
    known = LastKnown(names)
    await found(known, names, "10.0.0.1")
    assert await known.resolve("peer", 4001) == [address("10.0.0.1")]
    assert names.asked == ["peer"]


async def test_the_last_answer_is_used_while_the_next_one_is_under_way(names: Names, known: LastKnown) -> None:
    await found(known, names, "10.0.0.1")
    assert await known.resolve("peer", 4001) == [address("10.0.0.1")]
    await names.answers([address("10.0.0.2")])
    assert await known.resolve("peer", 4001) == [address("10.0.0.2")]


async def test_there_is_one_question_at_a_time_for_a_name(names: Names, known: LastKnown) -> None:
    asking = [asyncio.create_task(known.resolve("peer", 4001)) for _ in range(5)]
    await names.answers([address("10.0.0.1")])
    assert await asyncio.gather(*asking) == [[address("10.0.0.1")]] * 5
    assert names.asked == ["peer"]


async def test_a_name_that_is_gone_keeps_its_last_address(names: Names, known: LastKnown) -> None:
    await found(known, names, "10.0.0.1")
    for _ in range(3):
        assert await known.resolve("peer", 4001) == [address("10.0.0.1")]
        await names.answers(GONE)


async def test_a_name_that_nobody_knows_is_an_error_that_is_remembered(names: Names) -> None:
    known = LastKnown(names)
    asking = asyncio.create_task(known.resolve("peer", 4001))
    await names.answers(GONE)
    for question in (asking, known.resolve("peer", 4001)):
        with pytest.raises(OSError, match="no such name"):
            await question
    assert names.asked == ["peer"]


async def test_one_who_gives_up_does_not_end_the_question(names: Names, known: LastKnown) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await known.resolve("peer", 4001)
    await found(known, names, "10.0.0.1")
    assert names.asked == ["peer"]


async def test_it_ends_with_the_questions_that_are_under_way(names: Names, known: LastKnown) -> None:
    asking = asyncio.create_task(known.resolve("peer", 4001))
    await asyncio.sleep(0)
    await known.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert names.asked[-1] == "closed"
