"""A takeover that the main itself made necessary is none for nothing; any other one is, where none is due."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from bench.faults import campaign
from bench.faults.campaign import Round
from bench.faults.catalogue import FAILED, HEALTHY, UNAVAILABLE, Fault, Scene
from bench.faults.world import Conditions, World

from hanas_client.documents import Durations, Takeover

SCENE = Scene("a", "b", "c")
EPOCH = 7


def at(role: str, epoch: int = EPOCH, verdict: str = "Unknown") -> dict[str, Any]:
    return {"role": role, "epoch": epoch, "verdict": verdict}


@dataclass
class Watched:
    """A world in which each look at a worker shows its next status, at last the same one for ever."""

    looks: Mapping[str, Sequence[dict[str, Any] | None]]
    takeovers_seen: tuple[Takeover, ...] = ()
    conditions: Conditions = field(default_factory=lambda: Conditions(slowness=0.01))
    _turns: dict[str, Iterator[Any]] = field(default_factory=dict)

    async def status(self, name: str) -> dict[str, Any] | None:
        turns = self._turns.setdefault(name, iter(self.looks[name]))
        return next(turns, self.looks[name][-1])

    async def start_overseer(self) -> None: ...

    @property
    def client(self) -> "Watched":
        return self

    async def takeovers(self) -> tuple[Takeover, ...]:
        return self.takeovers_seen


async def resigns(*looks: dict[str, Any] | None) -> bool:
    world = cast(World, Watched({"a": list(looks)}))
    try:
        async with asyncio.timeout(0.1):
            await campaign._resigns(world, "a", EPOCH)
    except TimeoutError:
        return False
    return True


async def test_a_main_resigns_that_ends_its_epoch_before_anybody_follows() -> None:
    assert await resigns(at("main"), None, at("backup"), at("backup", EPOCH + 1))
    assert not await resigns(at("main"), None)
    assert not await resigns(at("main"), at("backup", EPOCH + 1)), "it was replaced"


async def expect_none(right: str, resigned: bool, backup: list[dict[str, Any]]) -> Round:
    later = Takeover(EPOCH + 1, "b", verdict=FAILED, words="why", durations=Durations(0.0, 0.0, 0.0, 0.0))
    fault = Fault("f", lambda *_: asyncio.sleep(0), frozenset({right}), takeover=False, observers=lambda _: ("b",))
    resignation = asyncio.create_task(asyncio.sleep(0 if resigned else 60))
    await asyncio.sleep(0.001)
    try:
        world = cast(World, Watched({"b": backup}, (later,)))
        return await campaign._expect_none(world, fault, SCENE, EPOCH, time.monotonic(), resignation)
    finally:
        resignation.cancel()


TAKEOVER = [at("backup"), at("backup", verdict=FAILED), at("main", EPOCH + 1, verdict=HEALTHY)]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "_WATCH_SECONDS", 0.05)
    monkeypatch.setattr(campaign, "_HOLD_SECONDS", 0.05)


async def test_a_takeover_is_for_nothing_where_the_main_did_not_resign() -> None:
    played = await expect_none(UNAVAILABLE, False, [at("backup", verdict=UNAVAILABLE), *TAKEOVER])
    assert (played.concluded, played.false_takeover, played.correct) == ("takeover", True, False)
    assert played.words == f"{FAILED}: why"
    assert not (await expect_none(HEALTHY, False, TAKEOVER)).correct


async def test_a_takeover_is_due_once_the_main_has_resigned() -> None:
    played = await expect_none(UNAVAILABLE, True, [at("backup", verdict=UNAVAILABLE), *TAKEOVER])
    assert (played.concluded, played.false_takeover, played.correct) == (UNAVAILABLE, False, True)
    played = await expect_none(HEALTHY, True, TAKEOVER)
    assert (played.concluded, played.correct) == (HEALTHY, True)
    assert not (await expect_none(UNAVAILABLE, True, TAKEOVER)).correct, "nobody found the folder unavailable"
