"""A volume so full that the directory of the segments has no room for one more name, when the log rolls."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.small_volume import (
    MIB,
    PATIENCE_SECONDS,
    SETTINGS,
    VALUE_BYTES,
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


async def test_a_roll_without_room_for_one_more_name_ends_no_epoch(small: Cluster) -> None:
    main = await small.settle()
    folder = small.lab.communication_folder
    # The main has two segments ahead: its log has the one, the other one waits for the next name.

    async def prepared() -> bool:
        return ahead(folder, main) == {"named", "waiting"} and tried(small, main)

    await eventually(prepared, PATIENCE_SECONDS)
    epoch = await small.epoch()
    foreign = folder / "lost+found" / "foreign"
    try:
        with contextlib.suppress(OSError), foreign.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with contextlib.suppress(OSError):
            for number in range(10_000):
                (folder / "segments" / f"foreign-{number:09}").hardlink_to(foreign)
        written = await fill(small, "g")
        assert len(written) * VALUE_BYTES > MIB, "the log rolled into what it had"
        await expect(small, written)
        assert not await has_room(small)
        assert "waiting" in ahead(folder, main), "space without a name"
        for key in list(written)[:2]:
            await small.client.delete(key)
            del written[key]
    finally:
        for name in (folder / "segments").glob("foreign-*"):
            name.unlink()
        foreign.unlink()
    await eventually(lambda: writes(small, "h", written), PATIENCE_SECONDS)
    assert (await small.main(), await small.epoch()) == (main, epoch), "nobody took over"
    await expect(small, written)
    await all_of(small.client.delete(key) for key in written)


def tried(cluster: Cluster, main: str) -> bool:
    """Whether those that joined have tried the volume with the main, and removed the file of that, which is room."""
    joined = [name for name in cluster.names if name != main]
    return all("the folder was tried with" in cluster.lab.log_of(name).read_text() for name in joined)


def ahead(folder: Path, member: str) -> set[str]:
    """Of what space this worker has some ahead: `named` as the next segment of its log, or `waiting` for a name."""
    kinds = set()
    for space in (folder / "tmp").glob(f"{member}~*"):
        with contextlib.suppress(FileNotFoundError), space.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_size == 2 * MIB and not any(file.read(4096)):  # one that was begun keeps this name for a moment
                kinds.add("named" if state.st_nlink > 1 else "waiting")
    return kinds
