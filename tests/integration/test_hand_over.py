"""A main that is stopped in order hands over: the next one need not wait for a proof that it died."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRAIN_SECONDS = 6.0 * SLOWNESS
"""Several times what is asked of a main, and then of an overseer, that is being stopped."""


def terminate(cluster: Cluster, name: str) -> None:
    """SIGTERM, as Kubernetes or a person sends it."""
    [worker] = [worker for worker in cluster.lab.status()["workers"] if worker["name"] == name]
    os.kill(worker["pid"], signal.SIGTERM)


async def ended(cluster: Cluster, name: str) -> None:
    async def gone() -> bool:
        return name not in cluster.running()

    await eventually(gone)


async def test_the_next_main_follows_at_once(trio: Cluster) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    async with Writers(trio.client, prefix="handed", writers=3, rest=0.005) as load:
        await within(PATIENCE_SECONDS, load.more(50))
        terminate(trio, main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        await within(PATIENCE_SECONDS, load.more(20))
    await ended(trio, main)
    assert load.failed == []
    assert await load.missing() == []
    successor = await trio.main()
    takeover = await trio.latest_takeover()
    assert (takeover.epoch, takeover.member, takeover.previous_main) == (epoch + 1, successor, main)
    assert (takeover.why, takeover.verdict) == ("hand-over", "HandedOver")
    assert takeover.evidence["probe"] is None
    # Who left in order is not missed.
    kinds = {(alert.kind, alert.about) for alert in await trio.client.alerts()}
    assert not kinds & {("PrimaryFailed", main), ("Unknown", main)}
    log = trio.lab.log_of(main).read_text()
    assert f"handing over epoch {epoch}" in log
    assert "Traceback" not in log


@pytest.mark.long
async def test_every_worker_in_turn_as_in_a_rolling_update(trio: Cluster) -> None:
    await trio.settle()
    epoch = await trio.epoch()
    async with Writers(trio.client, prefix="rolling", rest=0.01) as load:
        for name in trio.names:
            terminate(trio, name)
            await ended(trio, name)
            await trio.lab.start_worker(name)
            await trio.settle()
            await within(PATIENCE_SECONDS, load.more(10))
    assert load.failed == []
    assert await load.missing() == []
    later = [takeover for takeover in await trio.client.takeovers() if takeover.epoch > epoch]
    assert {takeover.why for takeover in later} - {"compaction"} == {"hand-over"}


async def test_a_backup_that_leaves_changes_nothing(trio: Cluster) -> None:
    main = await trio.settle()
    epoch, backup = await trio.epoch(), await trio.a_backup()
    terminate(trio, backup)
    await ended(trio, backup)
    assert not (await trio.client.put("etag", b"x")).version.startswith(f"{epoch + 1}-")
    assert (await trio.main(), await trio.epoch()) == (main, epoch)


@pytest.mark.long
async def test_who_is_asked_to_stop_serves_on_for_those_who_are_still_sent_to_it(tmp_path: Path) -> None:
    async with running(tmp_path, 2, None, **PATIENT, HANAS_DRAIN_SECONDS=str(DRAIN_SECONDS)) as duo:
        main = await duo.settle()
        [backup] = [name for name in duo.names if name != main]

        async def unready(url: str) -> bool:
            answer = await duo.http.get(f"{url}/readyz")
            return answer.status_code == 503 and "is being stopped" in answer.json()["detail"]

        async def redirected() -> httpx.Response | None:
            answer = await duo.http.put(duo.kv(main, "late"), content=b"x")
            return answer if answer.status_code == 307 else None

        async def told() -> bool:
            main = (await duo.http.get(f"{duo.lab.overseer_url}/v1/main")).json()["main"]
            return main is not None and main["member"] == backup

        terminate(duo, main)
        await eventually(lambda: unready(duo.url(main)))
        location = (await eventually(redirected)).headers["location"]
        assert location == duo.kv(backup, "late")
        assert (await duo.http.put(location, content=b"x")).status_code == 201
        stale = await duo.http.get(duo.kv(main, "late"), params={"consistency": "stale"})
        assert stale.status_code in {200, 404}
        assert main in duo.running()
        overseer = duo.lab.status()["overseer"]
        os.kill(overseer["pid"], signal.SIGTERM)
        await eventually(lambda: unready(duo.lab.overseer_url))
        await eventually(told)
        await ended(duo, main)
        # The last one has nobody to lead clients to.
        terminate(duo, backup)
        await ended(duo, backup)
        log = duo.lab.log_of(main).read_text()
        assert "Traceback" not in log
