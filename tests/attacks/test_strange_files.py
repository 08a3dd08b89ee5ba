"""On a folder on which it cannot serve a worker says which file it is, waits for nobody, and `hanas fsck` agrees."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hanas_core.members import cluster
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder
from tests.integration.programs import COMMANDS, free_port, started

SEGMENT_BYTES = 2 << 20


@pytest.fixture
async def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a worker that has served; no overseer listens."""
    folder = tmp_path / "communication"
    folder.mkdir()
    run(cluster.initialise(PosixFolder(folder)))
    port = free_port(3001, 3999, also=1000)
    environment = {
        "WORKER_ID": "w1",
        "PORT": str(port),
        "OVERSEER_IP": f"http://localhost:{free_port(20_000, 30_000)}",
        "COMMUNICATION_FOLDER": str(folder),
        "HANAS_SEGMENT_BYTES": str(SEGMENT_BYTES),
        "HANAS_VALUE_BYTES": str(SEGMENT_BYTES // 2),
    }
    async with started("hanas-worker", tmp_path, **environment) as worker:
        await worker.says("serving epoch 1")
        worker.process.kill()
    return environment


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (names.member(0), zero),
        (names.claim(1), replaced(os.mkfifo)),
        (names.segment(1, 1), replaced(Path.mkdir)),
    ],
    ids=["zero", "FIFO", "directory"],
)
async def test_a_worker_names_the_file_that_stops_it(
    tmp_path: Path, environment: dict[str, str], name: str, damage: Callable[[Path], None]
) -> None:
    damage(Path(environment["COMMUNICATION_FOLDER"]) / name)
    async with started("hanas-worker", tmp_path, **environment) as worker:
        await worker.says(f"{name}:")
        assert worker.process.returncode is None, worker.said
        assert await worker.stop() in {0, 1, -signal.SIGTERM}, "it goes on trying, or is about to end by itself"
    assert not any("Traceback" in line or "Error(" in line for line in worker.said), worker.said
    fsck = subprocess.run(
        [COMMANDS / "hanas", "fsck", environment["COMMUNICATION_FOLDER"]],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert fsck.returncode == 1
    assert f"error: {name}" in fsck.stdout, fsck
