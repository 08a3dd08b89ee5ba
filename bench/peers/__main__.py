"""The same kill at HANas and at its peers, side by side: from kill -9 of the leader to the next acknowledged write.

Two writers write to every system, and retry at once or after 0.25 s without an answer. The systems take turns, so that
other load on the machine affects all of them. Peers whose programs are not in PATH are omitted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.faults.report import distribution
from bench.peers.etcd import Etcd
from bench.peers.ours import Hanas
from bench.peers.sentinel import Sentinel
from bench.peers.system import System

_TUNED = {"keepalive_interval": 0.03, "suspect_after": 0.15, "probe_timeout": 0.18, "mailbox_interval": 0.03}
_WRITERS = 2
_SETTLED_SECONDS = 1.0
_REST_SECONDS = 0.005


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills at each system (20)")
    parser.add_argument("--reports", type=Path, default=Path("reports/peers"), help="directory for the report")
    arguments = parser.parse_args()
    systems: list[System] = [Hanas("hanas"), Hanas("hanas, tuned", **_TUNED)]
    if shutil.which("etcd"):
        systems += [Etcd("etcd", None), Etcd("etcd, tuned", (50, 250))]
    if shutil.which("redis-server") and shutil.which("redis-sentinel"):
        systems.append(Sentinel())
    seconds = asyncio.run(_measure(systems, arguments.kills))
    results = {
        "machine": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": [_version("etcd"), _version("redis-server")],
        "systems": {
            system.name: {
                "settings": system.settings,
                "seconds": seconds[system.name],
                **(distribution(seconds[system.name]) or {}),
            }
            for system in systems
        },
    }
    arguments.reports.mkdir(parents=True, exist_ok=True)
    (arguments.reports / "peers.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    report = _markdown(results)
    (arguments.reports / "peers.md").write_text(report, encoding="utf-8")
    print(report)
    return 0


async def _measure(systems: list[System], kills: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {system.name: [] for system in systems}
    with tempfile.TemporaryDirectory(prefix="hanas-peers-") as directory:
        try:
            for system in systems:
                home = Path(directory) / system.name.replace(", ", "-")
                home.mkdir()
                await system.start(home)
            for number in range(kills):
                for system in systems:
                    took[system.name].append(await _failover(system, number))
                    print(f"{number + 1:3} {system.name}: {took[system.name][-1]:.3f} s", flush=True)
                    await system.restore()
                    await asyncio.sleep(_SETTLED_SECONDS)
        finally:
            for system in systems:
                await system.stop()
    return took


async def _failover(system: System, number: int) -> float:
    """Kill the leader and return the seconds until a write that began after that is acknowledged."""
    await system.write(f"before-{number}")
    await system.kill_leader()
    killed = time.monotonic()
    done = asyncio.Event()

    async def write(writer: int) -> float:
        count = 0
        while not done.is_set():
            count += 1
            if await system.write(f"kill-{number}/{writer}/{count}"):
                done.set()
                return time.monotonic()
            await asyncio.sleep(_REST_SECONDS)
        return float("inf")

    async with asyncio.timeout(60):
        first = min(await asyncio.gather(*(write(writer) for writer in range(_WRITERS))))
    return first - killed


def _version(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        return f"{program}: not installed"
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return answer.splitlines()[0].strip() if answer else program


def _markdown(results: dict[str, Any]) -> str:
    lines = [
        "# Failover beside peers",
        "",
        f"{results['machine']}; {'; '.join(results['versions'])}.",
        "Seconds from kill -9 of the leader to the first acknowledged write that began after it.",
        "",
        "| system | kills | median | p90 | max | settings |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in results["systems"].items():
        cells = " | ".join(f"{figures[key]:.3f}" for key in ("median", "p90", "max"))
        lines.append(f"| {name} | {figures['n']} | {cells} | {figures['settings']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
