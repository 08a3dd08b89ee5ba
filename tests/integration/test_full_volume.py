"""A volume that is full, a real one: ext4 in a file, on a loop device."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_client import NotFound, cli
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.small_volume import (
    MIB,
    PATIENCE_SECONDS,
    SETTINGS,
    VALUE_BYTES,
    VOLUME_BYTES,
    expect,
    fill,
    has_room,
    small_volume,
    writes,
)
from tests.integration.waiting import all_of, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_volume(tmp_path_factory) as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(volume: Path) -> AsyncIterator[Cluster]:
    async with running(volume, 3, None, **SETTINGS, **PATIENT) as cluster:
        yield cluster


@pytest.mark.long
async def test_a_full_volume_refuses_writes_and_deletes_make_room(small: Cluster) -> None:
    await small.settle()
    written = await fill(small, "a")
    assert len(written) * VALUE_BYTES > VOLUME_BYTES // 3
    await expect(small, written)
    status = await small.status(await small.main())
    assert status["folder"]["full"]
    assert status["role"] == "main"
    # Every third key stays, so that what is live must be copied to make room.
    for number, key in enumerate(list(written)):
        if number % 3:
            await small.client.delete(key)
            del written[key]
    await eventually(lambda: writes(small, "after", written), PATIENCE_SECONDS)
    await expect(small, written)
    await eventually(lambda: has_room(small), PATIENCE_SECONDS)
    again = await fill(small, "b")
    assert len(again) > 10
    await expect(small, written | again)
    for key in again:
        await small.client.delete(key)
    await eventually(lambda: has_room(small), PATIENCE_SECONDS)
    await expect(small, written)


@pytest.mark.long
async def test_a_takeover_succeeds_on_a_full_volume(small: Cluster) -> None:
    main = await small.settle()
    written = await fill(small, "c")
    epoch = await small.epoch()
    await small.lab.kill(main)
    await expect(small, dict(list(written.items())[:5]))
    assert await small.main() != main
    assert await small.epoch() > epoch
    await expect(small, written)
    await small.lab.start_worker(main)
    for key in written:
        with contextlib.suppress(NotFound):
            await small.client.delete(key)
    await eventually(lambda: has_room(small), PATIENCE_SECONDS)
    await small.client.put("d", b"at last")
    await small.settle()
    assert (await small.client.get("d")).value == b"at last"


@pytest.mark.long
async def test_a_volume_that_others_filled_recovers_when_they_leave(small: Cluster) -> None:
    main = await small.settle()
    foreign = small.lab.communication_folder / "lost+found" / "foreign"
    with contextlib.suppress(OSError), foreign.open("wb") as file:
        while True:
            file.write(bytes(MIB))
            file.flush()
    written = await fill(small, "e")
    await expect(small, written)
    assert await small.main() == main
    # Whatever takes over now has only what it prepared before.
    await small.lab.kill(main)
    await expect(small, written)
    foreign.unlink()
    await small.lab.start_worker(main)
    await eventually(lambda: writes(small, "f", written), PATIENCE_SECONDS)
    await expect(small, written)
    await small.settle()
    await all_of(small.client.delete(key) for key in written)


@pytest.mark.long
async def test_nothing_on_it_is_damaged(small: Cluster) -> None:
    folder = str(small.lab.communication_folder)
    await small.settle()
    for name in small.names:
        await small.lab.kill(name)
    assert await asyncio.to_thread(cli.main, ["fsck", "--quiet", folder]) == 0
    for name in small.names:
        await small.lab.start_worker(name)
    await small.settle()
