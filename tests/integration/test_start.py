"""A cluster comes up, and grows while it runs."""

import pytest

from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_three_workers_come_up_and_the_first_is_the_main(trio: Cluster) -> None:
    assert await trio.settle() == "worker-1"

    async def roles() -> bool:
        shown = {member.member: (member.role, member.alive) for member in (await trio.client.cluster()).members}
        return shown == {"worker-1": ("main", True), "worker-2": ("backup", True), "worker-3": ("backup", True)}

    await eventually(roles)
    cluster = await trio.client.cluster()
    assert cluster.epoch == 1
    assert {member.slot for member in cluster.members} == {0, 1, 2}
    assert cluster.alerts == []
    [first] = cluster.takeovers
    assert (first.member, first.why, first.previous_main) == ("worker-1", "first", None)


async def test_the_overseer_shows_the_links_and_the_addresses(trio: Cluster) -> None:
    await trio.settle()

    async def links() -> bool:
        shown = {(link.source, link.target, link.state) for link in (await trio.client.cluster()).links}
        return shown == {("worker-1", "worker-2", "up"), ("worker-1", "worker-3", "up")}

    await eventually(links)
    members = (await trio.client.cluster()).members
    assert {member.member: member.advertise_url for member in members} == trio.lab.urls
    relays = {worker["name"]: worker["linkUrl"] for worker in trio.lab.status()["workers"]}
    assert {member.member: member.link_url for member in members} == relays


async def test_each_worker_tells_what_it_is(trio: Cluster) -> None:
    main = await trio.settle()
    for name in trio.names:
        status = await trio.status(name)
        assert (status["member"], status["main"], status["mainUrl"]) == (name, main, trio.url(main))
        assert (status["role"], status["verdict"]) == ("main" if name == main else "backup", HEALTHY)
        assert (status["alerts"], status["folder"]["ok"], status["folder"]["trouble"]) == ([], True, None)
        assert (await trio.http.get(trio.url(name, "/healthz"))).status_code == 200
        assert (await trio.http.get(trio.url(name, "/readyz"))).status_code == 200
        answer = await trio.http.get(trio.url(name, "/mainz"))
        assert (answer.status_code, answer.text == "main\n") == ((200, True) if name == main else (503, False))
        metrics = (await trio.http.get(trio.url(name, "/metrics"))).text
        assert f"hanas_serving {float(name == main)}" in metrics
        assert f'hanas_role{{role="{status["role"]}"}} 1.0' in metrics


async def test_a_fourth_worker_joins_while_the_cluster_runs(trio: Cluster) -> None:
    main = await trio.settle()
    written = await trio.client.put("before/the-fourth", b"here")
    name = await trio.lab.add_worker()
    assert name == "worker-4"
    await trio.until_verdict(name, HEALTHY)
    assert (await trio.until_alike())["before/the-fourth"] == written.version
    answer = await trio.http.get(trio.kv(name, "before/the-fourth"))
    assert (answer.status_code, answer.headers["location"]) == (307, trio.kv(main, "before/the-fourth"))

    async def in_the_pool() -> bool:
        newest = (await trio.client.cluster()).members[-1]
        return (newest.member, newest.role, newest.slot, newest.alive) == (name, "backup", 3, True)

    await eventually(in_the_pool)
    assert await trio.epoch() == 1
