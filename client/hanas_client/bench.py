"""`hanas bench`: throughput and latency of a running cluster, as one client sees them, also during a takeover."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec
from rich.console import Console

from hanas_client import tables
from hanas_client.asynchronous import AsyncClient
from hanas_client.commands import connect
from hanas_client.errors import HanasError
from hanas_client.load import READ_SHARES, Load, Tally, Workload, percentile
from hanas_client.narration import Sentence

_LATENCIES = ("P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS")
_COLUMNS = ("OPERATION", "REQUESTS", "REQUESTS/S", *_LATENCIES, "ERRORS", "UNKNOWN")
_REFRESH_SECONDS = 0.2
_EPOCH_SECONDS = 3.0
_MOST_TROUBLES = 3


class Latencies(msgspec.Struct, frozen=True):
    """Milliseconds from the first try of a request to its answer."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Figures(msgspec.Struct, frozen=True, rename="camel"):
    """The results of one kind of request."""

    requests: int
    """The acknowledged requests."""
    requests_per_second: float
    milliseconds: Latencies | None
    """None without an acknowledged request."""
    errors: int
    unknown: int


class BenchReport(msgspec.Struct, frozen=True, rename="camel"):
    """The results of a measurement."""

    workload: str
    value_bytes: int
    connections: int
    keys: int
    seconds: float
    interrupted: bool
    operations: dict[str, Figures]
    longest_gap_seconds: float
    """The longest time without an acknowledged answer."""
    longest_gap_after_seconds: float
    """Its beginning, in seconds after the start."""
    epoch_before: int | None
    epoch_after: int | None
    """None if the cluster did not report it."""
    troubles: dict[str, int]
    """The number of each error message."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hanas bench`, except those of the connection."""
    default = Workload()
    parser.add_argument(
        "--workload", choices=tuple(READ_SHARES), default=default.kind, help="mixed (default): 90 %% gets, 10 %% puts"
    )
    for option, value, words in (
        ("--value-bytes", default.value_bytes, "size of a value"),
        ("--connections", default.connections, "concurrent connections"),
        ("--keys", default.keys, "number of keys"),
    ):
        parser.add_argument(option, metavar="N", type=int, default=value, help=f"{words} (%(default)s)")
    words = "duration of the measurement (%(default)g; 600 at most)"
    parser.add_argument("--duration", metavar="SECONDS", type=float, default=default.seconds, help=words)
    parser.add_argument(
        "--prefix", default=default.prefix, help="prefix of the keys (%(default)s); no other key is changed"
    )
    parser.add_argument("--keep", action="store_true", help="do not remove the keys at the end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and clean up. Raises ValueError for an invalid workload, HanasError."""
    workload = Workload(
        arguments.workload,
        arguments.value_bytes,
        arguments.connections,
        arguments.duration,
        arguments.keys,
        arguments.prefix,
    )
    asyncio.run(_bench(arguments, workload))


async def _bench(arguments: argparse.Namespace, workload: Workload) -> None:
    async with contextlib.AsyncExitStack() as stack:

        async def client() -> AsyncClient:
            return await stack.enter_async_context(connect(AsyncClient, arguments))

        observer = await client()
        before = _epoch_of(await observer.status())
        load = Load([await client() for _ in range(workload.connections)], workload)
        with _interrupts(load.stop):
            try:
                await _measure(load, observer, before, as_json=arguments.json)
            finally:
                if not arguments.keep:
                    with _activity(lambda: "removing the keys"):
                        await load.clear()


async def _measure(load: Load, observer: AsyncClient, before: int | None, *, as_json: bool) -> None:
    workload = load.workload
    with _activity(lambda: f"writing the keys for the reads: {load.prepared} of {workload.keys}"):
        await load.prepare()
    if load.stopped:
        raise HanasError("stopped before anything was measured")
    with _activity(lambda: progress(load)):
        await load.measure()
    report = evaluate(load, before, await _epoch_after(observer))
    if as_json:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        show(report)
    if not any(figures.requests for figures in report.operations.values()):
        raise HanasError(f"nothing was acknowledged: {next(iter(report.troubles), 'no answer came in time')}")


def evaluate(load: Load, before: int | None, after: int | None) -> BenchReport:
    """Return the results of a load; `before` and `after` are epochs."""
    workload, seconds = load.workload, load.ended - load.began
    share = READ_SHARES[workload.kind]
    operations = ({"get": load.gets} if share > 0 else {}) | ({"put": load.puts} if share < 1 else {})
    if len(operations) > 1:
        total = Tally()
        for tally in operations.values():
            total.add(tally)
        operations["all"] = total
    return BenchReport(
        workload=workload.kind,
        value_bytes=workload.value_bytes,
        connections=workload.connections,
        keys=workload.keys,
        seconds=seconds,
        interrupted=load.stopped,
        operations={name: _figures(tally, seconds) for name, tally in operations.items()},
        longest_gap_seconds=load.gap,
        longest_gap_after_seconds=load.gap_began,
        epoch_before=before,
        epoch_after=after,
        troubles=dict(load.troubles.most_common()),
    )


def _figures(tally: Tally, seconds: float) -> Figures:
    ordered = sorted(tally.milliseconds)
    latencies = None
    if ordered:
        p50, p90, p99, p999 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999))
        latencies = Latencies(p50, p90, p99, p999, ordered[-1])
    return Figures(len(ordered), len(ordered) / seconds, latencies, tally.errors, tally.unknown)


