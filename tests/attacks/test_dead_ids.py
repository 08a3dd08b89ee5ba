"""Ids whose processes died without a word: they cost the living nothing."""

import asyncio
import os
from pathlib import Path

import pytest

from hanas_lab.writers import Writers
from tests.attacks.dead_ids import populate
from tests.integration.cluster import Cluster, running

pytestmark = pytest.mark.timeout(180)

WATCHED_SECONDS = 15.0


def seconds_of_processor(pid: int) -> float:
    """The time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pid_of(cluster: Cluster, name: str) -> int:
    return int(next(worker["pid"] for worker in cluster.lab.status()["workers"] if worker["name"] == name))


async def test_a_fresh_start_among_dead_ids_has_one_main(tmp_path: Path) -> None:
    populate(tmp_path / "communication", 250)
    async with running(tmp_path, 3) as cluster:
        main = await cluster.settle()
        epoch, before = await cluster.epoch(), seconds_of_processor(pid_of(cluster, main))
        await asyncio.sleep(WATCHED_SECONDS)  # time is the subject: what the dead ones cost in it
        share = (seconds_of_processor(pid_of(cluster, main)) - before) / WATCHED_SECONDS
        assert await cluster.epoch() == epoch <= 2
        assert share < 0.4, f"an idle main uses {share:.0%} of a core"
        async with Writers(cluster.client, prefix="kept") as load:
            await load.more(20)
            await cluster.lab.kill(main)
            await load.acknowledged_after(epoch)
        assert await load.missing() == []
