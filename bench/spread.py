"""Load that is spread over all workers, which serve, beside the same load at the main alone: interleaved, by wrk.

With `--etcd` the same for etcd: spread over its nodes, and at its leader, each over gRPC. Prints requests per second,
the ratios, and the 99th percentile of the latency. Connections are kept.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import systems
from bench.systems import MissingProgram, System

from hanas_lab.cluster import Lab

_KEYS = 1000
_WORKLOADS = ("put", "get")


class Place(NamedTuple):
    """Where a load goes: to one server, or to several, a part of the connections to each."""

    name: str
    system: System
    urls: tuple[str, ...]


class Load(NamedTuple):
    """What one run has shown."""

    rate: float
    """Requests per second, at all servers together."""
    p50: float
    p99: float
    """Microseconds, of the slowest server."""


async def _hanas(directory: Path, stack: contextlib.AsyncExitStack) -> list[Place]:
    lab = Lab(directory / "hanas", 3, overseer_port=0, first_port=0, environment={"HANAS_BACKUPS": "serve"})
    await stack.enter_async_context(lab)
    main = await lab.main()
    if main is None:
        raise SystemExit("bench: there is no main")
    system = System("hanas", lab.urls[main], (), "3 workers that serve, preset lan", systems.wrk)
    return [Place("main", system, (lab.urls[main],)), Place("spread", system, tuple(lab.urls.values()))]


async def _etcd(directory: Path, stack: contextlib.AsyncExitStack) -> list[Place]:
    gateway = await stack.enter_async_context(systems.etcd(directory))
    system = systems.grpc(gateway, directory)
    return [Place("etcd leader", system, (system.url,)), Place("etcd spread", system, system.urls)]


async def _measure(place: Place, workload: str, size: int, arguments: argparse.Namespace) -> Load:
    words = [place.system.name, workload, str(size), str(_KEYS)]
    share = max(1, arguments.connections // len(place.urls))
    loads = (place.system.load(url, share, arguments.seconds, words) for url in place.urls)
    results = await asyncio.gather(*loads)
    if any(result["failed"] or result["refused"] for result in results):
        raise SystemExit(f"bench: requests failed: {results}")
    rate = sum(result["requests"] / result["seconds"] for result in results)
    return Load(rate, *(max(result[name] for result in results) for name in ("p50", "p99")))


async def _run(arguments: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanas-spread-")))
        places = await _hanas(directory, stack)
        if arguments.etcd:
            places += await _etcd(directory, stack)
        for size in arguments.sizes:
            for place in places:  # the keys to be read have this size
                await _measure(place, "put", size, arguments)
            for workload in _WORKLOADS:
                loads: dict[str, list[Load]] = {place.name: [] for place in places}
                for _ in range(arguments.rounds):
                    for place in places:
                        loads[place.name].append(await _measure(place, workload, size, arguments))
                medians = {name: Load(*map(statistics.median, zip(*runs, strict=True))) for name, runs in loads.items()}
                print(_line(workload, size, medians), flush=True)
    return 0


def _line(workload: str, size: int, medians: dict[str, Load]) -> str:
    words = (f"{name} {load.rate:.0f}/s (p50 {load.p50:.0f}, p99 {load.p99:.0f} µs)" for name, load in medians.items())
    return f"{workload} {size} B: {', '.join(words)}; spread / main {medians['spread'].rate / medians['main'].rate:.2f}"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--etcd", action="store_true", help="and etcd over gRPC (needs etcd and Go)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--connections", type=int, default=255)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 4096], help="of the values, bytes")
    try:
        return asyncio.run(_run(parser.parse_args()))
    except MissingProgram as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
