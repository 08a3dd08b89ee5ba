"""Overseers keep nothing in their heads: without one, with a new one and with two the cluster is the same."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from hanas_lab import ports
from hanas_lab.writers import Writers
from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.programs import started
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def no_overseer(cluster: Cluster, name: str) -> bool:
    return not (await cluster.status(name))["overseerReachable"]


async def test_a_takeover_without_an_overseer(trio: Cluster) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    async with Writers(trio.client, prefix="unseen", rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(10))
        await trio.lab.kill("overseer")
        await within(PATIENCE_SECONDS, load.more(10))
        await trio.lab.kill(main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        # A worker joins by the folder as well.
        await trio.lab.start_worker(main)
        await trio.until_verdict(main, HEALTHY)
        assert "no overseer could be reached, the folder decided" in trio.lab.log_of(main).read_text()
        assert await eventually(lambda: no_overseer(trio, main))
        await within(PATIENCE_SECONDS, load.more(10))
    assert load.failed == []
    assert await load.missing() == []

    await trio.lab.start_worker("overseer")
    takeover = await trio.latest_takeover()
    assert (takeover.epoch, takeover.previous_main, takeover.verdict) == (epoch + 1, main, "PrimaryFailed")
    assert takeover.evidence["probe"]
    assert takeover.words
    cluster = await trio.client.cluster()
    assert await trio.main() == takeover.member
    assert [entry.epoch for entry in cluster.takeovers] == list(range(1, epoch + 2))

    async def everybody() -> bool:
        members = (await trio.client.cluster()).members
        return {member.member for member in members if member.alive} == set(trio.names)

    await eventually(everybody)


@pytest_asyncio.fixture(loop_scope="module")
async def second(trio: Cluster) -> AsyncIterator[str]:
    """The URL of another overseer of the same folder, started by hand."""
    port = ports.choose(set())
    environment = {"PORT": str(port), "COMMUNICATION_FOLDER": str(trio.lab.communication_folder)}
    async with started("hanas-overseer", trio.lab.directory, **environment) as overseer:
        await overseer.says("serving the folder")
        yield f"http://127.0.0.1:{port}"
        assert await overseer.stop() == 0


async def test_two_overseers_agree(trio: Cluster, second: str) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()

    async def alike() -> dict[str, object] | None:
        first, other = [(await trio.http.get(f"{url}/v1/cluster")).json() for url in (trio.lab.overseer_url, second)]
        settled = [gist(document) for document in (first, other)]
        return settled[0] if settled[0] == settled[1] else None

    before = await eventually(alike)
    assert (before["epoch"], before["main"]) == (epoch, main)

    # Both get the same challenge at the same time: it is granted once, and both know by whom.
    await trio.lab.kill(main)

    async def replaced() -> dict[str, object] | None:
        after = await alike()
        return after if after is not None and after["epoch"] == epoch + 1 and after["state"] == "serving" else None

    after = await eventually(replaced)
    assert after["main"] != main
    histories = [(await trio.http.get(f"{url}/v1/takeovers")).json() for url in (trio.lab.overseer_url, second)]
    assert histories[0] == histories[1]


def gist(document: dict[str, object]) -> dict[str, object]:
    """The part of the cluster document that does not move by itself."""
    main, members = document["main"], document["members"]
    assert isinstance(main, dict)
    assert isinstance(members, list)
    return {
        "epoch": document["epoch"],
        "folder": document["folderId"],
        "main": main["member"],
        "state": main["state"],
        "members": {(member["member"], member["slot"], member["role"], member["alive"]) for member in members},
    }


async def test_a_late_challenge_is_refused_by_either(trio: Cluster, second: str) -> None:
    await trio.settle()
    folder_id = (await trio.client.cluster()).folder_id
    member = (await trio.client.cluster()).members[0]
    challenge = {
        "member": member.member,
        "incarnation": member.incarnation,
        "folderId": folder_id,
        "expected": {"epoch": 0, "main": "nobody"},
        "verdict": "PrimaryFailed",
    }
    epoch, main = await trio.epoch(), await trio.main()
    for url in (trio.lab.overseer_url, second):
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
            answer = await http.post(f"{url}/v1/takeover", json=challenge)
        if member.member == main:
            assert answer.status_code in {200, 409}
        else:
            assert (answer.status_code, answer.json()["epoch"]) == (409, epoch)
            assert answer.json()["main"]["member"] == main
    assert await trio.epoch() == epoch
