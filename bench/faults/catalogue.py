"""The faults: the injection, the right verdicts, and the observers of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.faults.world import OVERSEER, World

from hanas_client.errors import Refused

HEALTHY, LINK_FAILED = "Healthy", "LinkFailed"
FAILED, WEDGED, ISOLATED, HANDED_OVER = "PrimaryFailed", "PrimaryWedged", "PrimaryIsolated", "HandedOver"
UNAVAILABLE, FULL = "FolderUnavailable", "FolderFull"
_PAUSE_SECONDS = 1.2
"""The pause of a backup, longer than the detection of a failed main."""
_MOST_LARGE, _LARGE_BYTES = 20, 500_000


@dataclass(frozen=True, slots=True)
class Scene:
    """The roles of the workers at the injection of a fault."""

    main: str
    backup: str
    other: str


Inject = Callable[[World, Scene], Awaitable[None]]
Observers = Callable[[Scene], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    inject: Inject
    right: frozenset[str]
    """The right verdicts."""
    takeover: bool
    """A backup must take over; otherwise none may."""
    observers: Observers = lambda scene: ()
    """The workers that must reach a right verdict, if no takeover is due."""
    needs: frozenset[str] = frozenset()
    """What must be possible: `network`: packets are dropped; `mounts`: one worker's mount breaks or is read-only;
    `ways`: one worker's folder hangs, `hard`: for ever, `soft`: until an operation on it fails; `volume`: the volume is
    filled; `server`: that of NFS fails; `overseer's way`: its folder hangs while those of all workers work.
    """


async def _kill_main(world: World, scene: Scene) -> None:
    await world.lab.kill(scene.main)


async def _stop_main(world: World, scene: Scene) -> None:
    await world.lab.pause(scene.main)


async def _hand_over(world: World, scene: Scene) -> None:
    world.background(world.lab.terminate(scene.main))


async def _kill_backup(world: World, scene: Scene) -> None:
    await world.lab.kill(scene.backup)


async def _pause_backup(world: World, scene: Scene) -> None:
    await world.lab.pause(scene.backup)
    await asyncio.sleep(_PAUSE_SECONDS)
    await world.lab.resume(scene.backup)


async def _kill_overseer(world: World, scene: Scene) -> None:
    del scene
    await world.lab.kill(OVERSEER)


async def _cut_both(world: World, scene: Scene) -> None:
    await asyncio.gather(world.cut(scene.main, scene.backup), world.cut(scene.backup, scene.main))


async def _cut_to_backup(world: World, scene: Scene) -> None:
    await world.cut(scene.main, scene.backup)


async def _cut_to_main(world: World, scene: Scene) -> None:
    await world.cut(scene.backup, scene.main)


async def _cut_backups(world: World, scene: Scene) -> None:
    await asyncio.gather(world.cut(scene.other, scene.backup), world.cut(scene.backup, scene.other))


async def _lose(world: World, scene: Scene) -> None:
    assert world.network is not None
    await world.network.lose(scene.main, scene.backup)
    await world.network.lose(scene.backup, scene.main)


async def _isolate(world: World, scene: Scene) -> None:
    await asyncio.gather(
        _kill_overseer(world, scene), world.cut(scene.main, scene.backup), world.cut(scene.main, scene.other)
    )


async def _isolate_alone(world: World, scene: Scene) -> None:
    await asyncio.gather(*(world.cut(name, scene.main) for name in (scene.backup, scene.other, OVERSEER)))


def _overseers_folder(inject: Inject) -> Inject:
    """Make the overseer's folder hang first."""

    async def first(world: World, scene: Scene) -> None:
        await world.hang(OVERSEER)
        await inject(world, scene)

    return first


def _folder(whose: Callable[[Scene], tuple[str, ...]], way: str) -> Inject:
    async def inject(world: World, scene: Scene) -> None:
        for name in whose(scene):
            if way == "hung":
                await world.hang(name)
            elif way == "gone":
                await world.mounts[name].break_off()
            else:
                await world.mounts[name].replace(read_only=True)

    return inject


async def _fill(world: World, scene: Scene) -> None:
    del scene
    await world.fill()
    with contextlib.suppress(Refused):  # the prepared segments still hold a few megabytes
        for number in range(_MOST_LARGE):
            await world.client.put(f"large/{number}", bytes(_LARGE_BYTES))


def _server(verb: str, *words: str) -> Inject:
    async def inject(world: World, scene: Scene) -> None:
        del scene
        assert world.export is not None
        await world.export.fail(verb, *words)

    return inject


def _both(first: Inject, second: Inject) -> Inject:
    async def inject(world: World, scene: Scene) -> None:
        await first(world, scene)
        await second(world, scene)

    return inject


def _main(scene: Scene) -> tuple[str, ...]:
    return (scene.main,)


def _backup(scene: Scene) -> tuple[str, ...]:
    return (scene.backup,)


def _other(scene: Scene) -> tuple[str, ...]:
    return (scene.other,)


def _backups(scene: Scene) -> tuple[str, ...]:
    return scene.backup, scene.other


def _all(scene: Scene) -> tuple[str, ...]:
    return scene.main, scene.backup, scene.other


def _of(*verdicts: str) -> frozenset[str]:
    return frozenset(verdicts)


def _backup_and_main(scene: Scene) -> tuple[str, ...]:
    """In this order: a backup that loses its folder a moment later may have won the claim in between."""
    return scene.backup, scene.main


_PACKETS, _MOUNTS, _WAYS = frozenset({"network"}), frozenset({"mounts"}), frozenset({"ways"})
_HARD, _SOFT, _SERVER = frozenset({"ways", "hard"}), frozenset({"ways", "soft"}), frozenset({"server"})
_OVERSEERS_WAY = frozenset({"overseer's way"})

