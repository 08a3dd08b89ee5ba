"""An archive of a folder under load is one revision of it, and a restored folder is a cluster with its keys."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from hanas_core.upkeep.archive import Item, read_items
from hanas_lab.linearizable import version_of
from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import SLOWNESS, within

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

MIB = 1 << 20
SMALL = {
    "HANAS_SEGMENT_BYTES": str(2 * MIB),
    "HANAS_VALUE_BYTES": str(MIB),
    "HANAS_COMPACT_BYTES": str(4 * MIB),
}


async def hanas(*words: str) -> str:
    """Run the command; return what it prints."""
    command = (sys.executable, "-m", "hanas_client.cli", *words)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def items(archive: Path) -> dict[str, Item]:
    with archive.open("rb") as lines:
        return {item.key: item for item in read_items(lines)}


async def overwritten(cluster: Cluster) -> None:
    """Make garbage, for compactions, until cancelled."""
    number = 0
    while True:
        number += 1
        await asyncio.gather(*(cluster.client.put(f"over/{key}", bytes([number % 256]) * MIB) for key in range(2)))


@pytest.mark.long
async def test_an_archive_is_one_revision_and_a_restored_folder_has_it(tmp_path: Path) -> None:
    archive, report, fresh = tmp_path / "archive", tmp_path / "report", tmp_path / "fresh"
    async with running(tmp_path / "first", 2, None, **SMALL, **PATIENT) as cluster:
        await cluster.settle()
        folder = str(cluster.lab.communication_folder)
        async with Writers(cluster.client) as load:
            garbage = asyncio.create_task(overwritten(cluster))
            await load.more(50)
            before = dict(load.acknowledged)
            await within(60 * SLOWNESS, hanas("export", "--folder", folder, "--report", str(report), str(archive)))
            await load.more(20)
            garbage.cancel()
        exported = items(archive)
        revision = json.loads(report.read_bytes())["revision"]
        versions = {key: item.version for key, item in exported.items()}
        assert {key: versions.get(key) for key in before} == {key: version for key, (_, version) in before.items()}
        until = {key for key, (_, version) in load.acknowledged.items() if version_of(version)[1] <= revision}
        later = {key for key, (_, version) in load.acknowledged.items() if version_of(version)[1] > revision}
        assert until <= set(exported)
        assert later, "writes went on during the export"
        assert not later & set(exported)
    fresh.mkdir()
    (fresh / "communication").mkdir()
    await hanas("restore", str(fresh / "communication"), str(archive))
    async with running(fresh, 2, None, **SMALL, **PATIENT) as cluster:
        await cluster.settle()
        restored = {entry.key: (await cluster.client.get(entry.key)) async for entry in cluster.client.list()}
        assert {key: (one.value, one.content_type) for key, one in restored.items()} == {
            key: (item.value, item.content_type) for key, item in exported.items()
        }
        await cluster.client.put("after", b"1")
        await cluster.until_alike()
        assert await cluster.client.alerts() == ()
