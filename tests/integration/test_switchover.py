"""Somebody names the next main: it takes over at once, and the former one stays as a backup."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hanas_client import cli
from hanas_client.errors import HanasError, Refused
from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY, Cluster, running
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, busy, eventually, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

GAP_SECONDS = 1.0
"""From the request to the next write, where each process has a core."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Three workers that nobody takes for dead: who follows at once was named."""
    async with running(tmp_path_factory.mktemp("lab"), 3, HANAS_SUSPECT_AFTER="5") as cluster:
        yield cluster


async def agreed(trio: Cluster, successor: str) -> float:
    """Ask until the main has heard that the successor is ready, and return when it was asked the last time."""

    async def asked() -> float:
        now = time.monotonic()
        await trio.client.switch_over(successor)
        return now

    return await eventually(asked)


async def test_the_one_that_was_named_is_the_main_and_no_write_is_lost(trio: Cluster) -> None:
    main, gaps = await trio.settle(), list[float]()
    for successor in [name for name in trio.names if name != main]:
        before, epoch = await trio.main(), await trio.epoch()
        await trio.until_verdict(successor, HEALTHY)
        async with Writers(trio.client, prefix=f"to-{successor}", writers=3, rest=0.005) as load:
            await within(PATIENCE_SECONDS, load.more(50))
            began = await agreed(trio, successor)
            await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
            gaps.append(time.monotonic() - began)
            await within(PATIENCE_SECONDS, load.more(20))
        assert load.failed == []
        assert await load.missing() == []
        assert await trio.main() == successor
        takeover = await trio.latest_takeover()
        assert (takeover.member, takeover.previous_main, takeover.verdict) == (successor, before, "HandedOver")
        await trio.until_verdict(before, HEALTHY)
        assert before in trio.running()
        assert "Traceback" not in trio.lab.log_of(before).read_text()
    assert min(gaps) < GAP_SECONDS * SLOWNESS * busy()


async def test_who_cannot_take_over_is_refused_and_nothing_happens(trio: Cluster) -> None:
    main, epoch = await trio.settle(), await trio.epoch()
    with pytest.raises(HanasError, match="there is no member 'nobody'"):
        await trio.client.switch_over("nobody")
    with pytest.raises(Refused, match=f"{main} is the main already"):
        await trio.client.switch_over(main)
    backup = await trio.a_backup()
    await trio.lab.kill(backup)

    async def refused() -> bool:
        with pytest.raises(Refused, match=f"{backup} does not run"):
            await trio.client.switch_over(backup)
        return True

    async def silent() -> bool:
        return any(
            member.member == backup and member.alive is False for member in (await trio.client.cluster()).members
        )

    await eventually(silent)
    assert await eventually(refused)
    assert (await trio.main(), await trio.epoch()) == (main, epoch)
    await trio.lab.start_worker(backup)
    await trio.until_verdict(backup, HEALTHY)


async def test_the_command_waits_for_the_new_main(trio: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    main = await trio.settle()
    backup = await trio.a_backup()
    await trio.until_verdict(backup, HEALTHY)
    arguments = ["switchover", backup, "--overseer", trio.lab.overseer_url]

    async def done() -> bool:
        return await asyncio.to_thread(cli.main, arguments) == 0

    assert await eventually(done)
    assert f"{backup} is the main now, after {main}" in capsys.readouterr().out
    assert await asyncio.to_thread(cli.main, arguments) == 1
    assert f"{backup} is the main already" in capsys.readouterr().err
