"""Throughput with TLS beside that without, on connections that are kept: interleaved, the same load by wrk.

Prints requests per second and the processor time of the main for each, and both ratios. Needs wrk, which shows no
certificate: none is asked for.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

from bench import systems
from bench.systems import MissingProgram, System

from hanas_lab.cluster import Lab
from hanas_serving.settings import CLIENT_CA

_KEYS = 1000
_WORKLOADS = ("put", "get")


async def _side(name: str, directory: Path, workers: int, stack: contextlib.AsyncExitStack) -> System:
    """Start a lab; return its main."""
    tls = name == "tls"
    environment = {CLIENT_CA: ""}
    lab = Lab(directory / name, workers, overseer_port=0, first_port=0, environment=environment, tls=tls)
    await stack.enter_async_context(lab)
    main = await lab.main()
    if main is None:
        raise SystemExit("bench: there is no main")
    pid = next(worker["pid"] for worker in lab.status()["workers"] if worker["name"] == main)
    return System(name, lab.urls[main], (pid,), "", systems.wrk)


async def _measure(side: System, workload: str, size: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return requests per second, and processor time of the main for each of them, µs."""
    before = systems.processor_seconds(side.processes)
    words = ["hanas", workload, str(size), str(_KEYS)]
    result = await side.load(side.url, arguments.connections, arguments.seconds, words)
    if result["failed"] or result["refused"]:
        raise SystemExit(f"bench: requests failed: {result}")
    used = systems.processor_seconds(side.processes) - before
    return result["requests"] / result["seconds"], 1e6 * used / max(1, result["requests"])


async def _run(arguments: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanas-tls-")))
        sides = [await _side(name, directory, arguments.workers, stack) for name in ("plain", "tls")]
        for size in arguments.sizes:
            for side in sides:  # the keys to be read have this size
                await side.load(side.url, arguments.connections, 1, ["hanas", "put", str(size), str(_KEYS)])
            for workload in _WORKLOADS:
                rates: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
                for _ in range(arguments.rounds):
                    for side in sides:
                        rates[side.name].append(await _measure(side, workload, size, arguments))
                print(_line(workload, size, rates), flush=True)
    return 0


def _line(workload: str, size: int, rates: dict[str, list[tuple[float, float]]]) -> str:
    (plain, plain_used), (tls, tls_used) = (
        (statistics.median(column) for column in zip(*rates[name], strict=True)) for name in ("plain", "tls")
    )
    return (
        f"{workload} {size:6} B: {plain:7.0f}/s, with TLS {tls:7.0f}/s ({tls / plain:.0%}); "
        f"processor {plain_used:.0f} µs, with TLS {tls_used:.0f} µs ({plain_used / tls_used:.0%})"
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
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
