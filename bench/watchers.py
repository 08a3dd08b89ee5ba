"""Many watchers of one prefix while it changes: how late each change comes to them, and what else waits for it.

Starts a lab, opens the watches in a process of their own, writes at a steady rate, and reads a small value.
Prints how late changes were told: of each piece that a watcher got that of the oldest change, counted as often as there
were changes in it; how long the small reads took; and the main's share of a processor.
"""

import argparse
import asyncio
import contextlib
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bench import systems

from hanas_lab.cluster import Lab

_PREFIX = "watched/"
_KEYS = 1000
_READ_SECONDS = 0.01
"""Between two small reads."""
_OPEN_SECONDS = 60.0
_WRITERS = 16
_CHANGE = b'{"revision":'
_WRITTEN = re.compile(rb'"text":"([0-9.]+)"')


class Watcher(asyncio.Protocol):
    """One watch: what it was told, and how late."""

    def __init__(self, request: bytes, note: Callable[[float, int], None]) -> None:
        """``note`` gets the age of the oldest change of a piece, seconds, and their number."""
        self._request, self._note = request, note
        self._rest = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The head of the answer has come."""
        self.told = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take some changes, or a part of one."""
        if not self.opened.done():
            self.opened.set_result(None)
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if oldest := _WRITTEN.search(data, 0, end):
            count = data.count(_CHANGE, 0, end)
            self.told += count
            self._note(time.monotonic() - float(oldest[1]), count)


async def watch(url: str, count: int) -> None:
    """Watch until the standard input ends; then print what was seen."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    lateness: dict[float, int] = {}

    def note(seconds: float, changes: int) -> None:
        rounded = float(f"{seconds:.2g}")
        lateness[rounded] = lateness.get(rounded, 0) + changes

    (host, port), loop = _place_of(url), asyncio.get_running_loop()
    request = f"GET /v1/watch?prefix={_PREFIX} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n".encode()
    watchers = [Watcher(request, note) for _ in range(count)]
    for watcher in watchers:
        await loop.create_connection(partial(_itself, watcher), host, port)
    await asyncio.gather(*(watcher.opened for watcher in watchers))
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    told = [watcher.told for watcher in watchers]
    print(json.dumps({"least": min(told), "most": max(told), "lateness": sorted(lateness.items())}), flush=True)


def _itself(watcher: Watcher) -> Watcher:
    return watcher


class Wire:
    """A connection on which one request follows the other; answers have no body, or one of a stated length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use a connection."""
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> None:
        """Await the answer to a request. Raises SystemExit if it is a refusal."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"bench: the main answered {head[:60]!r}")
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            await self._reader.readexactly(int(length[1]))

    def close(self) -> None:
        """End it."""
        self._writer.close()


async def _wires(url: str, count: int) -> list[Wire]:
    return [Wire(*await asyncio.open_connection(*_place_of(url))) for _ in range(count)]


def _place_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def _write(wire: Wire, first: int, every: float, end: float) -> int:
    """Write until ``end`` at a steady rate; return how often."""
    due, number = time.monotonic(), first
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        key, value = f"{_PREFIX}{number % _KEYS}", b"%.6f" % time.monotonic()
        await wire.ask(
            b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (key.encode(), len(value), value)
        )
        due += every
        number += _WRITERS
    return (number - first) // _WRITERS


async def _read(wire: Wire, end: float) -> list[float]:
    """Return how long small reads took, sorted."""
    took: list[float] = []
    while (began := time.monotonic()) < end:
        await wire.ask(b"GET /v1/kv/beside HTTP/1.1\r\nHost: x\r\n\r\n")
        took.append(time.monotonic() - began)
        await asyncio.sleep(_READ_SECONDS)
    return sorted(took)


@contextlib.asynccontextmanager
async def _watching(url: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with so many watches, all open."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.watchers", "--watch", url, "--watchers", str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_OPEN_SECONDS):
            if await process.stdout.readline() != b"open\n":
                raise SystemExit("bench: the watches could not be opened")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _share(classes: list[list[float]], share: float) -> float:
    """Return the lateness that this share of the changes had at most."""
    left = share * sum(count for _, count in classes)
    for seconds, count in classes:
        left -= count
        if left <= 0:
            return seconds
    return classes[-1][0]


async def measure(watchers: int, rate: float, seconds: float) -> dict[str, Any]:
    """Return the figures of one number of watchers."""
    with tempfile.TemporaryDirectory(prefix="hanas-watchers-") as directory:
        async with Lab(directory, 3, overseer_port=0, first_port=0) as lab:
            main = await lab.main()
            assert main is not None, "a lab that runs has a main"
            pid = next(worker["pid"] for worker in lab.status()["workers"] if worker["name"] == main)
            wires = await _wires(lab.urls[main], _WRITERS + 1)
            await wires[0].ask(b"PUT /v1/kv/beside HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            async with _watching(lab.urls[main], watchers) as process:
                before, began = systems.processor_seconds((pid,)), time.monotonic()
                end = began + seconds
                reading = asyncio.create_task(_read(wires[0], end))
                writing = [_write(wire, at, _WRITERS / rate, end) for at, wire in enumerate(wires[1:])]
                written = sum(await asyncio.gather(*writing))
                took = await reading
                used = (systems.processor_seconds((pid,)) - before) / (time.monotonic() - began)
                output, _ = await process.communicate(b"")
            for wire in wires:
                wire.close()
    seen = json.loads(output)
    return {
        "watchers": watchers,
        "changes_per_second": round(written / seconds),
        "told_least": seen["least"] / max(written, 1),
        "late_p50": _share(seen["lateness"], 0.5),
        "late_p99": _share(seen["lateness"], 0.99),
        "late_most": _share(seen["lateness"], 1.0),
        "read_p50": took[len(took) // 2],
        "read_p99": took[len(took) * 99 // 100],
        "read_most": took[-1],
        "processor": round(used, 2),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, nargs="*", default=[1, 100, 1000])
    parser.add_argument("--rate", type=float, default=1000.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true", help="print one document")
    parser.add_argument("--watch", metavar="URL", help="open the watches; for the benchmark itself")
    arguments = parser.parse_args()
    if arguments.watch:
        asyncio.run(watch(arguments.watch, arguments.watchers[0]))
        return 0
    rows = []
    for count in arguments.watchers:
        rows.append(asyncio.run(measure(count, arguments.rate, arguments.seconds)))
        if not arguments.json:
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
