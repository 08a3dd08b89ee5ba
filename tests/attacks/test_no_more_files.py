"""A volume without inodes: writes go on, a person is told, and the reserves carry a takeover after the other."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import Refused
from tests.integration.cluster import Cluster, running
from tests.integration.small_volume import SETTINGS, small_volume
from tests.integration.waiting import eventually

FULL = "FolderFull"
INODES = "256"
RESERVE_FILES = 3
"""A worker keeps two reserves of so many files."""


@pytest.fixture
def volume(tmp_path_factory: pytest.TempPathFactory, root: None) -> Iterator[Path]:
    with small_volume(tmp_path_factory, "-N", INODES) as directory:
        yield directory


def take_all_files(directory: Path) -> list[Path]:
    """Make files until there is room for no more; return them."""
    taken: list[Path] = []
    while True:
        path = directory / secrets.token_hex(8)
        try:
            path.touch(exist_ok=False)
        except OSError:
            return taken
        taken.append(path)


async def is_told(cluster: Cluster) -> bool:
    for name in cluster.running():
        if all(alert["kind"] != FULL for alert in (await cluster.status(name))["alerts"]):
            return False
    return True


async def have_reserves(volume: Path, workers: int) -> bool:
    """Whether all workers have theirs; a main makes them after its first commit."""
    return len(list((volume / "communication" / "tmp").iterdir())) >= workers * 2 * RESERVE_FILES


async def test_takeovers_find_their_files_on_a_volume_that_has_none(volume: Path) -> None:
    others = volume / "communication" / "others"
    async with running(volume, 3, None, **SETTINGS) as cluster:
        await cluster.settle()
        others.mkdir()
        written: dict[str, bytes] = {}
        await eventually(lambda: have_reserves(volume, 3))
        taken = take_all_files(others)
        assert taken
        await eventually(lambda: is_told(cluster))
        for round_ in range(2):
            for number in range(20):
                key = f"{round_}/{number}"
                await cluster.client.put(key, key.encode())
                written[key] = key.encode()
            main, epoch = await cluster.main(), await cluster.epoch()
            taken += take_all_files(others)  # nothing is left but the reserves
            await cluster.lab.kill(main)

            async def taken_over(former: str = main, before: int = epoch) -> bool:
                return await cluster.epoch() > before and await cluster.main() != former

            await eventually(taken_over)
            for key, value in written.items():
                assert (await cluster.client.get(key)).value == value
        for path in taken:
            path.unlink()
        await cluster.settle()

        async def calm() -> bool:
            return not any(alert.kind == FULL for alert in await cluster.client.alerts())

        await eventually(calm)
        await cluster.client.put("after", b"after")


async def test_writes_are_refused_before_takeovers_become_impossible(volume: Path) -> None:
    """Who has no reserve left for another takeover takes no more writes."""
    others = volume / "communication" / "others"
    async with running(volume, 1, None, **SETTINGS) as cluster:
        main = await cluster.settle()
        others.mkdir()
        await cluster.client.put("k", b"before")
        await eventually(lambda: have_reserves(volume, 1))
        taken = take_all_files(others)
        await cluster.lab.kill(main)  # a new start needs a claim and a manifest, and nobody had the room to keep more
        await cluster.lab.start_worker(main)
        await cluster.main()
        taken += take_all_files(others)

        async def refused() -> bool:
            try:
                await cluster.client.put("k", b"later")
            except Refused as refusal:
                return refusal.status == 507
            return False

        await eventually(refused)
        assert (await cluster.client.get("k")).value is not None
        await cluster.client.delete("k")
        for path in taken:
            path.unlink(missing_ok=True)

        async def accepted() -> bool:
            return not await refused()

        await eventually(accepted)
