"""Clients that take watches, leases and transactions for weapons: the main stays the main, and serves others."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.attacks.crowd import patient, takeovers_since
from tests.attacks.test_memory import LATER_SECONDS, SLACK, Probe, flood, memory_of, pid_of
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import SLOWNESS, busy, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
MIB = 1 << 20
BUDGET = 128 * MIB
SECONDS = 8.0
"""Of each attack."""
WATCH_BYTES = 24 << 10
"""What an open watch takes beside the budget, at most: a connection with its buffers, tasks and a timer."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    async with running(
        directory, 2, None, **patient(), HANAS_MEMORY=str(BUDGET), HANAS_CACHE_BYTES=str(16 * MIB)
    ) as cluster:
        await cluster.settle()
        yield cluster


async def watches(cluster: Cluster, main: str) -> int:
    return int((await cluster.status(main))["watches"]["open"])


@pytest.mark.parametrize(
    ("attack", "count", "slack"),
    [
        ("grants", 100, SLACK),
        ("keepalives", 100, SLACK),
        ("transactions", 40, SLACK),
        ("unread_watches", 1000, SLACK + 1000 * WATCH_BYTES),
        ("slow_watches", 3000, SLACK + 3000 * WATCH_BYTES),
    ],
)
async def test_a_main_stays_the_main_and_serves_others(cluster: Cluster, attack: str, count: int, slack: int) -> None:
    main = await cluster.main()
    url, key, pid, epoch = cluster.url(main), cluster.kv(main, "probe"), pid_of(cluster, main), await cluster.epoch()
    calm, attacked, resting = Probe(pid), Probe(pid), memory_of(pid)
    await calm.run(cluster.http, key, 2.0)
    async with flood(url, attack, count) as statuses:
        if "watches" in attack:

            async def all_watch() -> bool:
                return await watches(cluster, main) >= count * 9 // 10

            await eventually(all_watch, 100.0 * SLOWNESS)
        await attacked.run(cluster.http, key, SECONDS)
        shown = await cluster.status(main)
    figures = f"{resting >> 20} → {attacked.peak >> 20} MiB, p99 {calm.p99:.4f} → {attacked.p99:.4f} s"
    print(attack, statuses, figures, len(attacked.seconds), shown["leases"], shown["watches"])
    assert attacked.peak <= resting + BUDGET + slack
    assert attacked.p99 <= calm.p99 + LATER_SECONDS * busy()
    assert set(statuses) <= {"429", "503", "broken"}
    assert await takeovers_since(cluster, epoch) == []
    assert await cluster.main() == main

    async def all_left() -> bool:
        return await watches(cluster, main) == 0

    await eventually(all_left)
