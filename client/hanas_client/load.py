"""The load of `hanas bench`, and its measurement."""

from __future__ import annotations

import asyncio
import os
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hanas_client import calls
from hanas_client.asynchronous import AsyncClient
from hanas_client.errors import HanasError, NotFound, Unavailable

Kind = Literal["put", "get", "mixed"]
READ_SHARES: dict[Kind, float] = {"put": 0.0, "get": 1.0, "mixed": 0.9}
"""The share of reads."""
_MOST_VALUE_BYTES = 64 << 20
_MOST_CONNECTIONS = 256
_MOST_KEYS = 1_000_000
_MOST_SECONDS = 600.0
_GRACE_SECONDS = 1.0
"""The time for open requests after `stop`."""
_REST_SECONDS = 0.05
"""The pause of a connection after an error: a refusal is immediate, and would repeat."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The parameters of the load. Raises ValueError if they are out of range."""

    kind: Kind = "mixed"
    value_bytes: int = 1024
    connections: int = 4
    """Each sends one request after the other."""
    seconds: float = 10.0
    keys: int = 1000
    prefix: str = "hanas-bench/"
    run: str = field(default_factory=lambda: os.urandom(4).hex())
    """Part of every key, so that the load never touches another key."""

    def __post_init__(self) -> None:
        _within("--value-bytes", self.value_bytes, 0, _MOST_VALUE_BYTES)
        _within("--connections", self.connections, 1, _MOST_CONNECTIONS)
        _within("--keys", self.keys, 1, _MOST_KEYS)
        _within("--duration", self.seconds, 0.1, _MOST_SECONDS)
        calls.get(self.key(0))

    def key(self, number: int) -> str:
        """Return the key with this number, from 0."""
        return f"{self.prefix}{self.run}/{number:06}"


class Tally:
    """The results of one kind of request."""

    def __init__(self) -> None:
        self.milliseconds = array("d")
        """The time of each acknowledged request with its repetitions, in the order of the answers."""
        self.errors = 0
        self.unknown = 0
        """Writes with an unknown outcome: no answer came in time."""

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.milliseconds.extend(other.milliseconds)
        self.errors += other.errors
        self.unknown += other.unknown


class Load:
    """Runs a workload on a cluster: `prepare`, `measure`, `clear`; `stop` ends each of them early."""

    def __init__(self, clients: Sequence[AsyncClient], workload: Workload) -> None:
        """Send nothing yet. One client for each connection costs much less than one client with all connections."""
        self.workload = workload
        self.gets, self.puts = Tally(), Tally()
        self.troubles: Counter[str] = Counter()
        """The number of each error message."""
        self.began = self.ended = 0.0
        """Start and end of the measurement, monotonic seconds."""
        self.gap = self.gap_began = 0.0
        """The longest time without an acknowledged answer, and its beginning after the start, seconds."""
        self._clients = clients
        self._value = os.urandom(workload.value_bytes)
        self._answered = 0.0
        self._touched: set[int] = set()
        """The keys that may exist."""
        self._stopping = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    @property
    def prepared(self) -> int:
        """The number of keys with an attempted write."""
        return len(self._touched)

    @property
    def silence(self) -> float:
        """The time since the last answer, seconds."""
        return time.monotonic() - self._answered

    def stop(self) -> None:
        """End the current phase soon."""
        self._stopping.set()

    async def prepare(self) -> None:
        """Connect, and write the keys for the reads. Raises HanasError."""
        numbers = iter(range(self.workload.keys if READ_SHARES[self.workload.kind] > 0 else 0))
        await self._on_each_connection(lambda client: self._write_each(client, numbers))

    async def _write_each(self, client: AsyncClient, numbers: Iterator[int]) -> None:
        await client.status()
        for number in numbers:
            if self.stopped:
                return
            await self._put(client, number)

    async def measure(self) -> None:
        """Send requests for the duration of the workload, then wait for the open ones."""
        self.began = self._answered = time.monotonic()
        ends = self.began + self.workload.seconds
        await self._on_each_connection(lambda client: self._send_until(client, ends))
        self.ended = time.monotonic()
        self._note_gap(self.ended)

    async def _send_until(self, client: AsyncClient, ends: float) -> None:
        chance, share = random.Random(), READ_SHARES[self.workload.kind]
        while not self.stopped and (began := time.monotonic()) < ends:
            number = chance.randrange(self.workload.keys)
            reads = chance.random() < share
            tally = self.gets if reads else self.puts
            try:
                if reads:
                    await client.get(self.workload.key(number))
                else:
                    await self._put(client, number)
            except HanasError as error:
                self._failed(tally, error)
                await asyncio.sleep(_REST_SECONDS)
            else:
                answered = time.monotonic()
                tally.milliseconds.append((answered - began) * 1000)
                self._note_gap(answered)
                self._answered = answered

    async def _put(self, client: AsyncClient, number: int) -> None:
        self._touched.add(number)
        await client.put(self.workload.key(number), self._value)

    def _failed(self, tally: Tally, error: HanasError) -> None:
        if isinstance(error, Unavailable) and error.outcome_unknown:
            tally.unknown += 1
        else:
            tally.errors += 1
        self.troubles[str(error)] += 1

    def _note_gap(self, until: float) -> None:
        if until - self._answered > self.gap:
            self.gap, self.gap_began = until - self._answered, self._answered - self.began

    async def clear(self) -> None:
        """Remove every written key. Raises HanasError when some may remain."""
        self._stopping.clear()
        numbers = iter(sorted(self._touched))
        await self._on_each_connection(lambda client: self._remove_each(client, numbers))
        if self._touched:
            where = f"{self.workload.prefix}{self.workload.run}/"
            raise HanasError(f"{len(self._touched)} keys may remain; `hanas list --prefix {where}` shows them")

    async def _remove_each(self, client: AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            if self.stopped:
                return
            try:
                await client.delete(self.workload.key(number))
            except NotFound:
                pass
            except HanasError:
                self.stop()  # the other deletes would fail too
                return
            self._touched.discard(number)

    async def _on_each_connection(self, work: Callable[[AsyncClient], Coroutine[Any, Any, None]]) -> None:
        """Run `work` with all clients at once, at most until `stop`. Raises its error."""
        tasks = {asyncio.create_task(work(client)) for client in self._clients}
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            pending = set(tasks)
            while pending and not self.stopped:
                done, _ = await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
                pending -= done
                for task in done - {stopping}:
                    task.result()
            if pending:
                await asyncio.wait(pending, timeout=_GRACE_SECONDS)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `ordered` lie; `ordered` is not empty."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _within(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{option} must be {least:g} to {most:.0f}, not {value:g}")
