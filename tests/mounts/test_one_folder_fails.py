"""The folder hangs, breaks or becomes read-only at one worker: the others do not care, and it says so itself."""

import asyncio
import time

import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, eventually, within
from tests.mounts.mounted import FOLDER_UNAVAILABLE, Mounted

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SOON_SECONDS = 5.0 * SLOWNESS
MOST_THREADS = 25
"""The event loop, one for each lane, and a few of the interpreter's own."""


async def break_folder(cluster: Mounted, name: str, way: str) -> None:
    mount = cluster.mounts[name]
    match way:
        case "hangs":
            mount.hang()
        case "is gone":
            await mount.break_off()
        case _:
            await mount.replace(read_only=True)


async def mend_folder(cluster: Mounted, name: str, way: str) -> None:
    if way == "hangs":
        cluster.mounts[name].go_on()
    else:
        await cluster.mounts[name].replace()


WAYS = pytest.mark.parametrize("way", ["hangs", "is gone", "is read-only"])


@WAYS
async def test_at_a_backup(mounts: Mounted, way: str) -> None:
    main = await mounts.restore()
    backup = await mounts.a_backup()
    epoch = await mounts.epoch()
    async with Writers(mounts.client, prefix=f"backup/{way}", rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(10))
        began = time.monotonic()
        await break_folder(mounts, backup, way)
        await mounts.until_own_verdict(backup, FOLDER_UNAVAILABLE)
        assert time.monotonic() - began < SOON_SECONDS
        alert = await mounts.raised(backup)
        assert alert.severity == "critical"
        assert f"check the mount of the volume at {backup}" in (alert.advice or "")
        await within(PATIENCE_SECONDS, load.more(30))
        # It answers, hears the main and redirects to it, whatever its folder does.
        for _ in range(20):
            assert (await mounts.quick(backup, "/healthz")).status_code == 200
            assert (await mounts.quick(backup, "/v1/kv/x")).status_code == 307
        assert not (await mounts.quick(backup, "/v1/status")).json()["folder"]["ok"]
        assert mounts.threads(backup) <= MOST_THREADS
        await mend_folder(mounts, backup, way)
        await mounts.until_verdict(backup, HEALTHY)
        await mounts.until_cleared()
        await within(PATIENCE_SECONDS, load.more(10))
    assert (await mounts.epoch(), await mounts.main()) == (epoch, main)
    assert load.failed == []
    assert await load.missing() == []
    await mounts.until_alike()


@WAYS
async def test_at_the_main(mounts: Mounted, way: str) -> None:
    main = await mounts.restore()
    epoch = await mounts.epoch()
    async with Writers(mounts.client, prefix=f"main/{way}", rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(10))
        began = time.monotonic()
        await break_folder(mounts, main, way)
        took = await within(PATIENCE_SECONDS, load.acknowledged_after(epoch)) - began
        assert took < SOON_SECONDS, "gray failure is found in time"
        await mounts.until_own_verdict(main, FOLDER_UNAVAILABLE)
        for _ in range(20):
            assert (await mounts.quick(main, "/healthz")).status_code == 200
        assert mounts.threads(main) <= MOST_THREADS
        assert (await mounts.latest_takeover()).verdict in {"PrimaryFailed", "PrimaryWedged"}
        await mend_folder(mounts, main, way)
        await mounts.until_verdict(main, HEALTHY)
        await mounts.until_cleared()
        await within(PATIENCE_SECONDS, load.more(10))
    assert load.failed == []
    assert await load.missing() == []
    await mounts.until_alike()


async def test_a_worker_that_is_stopped_ends_in_time_although_its_folder_hangs(mounts: Mounted) -> None:
    main = await mounts.restore()
    epoch = await mounts.epoch()
    async with Writers(mounts.client, prefix="stopped", rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(10))
        mounts.mounts[main].hang()
        await mounts.until_own_verdict(main, FOLDER_UNAVAILABLE)
        began = time.monotonic()
        await mounts.lab.terminate(main)
        assert time.monotonic() - began < 8.0 * SLOWNESS, (
            "once the folder time-out, and two seconds for open connections"
        )
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
    assert await load.missing() == []


async def test_at_all_nothing_is_taken_over_and_nothing_is_lost(mounts: Mounted) -> None:
    await mounts.restore()
    epoch = await mounts.epoch()
    async with Writers(mounts.client, prefix="all", rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(10))
        for mount in mounts.mounts.values():
            mount.hang()
        await asyncio.gather(*(mounts.until_own_verdict(name, FOLDER_UNAVAILABLE) for name in mounts.names))
        assert (await mounts.client.cluster()).epoch == epoch
        for mount in mounts.mounts.values():
            mount.go_on()
        await within(PATIENCE_SECONDS, load.more(30))
    assert await load.missing() == []
    await mounts.restore()
    await mounts.until_alike()

    async def no_alerts_but_about_takeovers() -> bool:
        return {alert.kind for alert in await mounts.client.alerts()} <= {"PrimaryFailed"}

    await eventually(no_alerts_but_about_takeovers)
