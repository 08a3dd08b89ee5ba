"""The memory of processes whose clients send and do not finish, or ask and do not read."""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.attacks.crowd import patient, takeovers_since
from tests.attacks.flood import KEYS, VALUE_BYTES
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import all_of, busy, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
MIB = 1 << 20
BUDGET = 128 * MIB
SLACK = 64 * MIB
SECONDS = 8.0
"""Of each attack."""
LATER_SECONDS = 0.1
"""What a small read may take longer under an attack, where this process and the worker have a core each."""
CACHE = 16 * MIB


def memory_of(pid: int) -> int:
    """What a process has in memory that is no file's, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def pid_of(cluster: Cluster, name: str) -> int:
    status = cluster.lab.status()
    return next(int(entry["pid"]) for entry in [*status["workers"], status["overseer"]] if entry["name"] == name)


@dataclass
class Probe:
    """What small requests took, and the most memory that was seen meanwhile."""

    pid: int
    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[-1]

    async def run(self, http: httpx.AsyncClient, key: str, seconds: float) -> None:
        """Write and read a small value, one after the other."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            written = await http.put(key, content=b"small")
            assert written.is_success, written.text
            began = time.monotonic()
            assert (await http.get(key)).content == b"small"
            self.seconds.append(time.monotonic() - began)
            self.peak = max(self.peak, memory_of(self.pid))


@asynccontextmanager
async def flood(url: str, attack: str, count: int) -> AsyncIterator[dict[str, int]]:
    """Attack; afterwards the statuses are those that the connections got."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.flood", url, attack, str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    statuses: dict[str, int] = {}
    try:
        yield statuses
    finally:
        output, _ = await process.communicate(b"")
    statuses |= json.loads(output)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    async with running(
        directory, 2, None, **patient(), HANAS_MEMORY=str(BUDGET), HANAS_CACHE_BYTES=str(CACHE)
    ) as cluster:
        await cluster.settle()
        for number in range(KEYS):
            await cluster.client.put(f"large-{number}", bytes(VALUE_BYTES))
        await all_of(cluster.client.put(f"long-{number:04}" + "\1" * 900, b"") for number in range(1000))
        yield cluster


@pytest.mark.parametrize(
    ("attack", "count"),
    [("withheld", 100), ("endless", 40), ("unread", 200), ("pipelined", 100), ("lists", 100)],
)
async def test_a_main_stays_within_its_budget_and_serves_small_requests(
    cluster: Cluster, attack: str, count: int
) -> None:
    main = await cluster.main()
    url, key, pid, epoch = cluster.url(main), cluster.kv(main, "probe"), pid_of(cluster, main), await cluster.epoch()
    calm, attacked, resting = Probe(pid), Probe(pid), memory_of(pid)
    await calm.run(cluster.http, key, 2.0)
    async with flood(url, attack, count) as statuses:
        await attacked.run(cluster.http, key, SECONDS)
    print(attack, statuses, f"{resting >> 20} → {attacked.peak >> 20} MiB, p99 {calm.p99:.4f} → {attacked.p99:.4f} s")
    assert attacked.peak <= resting + BUDGET + SLACK
    assert attacked.p99 <= calm.p99 + LATER_SECONDS * busy()
    assert set(statuses) <= {"408", "413", "503", "204", "broken"}
    if attack == "endless":
        assert statuses.get("413")

    async def rests() -> bool:
        return memory_of(pid) <= resting + SLACK

    await eventually(rests)
    assert await takeovers_since(cluster, epoch) == []
    assert await cluster.main() == main


async def test_large_values_get_through_while_slow_ones_hold_the_budget(cluster: Cluster) -> None:
    main = await cluster.main()
    async with flood(cluster.url(main), "withheld", 100):
        await asyncio.sleep(1.0)  # the attackers have the budget
        began = time.monotonic()
        await cluster.client.put("honest", bytes(VALUE_BYTES))
        assert (await cluster.client.get("honest")).value == bytes(VALUE_BYTES)
        print(f"honest after {time.monotonic() - began:.2f} s")


async def test_a_backup_stays_within_its_budget(cluster: Cluster) -> None:
    backup = await cluster.a_backup()
    pid = pid_of(cluster, backup)
    resting, peak = memory_of(pid), 0
    async with flood(cluster.url(backup), "stale", 200):
        for _ in range(200):
            await asyncio.sleep(0.02)
            peak = max(peak, memory_of(pid))
    print(f"stale: {resting >> 20} → {peak >> 20} MiB")
    assert peak <= resting + BUDGET + SLACK


async def test_an_overseer_does_not_grow_with_streams_that_nobody_reads(cluster: Cluster) -> None:
    pid, peak = pid_of(cluster, "overseer"), 0
    resting = memory_of(pid)
    async with flood(cluster.lab.overseer_url, "events", 500):
        for _ in range(200):
            await asyncio.sleep(0.02)
            peak = max(peak, memory_of(pid))
    print(f"events: {resting >> 20} → {peak >> 20} MiB")
    assert peak <= resting + SLACK
