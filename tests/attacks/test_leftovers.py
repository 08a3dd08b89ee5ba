"""The folder comes back to the size of what is live, whoever was killed in the middle of whatever."""

import asyncio
import contextlib
import random
from functools import partial
from pathlib import Path

import pytest

from hanas_core.volume import names
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually

MIB = 1 << 20
SEGMENT_BYTES = 4 * MIB
WORKERS = 3
KEYS, VALUE_BYTES = 90, 200_000
KILLS = 18
LEFTOVERS_AFTER = 6.0
SETTINGS = {
    "HANAS_SEGMENT_BYTES": str(SEGMENT_BYTES),
    "HANAS_VALUE_BYTES": str(MIB),
    "HANAS_COMPACT_BYTES": str(MIB),
    "HANAS_LEFTOVERS_AFTER": str(LEFTOVERS_AFTER),
}
PATIENCE_SECONDS = 4 * LEFTOVERS_AFTER
"""The time after which a temporary file goes, from the first look on, and some more for a last compaction."""


def used(folder: Path) -> int:
    """The bytes that all files take, each once."""
    sizes = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            state = file.stat()
            sizes[state.st_ino] = state.st_blocks * 512
    return sum(sizes.values())


async def merging(cluster: Cluster, main: str) -> bool:
    return bool((await cluster.status(main))["compaction"]["running"])


async def overwrite(cluster: Cluster, stopping: asyncio.Event) -> None:
    chance = random.Random(0)
    while not stopping.is_set():
        keys = chance.sample(range(KEYS), 8)
        await asyncio.gather(*(cluster.client.put(f"k{key}", chance.randbytes(VALUE_BYTES)) for key in keys))


@pytest.mark.timeout(300)
async def test_eighteen_kills_during_compaction_leave_nothing_for_long(tmp_path: Path) -> None:
    async with running(tmp_path, WORKERS, None, **SETTINGS) as cluster:
        main = await cluster.settle()
        for key in range(KEYS):
            await cluster.client.put(f"k{key}", bytes(VALUE_BYTES))
        folder, stopping = cluster.lab.communication_folder, asyncio.Event()
        writing = asyncio.create_task(overwrite(cluster, stopping))
        for kill in range(KILLS):
            main = await cluster.main()
            await eventually(partial(merging, cluster, main))
            await cluster.lab.kill(main)
            if kill < KILLS - 1:  # the last one never comes back
                await cluster.lab.start_worker(main)
        dead, left = main, (folder / names.manifest(1, "f" * 32), folder / names.CLAIMS / f".refresh-{'f' * 32}")
        for file in left:
            file.write_bytes(bytes(4096))
        stopping.set()
        await writing
        assert any(name.name.startswith(f"{dead}~") for name in (folder / names.TEMPORARY).iterdir())
        live = KEYS * VALUE_BYTES
        # Each worker keeps one prepared segment, a main two more and the one that it fills, and half is garbage.
        limit = 2 * live + (WORKERS + 3) * SEGMENT_BYTES + 8 * MIB

        async def small() -> bool:
            return used(folder) <= limit

        async def tidy() -> bool:
            present = [*left, *(folder / names.TEMPORARY).glob(f"{dead}~*")]
            return not any(file.exists() for file in present)

        await eventually(tidy, PATIENCE_SECONDS)
        await eventually(small, PATIENCE_SECONDS)
        for key in range(KEYS):
            assert len((await cluster.client.get(f"k{key}")).value) == VALUE_BYTES
