"""A log of many small segments: main, backups and restarts go from one to the next."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_client import Refused
from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import SLOWNESS, eventually, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SEGMENT_BYTES = 2 << 20
VALUE_BYTES = 512 << 10
SIZES = [VALUE_BYTES, 1, 200_000, 4096, 300_001, 0]
PATIENCE_SECONDS = 40.0 * SLOWNESS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    environment = {"HANAS_SEGMENT_BYTES": str(SEGMENT_BYTES), "HANAS_VALUE_BYTES": str(VALUE_BYTES)}
    async with running(tmp_path_factory.mktemp("lab"), 3, None, **environment, **PATIENT) as cluster:
        yield cluster


def value(key: str, size: int) -> bytes:
    """Bytes that are this key's only."""
    return hashlib.shake_128(key.encode()).digest(size)


async def write(cluster: Cluster, prefix: str, count: int) -> dict[str, tuple[int, str]]:
    """Write values of several sizes, some at once; the size and the version of each."""
    gate = asyncio.Semaphore(4)

    async def one(number: int) -> tuple[str, tuple[int, str]]:
        key, size = f"{prefix}/{number:03d}", SIZES[number % len(SIZES)]
        async with gate:
            return key, (size, (await cluster.client.put(key, value(key, size))).version)

    return dict(await asyncio.gather(*(one(number) for number in range(count))))


async def expect(cluster: Cluster, written: dict[str, tuple[int, str]]) -> None:
    listed = {entry.key: (entry.size, entry.version) async for entry in cluster.client.list()}
    assert {key: listed.get(key) for key in written} == written
    for key, (size, _) in written.items():
        assert (await cluster.client.get(key)).value == value(key, size)


def segments(cluster: Cluster, epoch: int) -> int:
    """How many the main of an epoch has begun: the name of a further one is taken ahead, and its header is zero."""
    return sum(map(begun, (cluster.lab.communication_folder / "segments").glob(f"{epoch:010d}-*")))


def begun(segment: Path) -> bool:
    with segment.open("rb") as file:
        return any(file.read(4096))


@pytest.mark.long
async def test_the_log_rolls_while_all_follow(small: Cluster) -> None:
    main = await small.settle()
    written = await write(small, "rolled", 60)
    assert segments(small, 1) >= 5
    await expect(small, written)
    await small.until_alike()

    async def level() -> bool:
        committed = {(await small.status(name))["committed"] for name in small.names}  # a probe adds to the log too
        return len(committed) == 1 and committed.pop().startswith(f"1/{segments(small, 1)}/")

    await eventually(level)

    # A takeover, and one that comes back and reads it all from the beginning.
    await small.lab.kill(main)
    written |= await write(small, "taken-over", 30)
    assert await small.main() != main
    await small.lab.start_worker(main)
    await expect(small, written)
    assert set(written) <= set(await small.until_alike())

    # Everything is killed at once.
    for name in small.names:
        await small.lab.kill(name)
    for name in small.names:
        await small.lab.start_worker(name)
    await expect(small, written)
    assert set(written) <= set(await small.until_alike())


@pytest.mark.long
async def test_the_main_dies_again_and_again_while_it_rolls(small: Cluster) -> None:
    await small.settle()
    async with Writers(small.client, prefix="small", writers=2, rest=0.01) as load:
        for round_number in range(2):
            main, epoch = await small.main(), await small.epoch()
            writing = asyncio.create_task(write(small, f"round-{round_number}", 24))
            await within(PATIENCE_SECONDS, load.more(5))
            await small.lab.kill(main)
            await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
            await expect(small, await within(PATIENCE_SECONDS, writing))
            await small.lab.start_worker(main)
    assert load.failed == []
    assert await load.missing() == []
    assert await load.changed() == []


async def test_a_value_over_the_limit_that_was_set(small: Cluster) -> None:
    with pytest.raises(Refused) as refused:
        await small.client.put("too-large", bytes(VALUE_BYTES + 1))
    assert refused.value.status == 413
    assert str(VALUE_BYTES) in refused.value.detail
