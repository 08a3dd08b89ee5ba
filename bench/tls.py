"""Throughput with TLS beside that without, on connections that are kept: interleaved, against the same kind of lab.

Prints requests per second and the processor time of the main for each, and both ratios. The load shares the machine.
"""

import argparse
import asyncio
import contextlib
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.systems import processor_seconds

from hanas_lab.cluster import Lab
from hanas_lab.identities import CLIENT

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Side(NamedTuple):
    """A running main."""

    name: str
    url: str
    pid: int
    context: ssl.SSLContext | None


class Rate(NamedTuple):
    """The result of a round."""

    per_second: float
    processor_microseconds: float
    """Of the main, for each request."""


@contextlib.contextmanager
def _connections(side: Side, count: int) -> Iterator[list[socket.socket]]:
    parts = urlsplit(side.url)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            plain = socket.create_connection((parts.hostname or "", parts.port or 0))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if side.context is not None:
                plain = side.context.wrap_socket(plain, server_hostname=parts.hostname)
            opened.append(stack.enter_context(plain))
        yield opened


def measure(side: Side, request: bytes, connections: int, seconds: float) -> Rate:
    """Send ``request`` over and over, once on each connection before the answers are read."""
    with _connections(side, connections) as opened:
        count, began, used = 0, time.monotonic(), processor_seconds((side.pid,))
        while time.monotonic() - began < seconds:
            for connection in opened:
                connection.sendall(request)
            for connection in opened:
                _answer(connection)
            count += len(opened)
        took = time.monotonic() - began
        return Rate(count / took, 1e6 * (processor_seconds((side.pid,)) - used) / count)


def _answer(connection: socket.socket) -> None:
    received = b""
    while _HEAD_END not in received:
        received += _more(connection)
    head, _, body = received.partition(_HEAD_END)
    if not head.startswith(b"HTTP/1.1 2"):
        raise SystemExit(f"bench: {head[:200]!r}")
    _, sign, rest = head.lower().partition(_LENGTH)
    left = int(rest.partition(b"\r\n")[0]) - len(body) if sign else 0
    while left > 0:
        left -= len(_more(connection))


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    if not received:
        raise SystemExit("bench: the connection was closed")
    return received


async def _run(arguments: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanas-tls-")))
        sides = []
        for name, tls in (("plain", False), ("tls", True)):
            lab = Lab(directory / name, arguments.workers, overseer_port=0, first_port=0, preset="cloud", tls=tls)
            await stack.enter_async_context(lab)
            main = await lab.main()
            if main is None:
                raise SystemExit("bench: there is no main")
            pid = next(worker["pid"] for worker in lab.status()["workers"] if worker["name"] == main)
            context = None if lab.identities is None else lab.identities.calling(CLIENT)
            sides.append(Side(name, lab.urls[main], pid, context))
        for size in arguments.sizes:
            put = b"PUT /v1/kv/bench HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
            for workload, request in (("put", put), ("get", b"GET /v1/kv/bench HTTP/1.1\r\nHost: x\r\n\r\n")):
                rates: dict[str, list[Rate]] = {"plain": [], "tls": []}
                for side in sides:
                    await asyncio.to_thread(measure, side, put, 1, 0.1)
                for _ in range(arguments.rounds):
                    for side in sides:
                        rate = await asyncio.to_thread(measure, side, request, arguments.connections, arguments.seconds)
                        rates[side.name].append(rate)
                print(_line(workload, size, rates), flush=True)
    return 0


def _line(workload: str, size: int, rates: dict[str, list[Rate]]) -> str:
    plain, tls = (
        Rate(
            statistics.median(rate.per_second for rate in rates[name]),
            statistics.median(rate.processor_microseconds for rate in rates[name]),
        )
        for name in ("plain", "tls")
    )
    return (
        f"{workload} {size:7} B: {plain.per_second:7.0f}/s, with TLS {tls.per_second:7.0f}/s "
        f"({tls.per_second / plain.per_second:.0%}); processor {plain.processor_microseconds:.0f} µs, with TLS "
        f"{tls.processor_microseconds:.0f} µs ({plain.processor_microseconds / tls.processor_microseconds:.0%})"
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 4096, 65536], help="of the values, bytes")
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
