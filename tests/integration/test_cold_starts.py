"""A worker that starts anew reads a snapshot and what came since; and what fsck and archives say of a real folder."""

import asyncio
from pathlib import Path

import pytest

from hanas_client import cli
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import all_of, eventually

pytestmark = pytest.mark.timeout(240)

SETTINGS = {"HANAS_SNAPSHOT_BYTES": "65536"}


async def snapshots(cluster: Cluster) -> list[str] | None:
    return sorted(path.name for path in (cluster.lab.communication_folder / "snapshots").iterdir()) or None


@pytest.mark.long
async def test_a_cold_start_from_a_snapshot(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path / "lab", 2, None, **SETTINGS) as cluster:
        await cluster.settle()
        await all_of(cluster.client.put(f"k/{number:04}", bytes(500)) for number in range(400))
        await eventually(lambda: snapshots(cluster))
        await cluster.client.put("after", b"the snapshot")
        backup = await cluster.a_backup()
        before = await cluster.until_alike()

        async def restarted() -> str:
            await cluster.lab.kill(backup)
            await cluster.lab.start_worker(backup)
            await cluster.settle()
            assert await cluster.until_alike() == before
            return cluster.lab.log_of(backup).read_text(encoding="utf-8")

        assert "a snapshot gave" in await restarted()

        async def damaged_ones_are_left_aside() -> bool:
            """The main may have taken a further one that is not damaged; then again."""
            for name in await snapshots(cluster) or []:
                (cluster.lab.communication_folder / "snapshots" / name).write_bytes(b"rubbish")
            return "a snapshot cannot be used" in await restarted()

        await eventually(damaged_ones_are_left_aside)
        # Who takes over from it serves every value.
        main = await cluster.main()
        await cluster.lab.kill(main)
        assert (await cluster.client.get("k/0123")).value == bytes(500)
        assert (await cluster.client.get("after")).value == b"the snapshot"
        archive = str(tmp_path / "archive")
        command = ["export", "--overseer", cluster.lab.overseer_url, archive]

        async def exported() -> bool:
            """The command gives up after 2 s without an answer, which a machine that is busy with starts may take."""
            return await asyncio.to_thread(cli.main, command) == 0

        await eventually(exported)
        for snapshot in (cluster.lab.communication_folder / "snapshots").iterdir():
            snapshot.unlink(missing_ok=True)
    assert len(Path(archive).read_text(encoding="utf-8").splitlines()) == 403
    capfd.readouterr()
    assert cli.main(["fsck", str(tmp_path / "lab" / "communication")]) == 0
    assert "0 errors" in capfd.readouterr().out
