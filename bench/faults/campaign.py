"""One fault after the other: inject it, record the verdict and its time, repair it, and wait for a healthy cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from bench.faults.catalogue import CATALOGUE, FAILED, HEALTHY, KILL, Fault, Scene
from bench.faults.world import World

from hanas_client.documents import Takeover
from hanas_client.errors import HanasError
from hanas_core.members.timing import PRESETS
from hanas_lab.history import Action

_LOOK_SECONDS = 0.03
_PATIENCE_SECONDS = 15.0
"""The limit for a verdict or a takeover."""
_WATCH_SECONDS = 1.5
"""The time without a verdict in a healthy cluster."""
_HOLD_SECONDS = 0.5
"""The least time without a takeover after a verdict."""
_SETTLE_SECONDS = 90.0
HEALED_SECONDS = 10.0
"""The longest time from the return of a volume to a healthy cluster."""
_NOTHING = "nothing"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one fault. Times are seconds after the injection."""

    fault: str
    right: tuple[str, ...]
    concluded: str
    correct: bool
    false_takeover: bool = False
    detected: float | None = None
    failover: float | None = None
    """Until the first write that a later epoch acknowledged, where a takeover was due."""
    split: dict[str, float] | None = None
    """The parts of that time, by the new main: detection, claim, replay."""
    words: str = ""
    silence: float | None = None
    """The longest time without an acknowledged write, from the injection to a healthy cluster."""
    written: float | None = None
    """From the return of the volume to the next acknowledged write."""
    back: float | None = None
    """From the return of the volume to a healthy cluster."""
    by_hand: bool = False
    """Whether a process had to be started or continued for that."""
    gave_up: bool = False
    """Whether the main ended its epoch by itself, where no takeover was due: then one is."""
    deaf: tuple[str, ...] = ()
    """Workers that ran and did not answer."""
    survivors_pause: float | None = None
    """The longest time that a client of a worker that lived waited for its answer, after a kill of the main."""
    survivors_errors: int = 0
    """How many such requests were not done."""
    pause: float = 0.0
    """The longest pause of the campaign's own process: one of the machine."""
    excused: bool = False
    """Whether it was longer than the patience of the workers: then wrong verdicts and late returns are its work."""

    @property
    def late(self) -> bool:
        """Whether the cluster needed too long after the volume had returned."""
        return self.back is not None and self.back > HEALED_SECONDS and not self.by_hand


class Stuck(Exception):
    """The cluster did not recover from a fault."""


def plan(kills: int, faults: int, able: frozenset[str], chance: random.Random, only: Sequence[str] = ()) -> list[Fault]:
    """Return `kills` kills of the main and `faults` other faults that are possible here, in random order.

    `only`: the names of the other kinds; empty: all.
    """
    possible = [fault for fault in CATALOGUE if fault.needs <= able and (not only or fault.name in only)]
    chosen = [KILL] * kills + [possible[number % len(possible)] for number in range(faults if possible else 0)]
    chance.shuffle(chosen)
    return chosen


async def run(
    world: World, faults: list[Fault], chance: random.Random, until: float, report: Callable[[Round], None]
) -> list[Round]:
    """Play `faults` until `until` (monotonic seconds). Raises Stuck."""
    rounds: list[Round] = []
    for fault in faults:
        if time.monotonic() > until:
            break
        world.clients.next_keys()
        await settle(world)
        await world.clients.more(5)
        main = await settle(world)  # again: it may have changed meanwhile on a machine that pauses
        backups = [name for name in world.names if name != main]
        chance.shuffle(backups)
        highest = await _highest(world)
        rounds.append(await _round(world, fault, Scene(main, *backups), highest))
        report(rounds[-1])
    return rounds


async def _round(world: World, fault: Fault, scene: Scene, highest: int) -> Round:
    world.pulse.take()
    first, began, wall = len(world.clients.history), time.monotonic(), time.time()
    resignation = asyncio.create_task(_resigns(world, scene.main, highest))
    try:
        await fault.inject(world, scene)
        if fault.takeover:
            played = await _expect_takeover(world, fault, highest, began)
        else:
            played = await _expect_none(world, fault, scene, highest, began, resignation)
        by_hand = world.running() != world.names
        returned = await world.mend()
        await settle(world)
        healthy = time.monotonic()
    finally:
        gave_up = resignation.done() and not fault.takeover
        resignation.cancel()
    if fault.takeover and played.failover is not None:  # only now, since the overseer's folder may have hung, too
        played = _explained(played, await _takeover_after(world, highest), wall)
    await world.clients.more(1)
    played = await _afterwards(world, played, highest, due=fault.takeover or gave_up)
    calls = world.clients.history[first:]
    acknowledged = sorted(call.end for call in calls if call.kind is Action.PUT and call.end)
    silences = itertools.pairwise([began, *acknowledged])
    if world.survivors is not None and fault is KILL:
        seen = await world.survivors.seen([scene.backup, scene.other], began)
        played = msgspec.structs.replace(played, survivors_pause=seen.pause, survivors_errors=seen.errors)
    deaf, pause = world.pulse.take()
    return msgspec.structs.replace(
        played,
        silence=round(max(after - before for before, after in silences), 3),
        written=round(min(end for end in acknowledged if end > returned) - returned, 3),
        back=round(healthy - returned, 3),
        by_hand=by_hand,
        gave_up=gave_up,
        deaf=deaf,
        pause=pause,
        excused=pause > PRESETS[world.conditions.preset].suspect_after,
        correct=played.correct and not deaf,
    )


async def _highest(world: World) -> int:
    """Return the highest epoch."""
    return (await world.client.cluster()).epoch or 0