def show(report: BenchReport) -> None:
    """Print a report as text: a table, the longest gap, the epochs, and the error messages."""
    output = tables.console()
    rows = [_row(name, figures) for name, figures in report.operations.items()]
    tables.show(output, _COLUMNS, rows)
    gap = f"{report.longest_gap_seconds:.3f} s, {report.longest_gap_after_seconds:.1f} s after the start"
    sentences = [Sentence(f"longest time without an answer: {gap}"), _epochs(report)]
    if report.interrupted:
        sentences.insert(0, Sentence(f"ended early, after {report.seconds:.1f} s", "bad"))
    sentences += [
        Sentence(f"{count} times: {trouble}", "bad")
        for trouble, count in list(report.troubles.items())[:_MOST_TROUBLES]
    ]
    for sentence in sentences:
        tables.say(output, sentence)


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    milliseconds = figures.milliseconds
    latencies = ["–"] * len(_LATENCIES)
    if milliseconds is not None:
        latencies = [f"{each:.2f}" for each in msgspec.structs.astuple(milliseconds)]
    rate = f"{figures.requests_per_second:.0f}"
    return (name, str(figures.requests), rate, *latencies, str(figures.errors), str(figures.unknown))


def _epochs(report: BenchReport) -> Sentence:
    before, after = report.epoch_before, report.epoch_after
    if before is None or after is None:
        return Sentence("the cluster does not report its epoch", "bad")
    if before == after:
        return Sentence(f"epoch {before} all the time", "good")
    return Sentence(f"the epoch changed from {before} to {after}; `hanas takeovers` has the reason", "urgent")


def progress(load: Load) -> str:
    """Return the progress of a measurement, in one line."""
    seconds = max(time.monotonic() - load.began, 0.001)
    requests = len(load.gets.milliseconds) + len(load.puts.milliseconds)
    errors = load.gets.errors + load.puts.errors + load.puts.unknown
    line = f"{seconds:.0f} of {load.workload.seconds:.0f} s: {requests} requests, {requests / seconds:.0f}/s"
    line += f", {errors} errors" if errors else ""
    return line + (f", no answer for {load.silence:.1f} s" if load.silence > 2 * _REFRESH_SECONDS else "")


@dataclass(frozen=True, slots=True)
class _Live:
    """Text that rich reads again for each frame."""

    words: Callable[[], str]

    def __rich__(self) -> str:
        return self.words()


def _activity(words: Callable[[], str]) -> AbstractContextManager[object]:
    """Show the current activity on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return contextlib.nullcontext()
    return console.status(_Live(words), refresh_per_second=1 / _REFRESH_SECONDS)


@contextlib.contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C call `stop`."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _epoch_after(client: AsyncClient) -> int | None:
    with contextlib.suppress(HanasError, TimeoutError):
        async with asyncio.timeout(_EPOCH_SECONDS):
            return _epoch_of(await client.status())
    return None


def _epoch_of(status: dict[str, object]) -> int | None:
    epoch = status.get("epoch")
    return epoch if isinstance(epoch, int) else None
