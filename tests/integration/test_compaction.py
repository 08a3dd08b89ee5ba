"""Overwritten and deleted values go from the volume, while everybody reads and writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import SLOWNESS, eventually, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

MIB = 1 << 20
SETTINGS = {
    "HANAS_SEGMENT_BYTES": str(2 * MIB),
    "HANAS_VALUE_BYTES": str(MIB),
    "HANAS_COMPACT_BYTES": str(8 * MIB),
}
PATIENCE_SECONDS = 60.0 * SLOWNESS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running(tmp_path_factory.mktemp("lab"), 3, None, **SETTINGS, **PATIENT) as cluster:
        yield cluster


def log_bytes(cluster: Cluster) -> int:
    """The bytes of all segments; one that is removed meanwhile has none."""
    directory: Path = cluster.lab.communication_folder / "segments"
    size = 0
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


async def shrunk(cluster: Cluster) -> bool:
    return log_bytes(cluster) < 24 * MIB


async def runs(cluster: Cluster) -> int:
    return int((await cluster.status(await cluster.main()))["compaction"]["runs"])


async def told(cluster: Cluster, epoch: int) -> bool:
    """Whether the overseer, which hears of a compaction a little later, knows of an epoch."""
    return await cluster.epoch() >= epoch


async def overwrite(cluster: Cluster, rounds: int) -> None:
    for number in range(rounds):
        await asyncio.gather(*(cluster.client.put(f"over/{key}", bytes([number]) * MIB) for key in range(2)))


@pytest.mark.long
async def test_the_log_is_compacted_beside_the_traffic(small: Cluster) -> None:
    main = await small.settle()
    kept = await small.client.put("kept", b"from the beginning", content_type="text/plain")
    async with Writers(small.client, prefix="beside") as load:
        before = await small.epoch()
        while await runs(small) < 2:
            await within(PATIENCE_SECONDS, overwrite(small, 4))
        await within(PATIENCE_SECONDS, load.more(20))
    assert load.failed == []
    assert await small.main() == main, "the main stayed the main"
    await eventually(lambda: told(small, before + 2))
    await eventually(lambda: shrunk(small))
    assert await load.missing() == []
    assert await load.changed() == []
    read = await small.client.get("kept")
    assert (read.value, read.version, read.content_type) == (b"from the beginning", kept.version, "text/plain")
    await small.until_alike()
    assert (await small.client.takeovers())[-1].why == "compaction"


@pytest.mark.long
async def test_who_starts_cold_after_a_compaction_finds_everything(small: Cluster) -> None:
    await small.settle()
    before = await small.until_alike()
    backup = await small.a_backup()
    await small.lab.kill(backup)
    await small.lab.start_worker(backup)
    await small.settle()
    assert await small.until_alike() == before
    main = await small.main()
    await small.lab.kill(main)
    assert (await small.client.get("kept")).value == b"from the beginning"
    await small.lab.start_worker(main)
    await small.settle()
    assert await small.until_alike() == before


@pytest.mark.long
async def test_the_main_is_killed_again_and_again_while_it_compacts(small: Cluster) -> None:
    await small.settle()
    async with Writers(small.client, prefix="killed", rest=0.005) as load:
        for _ in range(3):
            main, epoch = await small.main(), await small.epoch()
            writing = asyncio.create_task(overwrite(small, 10))
            await eventually(lambda: compacting(small))
            await small.lab.kill(main)
            await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
            await within(PATIENCE_SECONDS, writing)
            await small.lab.start_worker(main)
    await small.settle()
    assert load.failed == []
    assert await load.missing() == []
    assert await load.changed() == []
    await small.until_alike()


async def compacting(cluster: Cluster) -> bool:
    state = (await cluster.status(await cluster.main()))["compaction"]
    return bool(state["running"] or state["runs"])


@pytest.mark.long
async def test_the_main_is_stopped_for_a_while_in_the_middle_of_it(small: Cluster) -> None:
    main = await small.settle()
    async with Writers(small.client, prefix="paused", rest=0.005) as load:
        epoch = await small.epoch()
        writing = asyncio.create_task(overwrite(small, 12))
        await eventually(lambda: compacting(small))
        await small.lab.pause(main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        await within(PATIENCE_SECONDS, writing)
        await small.lab.resume(main)
        await within(PATIENCE_SECONDS, overwrite(small, 8))
    await small.settle()
    assert load.failed == []
    assert await load.missing() == []
    assert await load.changed() == []
    await small.until_alike()
