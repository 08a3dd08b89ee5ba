"""Mounts that believe for a minute what they once knew of names, as NFS may: nothing becomes slower or wrong."""

import time

import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, within
from tests.mounts.mounted import Mounted

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SOON_SECONDS = 4.0 * SLOWNESS


async def test_a_takeover_does_not_wait_for_caches(cached: Mounted) -> None:
    async with Writers(cached.client, prefix="cached", rest=0.01) as load:
        for _ in range(3):
            main = await cached.settle()
            epoch = await cached.epoch()
            await within(PATIENCE_SECONDS, load.more(30))
            began = time.monotonic()
            await cached.lab.kill(main)
            assert await within(PATIENCE_SECONDS, load.acknowledged_after(epoch)) - began < SOON_SECONDS
            await cached.lab.start_worker(main)
            await cached.until_verdict(main, HEALTHY)
    assert load.failed == []
    assert await load.missing() == []
    await cached.until_alike()
