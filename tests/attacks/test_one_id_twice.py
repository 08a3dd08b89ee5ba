"""Two processes with one `WORKER_ID`."""

import asyncio
import sys
from pathlib import Path

import pytest

from hanas_lab.writers import Writers
from tests.attacks.workers import environment
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.timeout(180)


async def start_twin(cluster: Cluster, name: str) -> asyncio.subprocess.Process:
    """Start a second process with the id of a worker, on ports of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hanas_worker",
        env=environment(name, cluster.lab.communication_folder, cluster.lab.overseer_url),
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> str:
    """Wait for its end, and return what it said."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, said = await process.communicate()
    assert process.returncode == 1
    return said.decode()


def prepared(cluster: Cluster, name: str) -> set[str]:
    return {path.name for path in (cluster.lab.communication_folder / "tmp").iterdir() if path.name.startswith(name)}


async def test_the_second_one_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, 2, None, **PATIENT) as cluster:
        main = await cluster.settle()
        epoch, files = await cluster.epoch(), prepared(cluster, main)
        assert files
        async with Writers(cluster.client, prefix="kept") as load:
            await load.more(10)
            said = await ended(await start_twin(cluster, main))
            await load.more(10)
        assert f"WORKER_ID={main}: another process with this id runs" in said
        assert "Traceback" not in said
        assert files <= prepared(cluster, main)
        assert await cluster.epoch() == epoch
        assert await load.missing() == []


async def test_one_that_started_while_the_first_one_was_paused_ends_when_that_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, 3, None, **PATIENT) as cluster:
        main = await cluster.settle()
        backup = await cluster.a_backup()
        await cluster.lab.pause(backup)
        twin = await start_twin(cluster, backup)

        async def joined() -> bool:
            members = (await cluster.client.cluster()).members
            return any(member.member == backup and member.alive and member.role == "backup" for member in members)

        async with Writers(cluster.client, prefix="kept") as load:
            await load.more(10)
            await asyncio.sleep(3.0)  # the twin watches for a second, and joins
            await eventually(joined)
            await cluster.lab.resume(backup)
            said = await ended(twin)
            await load.more(10)
        assert f"WORKER_ID={backup}: another process with this id runs" in said
        await cluster.until_verdict(backup, "Healthy")
        assert await cluster.main() == main
        assert await load.missing() == []
