"""HANas beside etcd and beside an endpoint that does nothing: the same load, interleaved, on the same machine.

Writes a report in Markdown and JSON. Needs wrk and etcd (Debian: wrk, etcd-server), and Go for etcd over gRPC.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import systems
from bench.systems import MissingProgram, System

_KEYS = 1000
_ORDER = ("hanas", "etcd", "grpc", "noop")
_WORKLOADS = (("put", 64), ("put", 4096), ("get", 64), ("get", 4096), ("mixed", 64), ("mixed", 4096))


async def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each run."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hanas-bench-", dir=arguments.directory) as name:
        async with contextlib.AsyncExitStack() as stack:
            directory = Path(name)
            running = [await stack.enter_async_context(systems.hanas(directory))]
            running.append(stack.enter_context(systems.noop(directory)))
            running.append(await stack.enter_async_context(systems.etcd(directory)))
            running.append(systems.grpc(running[-1], directory))
            for system in running:
                print(f"{system.name}: {system.about}, {system.url}", file=sys.stderr)
            for number in range(arguments.rounds):
                for workload, size in _WORKLOADS:
                    for system in running:  # the keys to be read and overwritten have this size
                        await system.load(system.url, 32, 1, [system.name, "put", str(size), str(_KEYS)])
                    for connections in arguments.connections:
                        for system in random.sample(running, len(running)):
                            row = await measure_one(system, workload, size, connections, arguments.seconds)
                            rows.append({"round": number, **row})
                            print(describe(row), file=sys.stderr, flush=True)
            rows += [{"about": system.about, "system": system.name} for system in running]
    return rows


async def measure_one(system: System, workload: str, size: int, connections: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one run."""
    before = systems.processor_seconds(system.processes)
    result = await system.load(system.url, connections, seconds, [system.name, workload, str(size), str(_KEYS)])
    used = systems.processor_seconds(system.processes) - before
    requests = max(result["requests"], 1)
    return {
        "system": system.name,
        "workload": workload,
        "value_bytes": size,
        "connections": connections,
        "per_second": result["requests"] / result["seconds"],
        "processor_microseconds": 1e6 * used / requests,
        **{name: result[name] for name in ("requests", "failed", "refused", "p50", "p90", "p99", "p999")},
    }


def describe(row: dict[str, Any]) -> str:
    """Return one run as a line for people."""
    return (
        f"{row['system']:6} {row['workload']:5} {row['value_bytes']:5} B, {row['connections']:3} connections: "
        f"{row['per_second']:8.0f}/s, p50 {row['p50'] / 1000:.2f} ms, p99 {row['p99'] / 1000:.2f} ms"
        + (f", {row['failed']} FAILED, {row['refused']} REFUSED" if row["failed"] or row["refused"] else "")
    )


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Return the report in Markdown: medians over the rounds, and the ratios of HANas to the others."""
    about = {row["system"]: row["about"] for row in rows if "about" in row}
    runs = [row for row in rows if "about" not in row]
    conditions = (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {platform.platform()}, {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s, interleaved in random order, the load on the same machine (one thread of wrk; for "
        f"gRPC a program with as many connections), {_KEYS} keys. Medians over the rounds."
    )
    head = (
        "| workload | value | connections | HANas /s | etcd gateway /s | etcd gRPC /s | no-op /s | HANas ÷ gateway "
        "| HANas ÷ gRPC | HANas ÷ no-op | p99 ms: HANas | gateway | gRPC | no-op "
        "| processor µs: HANas | gateway | gRPC | no-op |"
    )
    text = ["# HANas, etcd and an endpoint that does nothing", "", conditions, ""]
    text += [f"- **{name}**: {words}" for name, words in about.items()]
    text += ["", head, "|---" * 18 + "|"]
    for workload, size in _WORKLOADS:
        for connections in arguments.connections:
            rows_of = {
                name: [
                    row
                    for row in runs
                    if (row["system"], row["workload"], row["value_bytes"], row["connections"])
                    == (name, workload, size, connections)
                ]
                for name in about
            }
            rate = {name: _median(rows_of[name], "per_second") for name in about}
            cells = [workload, size, connections, *(f"{rate[name]:.0f}" for name in _ORDER)]
            cells += [f"{rate['hanas'] / rate[other]:.2f}" for other in _ORDER[1:]]
            cells += [f"{_median(rows_of[name], 'p99') / 1000:.2f}" for name in _ORDER]
            cells += [f"{_median(rows_of[name], 'processor_microseconds'):.0f}" for name in _ORDER]
            text.append(f"| {' | '.join(map(str, cells))} |")
    failed = sum(row["failed"] + row["refused"] for row in runs)
    text += ["", f"Requests that failed or were refused: {failed}."]
    return "\n".join(text) + "\n"


def _median(rows: list[dict[str, Any]], field: str) -> float:
    return statistics.median(float(row[field]) for row in rows)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 32, 64, 256])
    parser.add_argument(
        "--directory", type=Path, default=None, help="directory for the data of all systems, on one disk"
    )
    parser.add_argument("--reports", type=Path, default=Path("reports/bench"))
    arguments = parser.parse_args()
    try:
        rows = asyncio.run(measure(arguments))
    except MissingProgram as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    arguments.reports.mkdir(parents=True, exist_ok=True)
    (arguments.reports / "bench.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    text = report(rows, arguments)
    (arguments.reports / "bench.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
