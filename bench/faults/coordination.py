"""Clients that watch, hold locks by leases, and change several keys at once, all the time; and what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from hanas_lab.held import Held, judge_locks
from hanas_lab.history import Operation, OperationOutcome
from hanas_lab.transacted import Transaction, judge_transactions
from hanas_lab.watched import Watched, events_of, gaps_of, judge_watches

PREFIX, LOCKS = "account/", "lock/"
_KEYS = tuple(f"{PREFIX}{number}" for number in range(4))
_TTL_SECONDS = 3
_PATIENCE_SECONDS = 2.0
_TRIES_SECONDS = 60.0
_SILENCE_SECONDS = 8.0
"""A watcher that has heard nothing for so long asks another worker: progress comes every two to four seconds."""
_REST_SECONDS = 0.05
_LEAVES, _DIES = 0.01, 0.2
"""How often a watcher leaves its stream after a line, and how often a holder just stops."""


class Coordinated(msgspec.Struct, frozen=True):
    """What these clients did, and what was wrong."""

    events: int
    streams: int
    transactions: int
    locks: int
    """How often a lock was taken."""
    expired: int
    """How often a holder stopped without a word."""
    forgotten: int
    """How often a watcher was told that history is forgotten, as on a full volume."""
    watch_violations: list[str]
    transaction_violations: list[str]
    lease_violations: list[str]

    @property
    def unsafe(self) -> int:
        """The number of violations."""
        return sum(map(len, (self.watch_violations, self.transaction_violations, self.lease_violations)))


@dataclass(slots=True)
class Coordination:
    """A few of each. Use `running` as an asynchronous context manager, before any key is written."""

    urls: Sequence[str]
    http: httpx.AsyncClient
    slowness: float = 1.0
    transactions: list[Transaction] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    """Leases that ended before their time."""
    watchers: list[Watched] = field(default_factory=list)
    _expired: int = 0
    _numbers: int = 0
    _hurrying: bool = False
    _clients: list[asyncio.Task[None]] = field(default_factory=list)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Coordination]:
        """Run all of them, until the end of the context at the latest."""
        for name, prefix, rest in (
            ("fast", "", 0.0),
            ("slow", "", 0.02),
            ("other", "g", 0.0),
            ("accounts", PREFIX, 0.0),
        ):
            self.watchers.append(Watched(f"watcher {name}", prefix, 0))
            self._watching.append(asyncio.create_task(self._watch(self.watchers[-1], rest)))
        for number in range(2):
            self._clients.append(asyncio.create_task(self._transact(f"transactor {number}")))
        for number in range(3):
            self._clients.append(asyncio.create_task(self._hold(f"holder {number}")))
        try:
            yield self
        finally:
            await _end(self._clients)
            await _end(self._watching)

    async def stop(self, history: Sequence[Operation]) -> Coordinated:
        """End the clients, let the watchers hear the rest, and judge. Raises TimeoutError; the error of a client."""
        await _end(self._clients)
        self._hurrying = True
        _, answer = await self._ask("GET", "/v1/kv?limit=1")
        last = int(answer.headers["hanas-revision"])
        async with asyncio.timeout(_TRIES_SECONDS * self.slowness):
            while any(watcher.cursor < last for watcher in self.watchers):
                if any(task.done() for task in self._watching):
                    break
                await asyncio.sleep(_REST_SECONDS)
        await _end(self._watching)
        return self.judge(history)

    def judge_so_far(self, history: Sequence[Operation]) -> Coordinated:
        """Judge clients that were not stopped: what no watcher was told yet is not known."""
        for watcher in self.watchers:
            watcher.gaps.append((watcher.cursor, 1 << 63))
        return self.judge(history)

    def judge(self, history: Sequence[Operation]) -> Coordinated:
        """Judge what they saw."""
        events = events_of(self.watchers)
        return Coordinated(
            events=sum(len(watcher.events) for watcher in self.watchers),
            streams=sum(watcher.streams for watcher in self.watchers),
            transactions=len(self.transactions),
            locks=len(self.held),
            expired=self._expired,
            forgotten=sum(len(watcher.gaps) for watcher in self.watchers),
            watch_violations=judge_watches(self.watchers, history),
            transaction_violations=judge_transactions(
                self.transactions, events, PREFIX, gaps_of(self.watchers, PREFIX)
            ),
            lease_violations=self.early + judge_locks(self.held),
        )

    # ------------------------------------------------------------------ asking

    async def _ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[float, httpx.Response]:
        """Ask until there is an answer about the request; return when it was sent last. Raises TimeoutError."""
        async with asyncio.timeout(_TRIES_SECONDS * self.slowness):
            while True:
                sent, url = time.monotonic(), random.choice(self.urls)
                content = None if body is None else msgspec.json.encode(body)
                fields = {"content-type": "application/json"} | (headers or {})
                with contextlib.suppress(httpx.HTTPError):
                    answer = await self.http.request(
                        method,
                        f"{url}{path}",
                        content=content,
                        headers=fields,
                        timeout=_PATIENCE_SECONDS * self.slowness,
                        follow_redirects=True,
                    )
                    if answer.status_code not in {503, 507}:
                        return sent, answer
                await asyncio.sleep(_REST_SECONDS * self.slowness)

    # ------------------------------------------------------------------ watches

    async def _watch(self, watcher: Watched, rest: float) -> None:
        """Watch at one worker after the other, each time from where the last one ended."""
        place = random.randrange(len(self.urls))
        while True:
            place += 1
            try:
                await self._stream(watcher, self.urls[place % len(self.urls)], rest)
            except httpx.HTTPError:
                await asyncio.sleep(_REST_SECONDS)

    async def _stream(self, watcher: Watched, url: str, rest: float) -> None:
        query = {"prefix": watcher.prefix, "from": str(watcher.cursor + 1)}
        async with self.http.stream(
            "GET",
            f"{url}/v1/watch",
            params=query,
            headers={"accept": "application/x-ndjson"},
            timeout=_SILENCE_SECONDS * self.slowness,
            follow_redirects=True,
        ) as answer:
            if answer.status_code == 410:
                watcher.forgotten(msgspec.json.decode(await answer.aread())["compacted"])
            if answer.status_code != 200:
                await asyncio.sleep(_REST_SECONDS)
                return
            watcher.streams += 1
            async for line in answer.aiter_lines():
                watcher.take(msgspec.json.decode(line))
                if not self._hurrying:
                    await asyncio.sleep(rest)
                    if random.random() < _LEAVES:
                        return

    # ------------------------------------------------------------------ transactions

    async def _transact(self, client: str) -> None:
        """Write some keys if they are what they were when they were read last."""
        mods: dict[str, int] = {}
        while True:
            keys = random.sample(_KEYS, random.randint(1, 3))
            self._numbers += 1
            asked = Transaction(
                client=client,
                start=time.monotonic(),
                conditions={key: mods.get(key, 0) for key in keys[:2]},
                puts={key: f"{client}.{self._numbers}.{key}" for key in keys},
                outcome=OperationOutcome.UNKNOWN,
            )
            place = len(self.transactions)
            self.transactions.append(asked)
            read = {"get": {"prefix": PREFIX}}
            body = {
                "if": [{"key": key, "target": "mod", "number": mod} for key, mod in asked.conditions.items()],
                "then": [read, *({"put": {"key": key, "text": value}} for key, value in asked.puts.items())],
                "else": [read],
            }
            with contextlib.suppress(TimeoutError):
                _, answer = await self._ask("POST", "/v1/txn", body, {"idempotency-key": f"{client}-{self._numbers}"})
                told = self.transactions[place] = _answered(asked, answer)
                if told.read is not None:
                    mods = {key: mod for key, (mod, _) in told.read.items()}
                if told.succeeded:
                    mods |= dict.fromkeys(told.puts, told.revision)
            await asyncio.sleep(_REST_SECONDS * self.slowness)

    # ------------------------------------------------------------------ leases

    async def _hold(self, client: str) -> None:
        """Take a lock whenever it is free, hold it for a while, and give it up or just stop."""
        while True:
            with contextlib.suppress(TimeoutError):
                await self._take(client, f"{LOCKS}{random.randrange(2)}")
            await asyncio.sleep(random.uniform(1, 5) * _REST_SECONDS * self.slowness)

    async def _take(self, client: str, lock: str) -> None:
        sent, answer = await self._ask("POST", "/v1/leases", {"ttl": _TTL_SECONDS})
        answer.raise_for_status()
        lease, until = answer.json()["id"], sent + _TTL_SECONDS
        self._numbers += 1
        body = {
            "if": [{"key": lock, "target": "version", "number": 0}],
            "then": [{"put": {"key": lock, "text": f"{client}.{self._numbers}", "lease": lease}}],
        }
        _, answer = await self._ask("POST", "/v1/txn", body, {"idempotency-key": f"{client}-{self._numbers}"})
        began = time.monotonic()
        if answer.status_code == 404:  # the lease has expired
            if began < until:
                self.early.append(f"lease {lease} of {client} had expired {until - began:.3f} s too early")
            return
        answer.raise_for_status()
        if answer.json()["succeeded"]:
            await self._keep(client, lock, lease, began, until)
        else:
            await self._ask("DELETE", f"/v1/leases/{lease}")

    async def _keep(self, client: str, lock: str, lease: int, began: float, until: float) -> None:
        """Renew for a while by one's own clock, and believe that one holds the lock no longer than that allows."""
        stops = began + random.uniform(0.0, 4.0 * _TTL_SECONDS)
        place = len(self.held)
        self.held.append(Held(client=client, lock=lock, began=began, until=until))
        while time.monotonic() < min(stops, until):
            await asyncio.sleep(random.uniform(0.1, 0.5) * _TTL_SECONDS)
            sent, renewed = await self._renew(lease, until)
            if renewed is None:
                break
            if not renewed:
                if time.monotonic() < until:
                    self.early.append(f"lease {lease} of {client} was gone {until - time.monotonic():.3f} s too early")
                return
            until = sent + _TTL_SECONDS
            self.held[place] = msgspec.structs.replace(self.held[place], until=until)
        if random.random() < _DIES:
            self._expired += 1
            return
        until = max(began, min(until, time.monotonic()))
        self.held[place] = msgspec.structs.replace(self.held[place], until=until)
        await self._ask("DELETE", f"/v1/leases/{lease}")

    async def _renew(self, lease: int, until: float) -> tuple[float, bool | None]:
        """Return when it was asked last, and whether there is such a lease; None: it may have expired meanwhile."""
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, until - time.monotonic())):
                sent, answer = await self._ask("POST", f"/v1/leases/{lease}/keepalive")
        except TimeoutError:
            return 0.0, None
        return sent, answer.status_code == 200


def _answered(asked: Transaction, answer: httpx.Response) -> Transaction:
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    rows = document["results"][0]["keys"] if document["results"] else None
    return msgspec.structs.replace(
        asked,
        end=time.monotonic(),
        outcome=OperationOutcome.OK,
        succeeded=document["succeeded"],
        revision=document["revision"],
        read=None if rows is None else {row["key"]: (row["mod"], row["text"]) for row in rows},
    )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks. Raises the error of one."""
    ended, tasks[:] = list(tasks), []
    for task in ended:
        task.cancel()
    for outcome in await asyncio.gather(*ended, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