async def _takeovers(world: World, epoch: int) -> list[Takeover]:
    """Return the takeovers after `epoch`; compactions by a main are none."""
    return [entry for entry in await world.client.takeovers() if entry.epoch > epoch and entry.why != "compaction"]


async def _resigns(world: World, main: str, epoch: int) -> None:
    """Return once the main of `epoch` ended it although nobody followed: a write failed, or hung for too long."""
    while True:
        status = await world.status(main)
        if status is not None and status["role"] != "main" and int(status["epoch"]) <= epoch:
            return
        await _rest(world)


async def _afterwards(world: World, played: Round, before: int, *, due: bool) -> Round:
    """Count an unexpected takeover, also one during the repair."""
    later = await _takeovers(world, before)
    if len(later) <= (due and played.concluded != _NOTHING):
        return played
    last = later[-1]
    words = f"{played.words} Then, without need: {last.verdict}: {last.words}".strip()
    return msgspec.structs.replace(played, false_takeover=True, correct=False, words=words)


async def settle(world: World) -> str:
    """Wait until one main serves and every other worker reports Healthy; return the main."""
    statuses: list[object] = []
    patience = _SETTLE_SECONDS * world.conditions.slowness
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while True:
                answers = [await world.status(name) for name in world.names]
                statuses = [status and (status["role"], status["verdict"], status["epoch"]) for status in answers]
                present = [status for status in answers if status is not None]
                mains = [status["member"] for status in present if status["role"] == "main"]
                backups = sum(status["role"] == "backup" and status["verdict"] == HEALTHY for status in present)
                if (
                    len(mains) == 1
                    and backups == len(world.names) - 1
                    and len({status["epoch"] for status in present}) == 1
                ):
                    return str(mains[0])
                await _rest(world)
    raise Stuck(f"not healthy within {patience:.0f} s: {statuses}")


async def _rest(world: World) -> None:
    """Wait between two looks."""
    await asyncio.sleep(_LOOK_SECONDS * world.conditions.slowness)


async def _expect_takeover(world: World, fault: Fault, epoch: int, began: float) -> Round:
    failover = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS * world.conditions.slowness):
            failover = round(await world.clients.acknowledged_after(epoch) - began, 4)
    if fault.needs:
        await asyncio.sleep(max(0.0, began + world.conditions.hold - time.monotonic()))
    return _round_of(fault, _NOTHING, failover=failover)


def _explained(played: Round, entry: Takeover | None, wall: float) -> Round:
    """Return the round with what the new main says of its takeover. `wall`: when the fault was injected, Unix time."""
    if entry is None:
        return played
    concluded = entry.verdict or _NOTHING
    return msgspec.structs.replace(
        played,
        concluded=concluded,
        correct=concluded in played.right,
        detected=round(datetime.fromisoformat(entry.claimed_at).timestamp() - wall, 4) if entry.claimed_at else None,
        split=None if entry.durations is None else msgspec.to_builtins(entry.durations),
        words=entry.words or "",
    )


def _round_of(fault: Fault, concluded: str, **figures: Any) -> Round:
    return Round(
        fault=fault.name,
        right=tuple(sorted(fault.right)),
        concluded=concluded,
        correct=concluded in fault.right,
        **figures,
    )


async def _takeover_after(world: World, epoch: int) -> Takeover | None:
    async with asyncio.timeout(_PATIENCE_SECONDS * world.conditions.slowness):
        while True:
            with contextlib.suppress(HanasError):
                later = await _takeovers(world, epoch)
                if later and later[0].durations is not None:
                    return later[0]
                if later and later[-1].epoch > later[0].epoch:
                    return later[0]  # it never served
            await _rest(world)


async def _expect_none(
    world: World, fault: Fault, scene: Scene, epoch: int, began: float, resignation: asyncio.Task[None]
) -> Round:
    """Watch the observers: for a fixed time if all must stay healthy, else until each reports a right verdict.

    Once the main has ended its epoch by itself, a takeover is due, and that the main failed is right as well.
    """
    observers = fault.observers(scene)
    healthy = HEALTHY in fault.right
    verdicts: dict[str, str] = {}
    wrong: str | None = None
    highest, words = epoch, ""
    detected: float | None = None
    hold, patience = world.conditions.hold, _PATIENCE_SECONDS * world.conditions.slowness
    # A server reboots for seconds before the first look.
    end = time.monotonic() + max(_WATCH_SECONDS, hold) if healthy else began + patience
    while (now := time.monotonic()) < end and wrong is None:
        for name in observers:
            status = await world.status(name)
            if status is None:
                continue
            highest = max(highest, int(status["epoch"]))
            verdict = str(status["verdict"])
            if verdict in fault.right:
                verdicts[name] = verdict
            elif healthy and verdict not in ({"Unknown", FAILED} if resignation.done() else {"Unknown"}):
                wrong = verdict
        if highest > epoch and not resignation.done():
            await world.start_overseer()
            with contextlib.suppress(HanasError):
                wrong = "takeover" if await _takeovers(world, epoch) else wrong
                epoch = highest if wrong is None else epoch
        if detected is None and not healthy and len(verdicts) == len(observers):
            detected = round(time.monotonic() - began, 4)
            end = max(now + _HOLD_SECONDS, began + hold)
        await _rest(world)
    if wrong == "takeover":
        entry = await _takeover_after(world, epoch)
        words = "" if entry is None else f"{entry.verdict}: {entry.words}"
    concluded = wrong or (max(verdicts.values()) if len(verdicts) == len(observers) else _NOTHING)
    return _round_of(fault, concluded, false_takeover=wrong == "takeover", detected=detected, words=words)


def logs_of(world: World) -> list[Path]:
    """Return the logs of the processes."""
    return [world.lab.log_of(name) for name in [*world.names, "overseer"]]