KILL = Fault("main killed", _kill_main, _of(FAILED), takeover=True)
"""Its failover time is the benchmark."""

CATALOGUE = (
    Fault("main stopped", _stop_main, _of(FAILED), takeover=True),
    Fault("main terminated", _hand_over, _of(HANDED_OVER), takeover=True),
    Fault("main's folder hung", _folder(_main, "hung"), _of(WEDGED), takeover=True, needs=_HARD),
    Fault(
        "main's and a backup's folder hung", _folder(_backup_and_main, "hung"), _of(WEDGED), takeover=True, needs=_HARD
    ),
    Fault("main's folder times out", _folder(_main, "hung"), _of(WEDGED, FAILED), takeover=True, needs=_SOFT),
    Fault(
        "main's and a backup's folder time out",
        _folder(_backup_and_main, "hung"),
        _of(WEDGED, FAILED),
        takeover=True,
        needs=_SOFT,
    ),
    Fault(  # the backups ask it, get no ruling, and decide in the folder
        "main's and the overseer's folder hung",
        _overseers_folder(_folder(_main, "hung")),
        _of(WEDGED),
        takeover=True,
        needs=_HARD | _OVERSEERS_WAY,
    ),
    Fault(
        "overseer's folder hung, main killed",
        _overseers_folder(_kill_main),
        _of(FAILED),
        takeover=True,
        needs=_OVERSEERS_WAY,
    ),
    Fault("main's folder gone", _folder(_main, "gone"), _of(FAILED), takeover=True, needs=_MOUNTS),
    Fault("main's folder read-only", _folder(_main, "read-only"), _of(FAILED), takeover=True, needs=_MOUNTS),
    Fault("overseer and main killed", _both(_kill_overseer, _kill_main), _of(FAILED), takeover=True),
    Fault("link cut, main killed", _both(_cut_both, _kill_main), _of(FAILED), takeover=True),
    Fault(
        "backup's folder hung, main killed",
        _both(_folder(_backup, "hung"), _kill_main),
        _of(FAILED),
        takeover=True,
        needs=_WAYS,
    ),
    Fault("link cut both ways", _cut_both, _of(LINK_FAILED), takeover=False, observers=_backup),
    Fault("link cut main to backup", _cut_to_backup, _of(LINK_FAILED), takeover=False, observers=_backup),
    Fault("link cut backup to main", _cut_to_main, _of(LINK_FAILED), takeover=False, observers=_backup, needs=_PACKETS),
    Fault("link between backups cut", _cut_backups, _of(HEALTHY), takeover=False, observers=_backups),
    Fault("link loses 20 %", _lose, _of(HEALTHY, LINK_FAILED), takeover=False, observers=_backup, needs=_PACKETS),
    Fault("links cut, overseer killed", _isolate, _of(ISOLATED), takeover=False, observers=_main),
    Fault("main cut off from all", _isolate_alone, _of(HANDED_OVER), takeover=True, needs=_PACKETS),
    Fault(
        "link cut, overseer killed",
        _both(_cut_both, _kill_overseer),
        _of(LINK_FAILED),
        takeover=False,
        observers=_backup,
    ),
    *(
        Fault(
            f"backup's folder {way}",
            _folder(_backup, way),
            _of(UNAVAILABLE),
            takeover=False,
            observers=_backup,
            needs=_WAYS if way == "hung" else _MOUNTS,
        )
        for way in ("hung", "gone", "read-only")
    ),
    Fault(
        "both backups' folders hung",
        _folder(_backups, "hung"),
        _of(UNAVAILABLE),
        takeover=False,
        observers=_backups,
        needs=_WAYS,
    ),
    Fault(
        "a backup's and the overseer's folder hung",
        _overseers_folder(_folder(_backup, "hung")),
        _of(UNAVAILABLE),
        takeover=False,
        observers=_backup,
        needs=_WAYS | _OVERSEERS_WAY,
    ),
    Fault("folder hung at all", _folder(_all, "hung"), _of(UNAVAILABLE), takeover=False, observers=_all, needs=_WAYS),
    Fault("server stopped", _server("server-stop"), _of(UNAVAILABLE), takeover=False, observers=_all, needs=_SERVER),
    Fault(
        "server crashed and rebooted",
        _server("server-reboot", "2"),
        _of(HEALTHY, UNAVAILABLE),
        takeover=False,
        observers=_all,
        needs=_SERVER,
    ),
    Fault(  # its clients wait for the one that does not come back: NFSv4 has a grace time
        "backup's folder hung, server rebooted",
        _both(_folder(_backup, "hung"), _server("server-reboot", "2")),
        _of(UNAVAILABLE),
        takeover=False,
        observers=_backup,
        needs=_WAYS | _SERVER,
    ),
    Fault(
        "server slow by 100 ms",
        _server("slow", "all", "100"),
        _of(HEALTHY),
        takeover=False,
        observers=_backups,
        needs=_SERVER,
    ),
    Fault("export read-only", _server("readonly"), _of(UNAVAILABLE), takeover=False, observers=_all, needs=_SERVER),
    Fault(  # every handle is stale, those of open files, too
        "export withdrawn", _server("withdraw"), _of(UNAVAILABLE), takeover=False, observers=_all, needs=_SERVER
    ),
    Fault("volume full", _fill, _of(FULL), takeover=False, observers=_backups, needs=frozenset({"volume"})),
    Fault("overseer killed", _kill_overseer, _of(HEALTHY), takeover=False, observers=_backups),
    Fault("backup killed", _kill_backup, _of(HEALTHY), takeover=False, observers=_other),
    Fault("backup stopped for a moment", _pause_backup, _of(HEALTHY), takeover=False, observers=_other),
)
