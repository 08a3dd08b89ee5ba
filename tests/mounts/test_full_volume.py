"""The volume is full: writes are refused and told, nothing is lost, and it goes on by itself when there is room."""

from pathlib import Path

import pytest

from hanas_client.documents import Alert
from hanas_client.errors import Refused
from tests.integration.cluster import HEALTHY
from tests.integration.waiting import eventually
from tests.mounts.mounted import Mounted

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


def fill(ballast: Path) -> None:
    """Take all the room that is left."""
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left on device"):
        file.writelines(bytes(64 << 10) for _ in range(1 << 20))


async def test_a_full_volume(small: Mounted) -> None:
    main = await small.settle()
    epoch = await small.epoch()
    await small.client.put("large/0", bytes(200_000))
    written = 1
    ballast = small.volume / ".ballast"
    fill(ballast)

    async def refused() -> bool:
        nonlocal written
        try:
            await small.client.put(f"large/{written}", bytes(200_000))
        except Refused as refusal:
            return refusal.status == 507
        written += 1
        return False

    await eventually(refused)
    backup = await small.a_backup()
    await small.until_verdict(backup, "FolderFull")

    async def raised() -> Alert | None:
        return await small.alert("FolderFull", about=main)

    alert = await eventually(raised)
    assert alert.severity == "critical"
    assert len((await small.client.get("large/0")).value) == 200_000
    # Who serves next finds room for its claim all the same.
    await small.lab.kill(main)

    async def taken_over() -> bool:
        cluster = await small.client.cluster()
        return (cluster.epoch or 0) > epoch and cluster.main is not None and cluster.main.state == "serving"

    await eventually(taken_over)
    assert len((await small.client.get(f"large/{written - 1}")).value) == 200_000
    ballast.unlink()
    await small.lab.start_worker(main)

    async def writes() -> bool:
        await small.client.put("after", b"x")
        return True

    await eventually(writes)
    for name in small.running():
        if name != await small.main():
            await small.until_verdict(name, HEALTHY)
    assert await small.until_alike()
