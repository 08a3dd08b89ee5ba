"""HANas beside etcd under the load of etcd's own program `benchmark`: the same calls in turns, on the same machine.

Prints a table in Markdown, a row for each call and number of clients, medians over the rounds: calls per second,
latency, and processor time for a call, as the sum over all processes of a side. Each side is asked at its main, or
leader; with `--spread` at all three of its servers. Needs etcd 3.6 (ETCD names the program), and Go, which builds the
load from its module, unless ETCD_BENCHMARK names it.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
from bench import systems
from bench.systems import MissingProgram, System

from hanas_lab.cluster import OVERSEER, Lab

_TOOL = "go.etcd.io/etcd/v3/tools/benchmark"
_START_SECONDS = 120.0
_VALUE_BYTES = 64
_KEYS = 1000
_READ_KEY = "read"
_LEAST, _LEAST_OF_CLIENT = 300, 50
"""Calls of a run, at least: in fewer the time for the connections would show."""
_WATCHED_RATE = 50
"""Puts a second under `watch-latency`, of which each watcher is told."""
_WATCH = "watch-latency"
CALLS = ("put", "txn-put", "range", _WATCH)
_CLIENTS = (1, 64, 256)

_RATE = re.compile(r"Requests/sec:\s+([\d.e+-]+)")
_PERCENTILE = re.compile(r"(50|99)% in ([\d.e+-]+) secs")
_HEAD = (
    "| call | clients | HANas /s | etcd /s | ratio | p50 ms: HANas | etcd | p99 ms: HANas | etcd "
    "| processor µs: HANas | etcd | ratio |"
)


class Load(NamedTuple):
    """What one run has shown."""

    rate: float
    """Calls per second; of watches: events."""
    p50: float
    p99: float
    """Seconds."""
    used: float
    """Processor time of the side for a call, or an event; seconds."""


class Failed(Exception):
    """A run in which a call failed."""


class Benchmark(NamedTuple):
    """The program `benchmark`, and how it is called."""

    program: str
    seconds: float
    spread: bool

    async def measure(self, side: System, call: str, clients: int) -> Load:
        """Return what ``clients`` on as many connections get of ``side``. Raises Failed."""
        if call == _WATCH:
            return await self._run(side, call, clients, round(_WATCHED_RATE * self.seconds))
        least = max(_LEAST, _LEAST_OF_CLIENT * clients)
        probe = await self._run(side, call, clients, least)
        return await self._run(side, call, clients, max(round(probe.rate * self.seconds), least))

    async def _run(self, side: System, call: str, clients: int, total: int) -> Load:
        endpoints = ",".join(url.removeprefix("http://") for url in (side.urls if self.spread else (side.url,)))
        command = [self.program, f"--endpoints={endpoints}", f"--clients={clients}", f"--conns={clients}", "--precise"]
        command += [call, *_options(call, clients, total)]
        before, began = systems.processor_seconds(side.processes), time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        printed = (await process.communicate())[0].decode()
        seconds, used = time.monotonic() - began, systems.processor_seconds(side.processes) - before
        report = printed.partition("Watch events summary:")[2] if call == _WATCH else printed
        rate, percentiles = _RATE.search(report), dict(_PERCENTILE.findall(report))
        if process.returncode or rate is None or "Error distribution" in printed:
            raise Failed(f"{' '.join(command)}: {printed[-500:]}")
        done = total * clients if call == _WATCH else total
        per_second = done / seconds if call == _WATCH else float(rate[1])
        # what took no time is not printed: events that come before the answer to their put
        p50, p99 = (float(percentiles.get(part, 0)) for part in ("50", "99"))
        return Load(per_second, p50, p99, used / done)


def _options(call: str, clients: int, total: int) -> list[str]:
    match call:
        case "range":
            return [_READ_KEY, f"--total={total}"]
        case "watch-latency":
            streams = [f"--streams={clients}", "--watchers-per-stream=1"]
            return [*streams, f"--put-total={total}", f"--put-rate={_WATCHED_RATE}", f"--val-size={_VALUE_BYTES}"]
        case _:
            return [f"--total={total}", f"--key-space-size={_KEYS}", f"--val-size={_VALUE_BYTES}"]


def _program(directory: Path) -> str:
    """Return the path of `benchmark`, which is built if it is not there. Raises MissingProgram."""
    if built := os.environ.get("ETCD_BENCHMARK"):
        return built
    go, binary = systems.program("go", "GO", "golang, 1.24 or newer"), directory / "benchmark"
    source = Path(__file__).parent / "load" / "benchmark"
    build = subprocess.run([go, "build", "-o", binary, _TOOL], cwd=source, capture_output=True, text=True, check=False)
    if build.returncode:
        raise MissingProgram(f"{_TOOL} cannot be built: {build.stderr.strip()[-300:]}")
    return str(binary)


async def _hanas(directory: Path, preset: str, stack: contextlib.AsyncExitStack) -> System:
    lab = Lab(directory / "hanas", 3, overseer_port=0, first_port=0, etcd=True, preset=preset, patience=_START_SECONDS)
    await stack.enter_async_context(lab)
    main = await lab.main()
    if main is None:
        raise SystemExit("bench: there is no main")
    status = lab.status()
    processes = tuple(server["pid"] for server in (*status["workers"], status[OVERSEER]))
    urls, about = lab.etcd_urls, f"3 workers and an overseer, preset {preset}"
    return System("hanas", urls[main], processes, about, systems.wrk, tuple(urls.values()))


async def _measure(arguments: argparse.Namespace) -> dict[tuple[str, int], dict[str, list[Load]]]:
    """Return the runs of each call and number of clients, by side."""
    runs: dict[tuple[str, int], dict[str, list[Load]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanas-", dir=arguments.directory)))
        benchmark = Benchmark(_program(directory), arguments.seconds, arguments.spread)
        ours = await _hanas(directory, arguments.preset, stack)
        sides = [ours, await stack.enter_async_context(systems.etcd(directory))]
        for side in sides:
            print(f"bench: {side.name}: {side.about}", file=sys.stderr)
            await _put(side.url, _READ_KEY.encode())
        for number in range(arguments.rounds):
            for call in arguments.calls:
                for clients in arguments.clients:
                    for side in sides if number % 2 else reversed(sides):
                        try:
                            load = await benchmark.measure(side, call, clients)
                        except Failed as failed:
                            print(f"bench: left out, for a call failed: {failed}", file=sys.stderr)
                            continue
                        runs.setdefault((call, clients), {}).setdefault(side.name, []).append(load)
                        print(f"{side.name:5} {call:13} {clients:3}: {_told(load)}", file=sys.stderr, flush=True)
    return runs


async def _put(url: str, key: bytes) -> None:
    """Write a key by the gateway."""
    body = {"key": base64.b64encode(key).decode(), "value": base64.b64encode(bytes(_VALUE_BYTES)).decode()}
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(f"{url}/v3/kv/put", json=body)).raise_for_status()


def _told(load: Load) -> str:
    milliseconds = f"p50 {1e3 * load.p50:.2f} ms, p99 {1e3 * load.p99:.2f} ms"
    return f"{load.rate:8.0f}/s, {milliseconds}, processor {1e6 * load.used:.0f} µs"


def _row(call: str, clients: int, ours: Sequence[Load], theirs: Sequence[Load]) -> str:
    """Return a row of the table: medians."""
    hanas, etcd = (Load(*map(statistics.median, zip(*loads, strict=True))) for loads in (ours, theirs))
    cells = [call, str(clients), f"{hanas.rate:.0f}", f"{etcd.rate:.0f}", f"{hanas.rate / etcd.rate:.2f}"]
    cells += [f"{1e3 * seconds:.2f}" for seconds in (hanas.p50, etcd.p50, hanas.p99, etcd.p99)]
    cells += [f"{1e6 * hanas.used:.0f}", f"{1e6 * etcd.used:.0f}", f"{hanas.used / etcd.used:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.etcd", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run, about")
    parser.add_argument("--clients", type=int, nargs="*", default=_CLIENTS, help="each on a connection of its own")
    parser.add_argument("--calls", nargs="*", choices=CALLS, default=CALLS)
    parser.add_argument("--preset", default="lan", help="of HANas; a busy machine needs a slower one (lan)")
    parser.add_argument("--spread", action="store_true", help="ask all servers of a side, not its main or leader")
    parser.add_argument("--directory", type=Path, default=None, help="for the data of both sides, on one disk")
    try:
        runs = asyncio.run(_measure(parser.parse_args()))
    except MissingProgram as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    print(_HEAD, "|---" * (_HEAD.count("|") - 1) + "|", sep="\n")
    for (call, clients), loads in runs.items():
        if len(loads) < 2:
            print(f"bench: all runs of a side failed: {call}, {clients} clients", file=sys.stderr)
            continue
        print(_row(call, clients, loads["hanas"], loads["etcd"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
