"""Throughput with TLS, or with encryption at rest, beside that without: interleaved, the same load by wrk.

Prints for each the requests per second, the processor time of the main and the requests in one batch, or for one check
of the seal, and the ratios. Connections are kept. Needs wrk, which shows no certificate: none is asked for.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx
from bench import systems
from bench.systems import MissingProgram, System

from hanas_core.volume import encryption
from hanas_lab.cluster import Lab
from hanas_serving.settings import CLIENT_CA
from hanas_worker.host.keyfile import KEY_FILE

TLS, ENCRYPTION = "TLS", "encryption"
_KEYS = 1000
_COUNTERS = {"put": "batches", "get": "checks"}


class Side(NamedTuple):
    """A lab, plain or not."""

    system: System
    http: httpx.AsyncClient
    """Trusts it."""

    async def counted(self, workload: str) -> float:
        """Return how many batches, or checks for reads, the main has made."""
        metrics = (await self.http.get(f"{self.system.url}/metrics")).text
        match = re.search(rf"^hanas_{_COUNTERS[workload]}_total (\S+)$", metrics, re.MULTILINE)
        assert match is not None, "a main has both"
        return float(match[1])


class Load(NamedTuple):
    """What one run has shown."""

    rate: float
    """Requests per second."""
    used: float
    """Processor time of the main for a request, µs."""
    together: float
    """Requests in a batch, or for a check."""


async def _side(name: str, directory: Path, workers: int, stack: contextlib.AsyncExitStack) -> Side:
    """Start a lab; return its main."""
    environment = {CLIENT_CA: ""}
    if name == ENCRYPTION:
        key_file = directory / "key"
        key_file.write_text(f"{encryption.new_line()}\n", "ascii")
        environment[KEY_FILE] = str(key_file)
    lab = Lab(directory / name, workers, overseer_port=0, first_port=0, environment=environment, tls=name == TLS)
    await stack.enter_async_context(lab)
    main = await lab.main()
    if main is None:
        raise SystemExit("bench: there is no main")
    pid = next(worker["pid"] for worker in lab.status()["workers"] if worker["name"] == main)
    http = await stack.enter_async_context(httpx.AsyncClient(verify=lab.trust, trust_env=False))
    return Side(System(name, lab.urls[main], (pid,), "", systems.wrk), http)


async def _measure(side: Side, workload: str, size: int, arguments: argparse.Namespace) -> Load:
    """Have wrk ask for a while."""
    system, counted = side.system, await side.counted(workload)
    before = systems.processor_seconds(system.processes)
    words = ["hanas", workload, str(size), str(_KEYS)]
    result = await system.load(system.url, arguments.connections, arguments.seconds, words)
    if result["failed"] or result["refused"]:
        raise SystemExit(f"bench: requests failed: {result}")
    used = systems.processor_seconds(system.processes) - before
    counted = await side.counted(workload) - counted
    requests = max(1, result["requests"])
    return Load(requests / result["seconds"], 1e6 * used / requests, requests / max(1, counted))


async def _run(arguments: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanas-tls-")))
        other = ENCRYPTION if arguments.encryption else TLS
        sides = [await _side(name, directory, arguments.workers, stack) for name in ("plain", other)]
        for size in arguments.sizes:
            for side in sides:  # the keys to be read have this size
                words = ["hanas", "put", str(size), str(_KEYS)]
                await side.system.load(side.system.url, arguments.connections, 1, words)
            for workload in _COUNTERS:
                loads: dict[str, list[Load]] = {side.system.name: [] for side in sides}
                for _ in range(arguments.rounds):
                    for side in sides:
                        loads[side.system.name].append(await _measure(side, workload, size, arguments))
                print(_line(workload, size, other, *map(_median, loads.values())), flush=True)
    return 0


def _median(loads: list[Load]) -> Load:
    return Load(*map(statistics.median, zip(*loads, strict=True)))


def _line(workload: str, size: int, what: str, plain: Load, other: Load) -> str:
    return (
        f"{workload} {size:6} B: {plain.rate:7.0f}/s, with {what} {other.rate:7.0f}/s ({other.rate / plain.rate:.0%}); "
        f"processor {plain.used:.0f} µs, with {what} {other.used:.0f} µs ({plain.used / other.used:.0%}); "
        f"together {plain.together:.1f}, with {what} {other.together:.1f}"
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encryption", action="store_true", help="compare encryption at rest, not TLS")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 4096], help="of the values, bytes")
    try:
        return asyncio.run(_run(parser.parse_args()))
    except MissingProgram as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
