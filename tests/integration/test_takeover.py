"""A main that dies or sleeps is replaced by a backup, without losing what was acknowledged."""

import asyncio

import httpx
import pytest

from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATE_WRITES = 8


async def expect_nothing_lost(load: Writers) -> None:
    assert load.failed == []
    assert await load.missing() == []
    assert await load.changed() == []


async def test_a_killed_main_is_replaced_and_comes_back_as_a_backup(trio: Cluster) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    incarnation = (await trio.status(main))["incarnation"]
    known = await trio.client.put("etag", b"kept over the takeover")
    async with Writers(trio.client, prefix="killed", writers=3, rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(30))
        await trio.lab.kill(main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        await within(PATIENCE_SECONDS, load.more(30))
    await expect_nothing_lost(load)
    successor = await trio.main()
    assert successor != main
    assert load.epochs() == [epoch, epoch + 1]
    assert (await trio.client.get("etag")).version == known.version
    assert not (await trio.client.put("etag", b"replaced", if_match=known.version)).created

    takeover = await trio.latest_takeover()
    assert (takeover.epoch, takeover.follows) == (epoch + 1, epoch)
    assert (takeover.member, takeover.previous_main) == (successor, main)
    assert (takeover.why, takeover.verdict) == ("failure", "PrimaryFailed")
    assert "no keep-alive for" in (takeover.words or "")
    evidence = takeover.evidence
    assert "the main failed" in evidence["words"]
    assert evidence["probe"]
    assert evidence["keepalivesHeard"] > 0
    assert evidence["keepaliveAge"] >= evidence["patience"]
    assert 0 <= evidence["canaryTook"] <= evidence["probeAge"]
    assert evidence["lookedAge"] < evidence["probeAge"]

    async def urgent() -> bool:
        alert = await trio.alert("PrimaryFailed", about=main)
        return alert is not None and alert.severity == "urgent" and successor in alert.message

    await eventually(urgent)

    await trio.lab.start_worker(main)
    await trio.until_verdict(main, HEALTHY)
    status = await trio.status(main)
    assert status["incarnation"] != incarnation
    assert (status["main"], status["epoch"], status["slot"]) == (successor, epoch + 1, 0)
    answer = await trio.http.get(trio.kv(main, "etag"))
    assert (answer.status_code, answer.headers["location"]) == (307, trio.kv(successor, "etag"))

    async def over() -> bool:
        return await trio.alert("PrimaryFailed", about=main) is None

    await eventually(over)
    # Warm: the one that came back has the main's keys with the main's versions.
    alike = await trio.until_alike()
    assert alike == {entry.key: entry.version async for entry in trio.client.list()}
    assert await trio.epoch() == epoch + 1


async def test_a_main_that_wakes_up_acknowledges_nothing(trio: Cluster) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    async with Writers(trio.client, prefix="paused", rest=0.01) as load, httpx.AsyncClient(trust_env=False) as http:
        await within(PATIENCE_SECONDS, load.more(20))
        await trio.lab.pause(main)
        # They wait in the sleeping main's socket, and are the first that it sees when it wakes up.
        writes = [asyncio.create_task(late(http, trio.kv(main, f"late/{number}"))) for number in range(LATE_WRITES)]
        reads = [asyncio.create_task(late(http, trio.kv(main, "paused/0/000001"), "GET")) for _ in range(LATE_WRITES)]
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        successor = await trio.main()
        await trio.lab.resume(main)
        answers = await within(PATIENCE_SECONDS, asyncio.gather(*writes, *reads))
        assert set(answers) <= {307, 503}, answers
        await trio.until_verdict(main, HEALTHY)
        await within(PATIENCE_SECONDS, load.more(20))
    assert successor != main
    assert await trio.main() == successor
    await expect_nothing_lost(load)
    assert [entry.key async for entry in trio.client.list("late/")] == []
    assert "late/0" not in await trio.until_alike()
    assert (await trio.latest_takeover()).epoch == epoch + 1


async def late(http: httpx.AsyncClient, url: str, method: str = "PUT") -> int:
    return (await http.request(method, url, content=b"late", timeout=PATIENCE_SECONDS)).status_code


async def test_a_paused_backup_disturbs_nobody(trio: Cluster) -> None:
    main = await trio.settle()
    epoch, backup = await trio.epoch(), await trio.a_backup()
    await trio.lab.pause(backup)
    for number in range(20):
        await trio.client.put(f"meanwhile/{number}", b"x")

    async def missed() -> bool:
        members = {member.member: member.alive for member in (await trio.client.cluster()).members}
        return members[backup] is False

    await eventually(missed)
    await trio.lab.resume(backup)
    await trio.until_verdict(backup, HEALTHY)
    await trio.until_alike()
    # It slept itself, so it suspects nobody for the silence.
    assert (await trio.epoch(), await trio.main()) == (epoch, main)
