"""A link that is cut is told apart from a dead main: an alert, and nothing else happens."""

import pytest

from hanas_client.documents import Alert
from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK_FAILED = "LinkFailed"


async def link_states(cluster: Cluster) -> dict[tuple[str, str], str]:
    return {(link.source, link.target): link.state for link in (await cluster.client.cluster()).links}


async def expect_redirect(cluster: Cluster, backup: str, main: str) -> None:
    answer = await cluster.http.put(cluster.kv(backup, "redirected"), content=b"x")
    assert (answer.status_code, answer.headers["location"]) == (307, cluster.kv(main, "redirected"))
    assert (await cluster.http.put(answer.headers["location"], content=b"x")).status_code in {201, 204}


@pytest.mark.parametrize("one_way", [False, True], ids=["both-ways", "from-the-main"])
async def test_a_cut_link(trio: Cluster, one_way: bool) -> None:
    main = await trio.settle()
    backup, other = (name for name in trio.names if name != main)
    epoch = await trio.epoch()
    incarnation = (await trio.status(main))["incarnation"]
    async with Writers(trio.client, prefix=f"cut/{one_way}", rest=0.01) as load:
        trio.lab.cut(main, backup, one_way=one_way)
        await trio.until_verdict(backup, LINK_FAILED)

        async def raised() -> Alert | None:
            return await trio.alert(LINK_FAILED, about=main)

        alert = await eventually(raised)
        assert (alert.severity, alert.member) == ("notice", backup)
        assert "link failed, primary alive: not urgent" in alert.message
        assert main in (alert.advice or "")
        assert backup in (alert.advice or "")
        assert (await trio.status(other))["verdict"] == HEALTHY

        async def shown() -> bool:
            return await link_states(trio) == {(main, backup): "failed", (main, other): "up"}

        await eventually(shown)
        await expect_redirect(trio, backup, main)
        await within(PATIENCE_SECONDS, load.more(50))
        # It follows the log without keep-alives, too.
        await trio.client.put(f"after-the-cut/{one_way}", b"x")

        async def followed() -> bool:
            url = trio.kv(backup, f"after-the-cut/{one_way}?consistency=stale")
            return (await trio.http.get(url)).status_code == 200

        await eventually(followed)
        assert (await trio.status(backup))["verdict"] == LINK_FAILED
        trio.lab.heal(main, backup, one_way=one_way)
        await trio.until_verdict(backup, HEALTHY)

        async def cleared() -> bool:
            return await raised() is None and set((await link_states(trio)).values()) == {"up"}

        await eventually(cleared)
        await within(PATIENCE_SECONDS, load.more(10))
    assert (await trio.epoch(), await trio.main()) == (epoch, main)
    assert (await trio.status(main))["incarnation"] == incarnation
    assert load.failed == []
    assert await load.missing() == []


async def test_nothing_is_sent_from_a_backup_so_nothing_is_missed(trio: Cluster) -> None:
    main = await trio.settle()
    backup = await trio.a_backup()
    trio.lab.cut(backup, main, one_way=True)
    try:
        heard = (await trio.status(backup))["revision"]
        for number in range(20):
            await trio.client.put(f"one-way/{number}", b"x")
        await trio.until_alike()
        status = await trio.status(backup)
        assert (status["verdict"], status["alerts"]) == (HEALTHY, [])
        assert status["revision"] >= heard + 20
    finally:
        trio.lab.heal(backup, main, one_way=True)


async def test_a_main_that_reaches_nobody_goes_on(trio: Cluster) -> None:
    """All links are cut and the overseer is dead: the folder still says that the main lives."""
    main = await trio.settle()
    backups = [name for name in trio.names if name != main]
    claim = (await trio.client.cluster()).epoch
    async with Writers(trio.client, prefix="isolated", rest=0.01) as load:
        await trio.lab.kill("overseer")
        for backup in backups:
            trio.lab.cut(main, backup)
        for backup in backups:
            await trio.until_verdict(backup, LINK_FAILED)

        async def isolated() -> bool:
            status = await trio.status(main)
            kinds = {alert["kind"] for alert in status["alerts"]}
            return status["verdict"] == "PrimaryIsolated" and kinds == {"PrimaryIsolated"}

        await eventually(isolated)
        await within(PATIENCE_SECONDS, load.more(30))
        await expect_redirect(trio, backups[0], main)
        for backup in backups:
            trio.lab.heal(main, backup)
        for backup in backups:
            await trio.until_verdict(backup, HEALTHY)
        await trio.lab.start_worker("overseer")
        await within(PATIENCE_SECONDS, load.more(10))
    assert (await trio.client.cluster()).epoch == claim
    assert load.failed == []
    assert await load.missing() == []
