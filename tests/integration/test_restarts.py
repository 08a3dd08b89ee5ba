"""What was acknowledged is there after everything was stopped, or killed, and started again."""

from pathlib import Path

import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import running
from tests.integration.waiting import PATIENCE_SECONDS, within

# Many processes are started one after the other, which takes its time where others want the processor, too.
pytestmark = pytest.mark.timeout(180)


async def test_a_cluster_that_was_stopped_and_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        async with Writers(cluster.client, prefix="kept") as load:
            await within(PATIENCE_SECONDS, load.more(40))
        typed = await cluster.client.put("typed", b"\x00\xff", content_type="image/png")
        folder_id, epoch = (await cluster.client.cluster()).folder_id, await cluster.epoch()
    async with running(tmp_path, 3) as cluster:
        load.client = cluster.client
        assert await load.missing() == []
        assert await load.changed() == []
        read = await cluster.client.get("typed")
        assert (read.value, read.version, read.content_type) == (b"\x00\xff", typed.version, "image/png")
        again = await cluster.client.cluster()
        assert again.folder_id == folder_id
        assert (again.epoch or 0) > epoch
        assert len(await cluster.client.takeovers()) == again.epoch
        assert len(again.members) == 3
        main = await cluster.settle()
        assert set(load.acknowledged) <= set(await cluster.until_alike())
        # Now all at once, and the old main last.
        for name in ["overseer", *cluster.names]:
            await cluster.lab.kill(name)
        for name in ["overseer", *(name for name in cluster.names if name != main), main]:
            await cluster.lab.start_worker(name)
        assert await load.missing() == []
        assert await load.changed() == []


@pytest.mark.long
async def test_a_lone_worker_that_was_killed_becomes_the_main_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        async with Writers(cluster.client, prefix="lone", rest=0.005) as load:
            for overseer in (True, False):
                await within(PATIENCE_SECONDS, load.more(30))
                epoch = await cluster.epoch()
                if not overseer:
                    await cluster.lab.kill("overseer")
                await cluster.lab.kill("worker-1")
                await cluster.lab.start_worker("worker-1")
                await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        assert load.failed == []
        assert await load.missing() == []
        assert await load.changed() == []
        status = await cluster.status("worker-1")
        assert (status["role"], status["main"]) == ("main", "worker-1")
        await cluster.lab.start_worker("overseer")
        whys = [takeover.why for takeover in await cluster.client.takeovers()]
        assert whys == ["first", "failure", "failure"]
