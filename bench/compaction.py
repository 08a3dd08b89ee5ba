"""The cost of compaction for concurrent writers: latencies of PUT with and without it, in one run.

Writers overwrite keys of a cluster of three all the time, so that the log is compacted repeatedly.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from typing import Any

import aiohttp

from hanas_client import AsyncClient
from hanas_client.load import percentile
from hanas_lab.cluster import Lab

_POLL_SECONDS = 0.02
_MIB = 1 << 20


class Latencies:
    """The seconds of each write, separately during compactions and otherwise."""

    def __init__(self) -> None:
        """Start empty."""
        self.running = False
        self.stopping = False
        self.during: list[float] = []
        self.otherwise: list[float] = []

    def add(self, took: float, began_during: bool) -> None:
        """Record one write; those that overlap a change count as "during"."""
        (self.during if began_during or self.running else self.otherwise).append(took)


async def write(session: aiohttp.ClientSession, url: str, keys: int, value: bytes, latencies: Latencies) -> None:
    """Overwrite random keys until `latencies.stopping`."""
    while not latencies.stopping:
        during, began = latencies.running, time.perf_counter()
        async with session.put(f"{url}/v1/kv/bench/{random.randrange(keys):06d}", data=value) as response:
            response.raise_for_status()
        latencies.add(time.perf_counter() - began, during)


async def watch(client: AsyncClient, url: str, latencies: Latencies, seconds: float) -> int:
    """Poll the state of the compaction for `seconds`; return the number of compactions."""
    ends, runs = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        state: Any = (await client.status(url))["compaction"]
        latencies.running, runs = bool(state["running"]), int(state["runs"])
        await asyncio.sleep(_POLL_SECONDS)
    latencies.stopping = True
    return runs


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures."""
    environment = {"HANAS_COMPACT_BYTES": str(arguments.compact_mib * _MIB)}
    with tempfile.TemporaryDirectory(prefix="hanas-compaction-") as directory:
        lab = Lab(directory, 3, overseer_port=0, first_port=0, environment=environment)
        async with lab, AsyncClient(lab.overseer_url, list(lab.urls.values())) as client:
            main = (await client.cluster()).main
            if main is None:
                raise SystemExit("there is no main")
            url, latencies = lab.urls[main.member], Latencies()
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                value = bytes(arguments.value_bytes)
                writers = [
                    asyncio.create_task(write(session, url, arguments.keys, value, latencies))
                    for _ in range(arguments.connections)
                ]
                runs = await watch(client, url, latencies, arguments.seconds)
                await asyncio.gather(*writers)
    return {
        "compactions": runs,
        "during": distribution(latencies.during),
        "otherwise": distribution(latencies.otherwise),
    }


def distribution(seconds: list[float]) -> dict[str, float]:
    """Return the number of writes, and percentiles in milliseconds."""
    ordered = sorted(seconds)
    figures: dict[str, float] = {"writes": len(ordered)}
    for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
        figures[name] = round(1000 * percentile(ordered, part), 2) if ordered else 0.0
    return figures


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--value-bytes", type=int, default=4096)
    parser.add_argument("--compact-mib", type=int, default=64)
    figures = asyncio.run(measure(parser.parse_args()))
    figures["p99_ratio"] = round(figures["during"]["p99"] / max(figures["otherwise"]["p99"], 0.001), 2)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
