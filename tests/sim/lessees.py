"""Clients with leases: they attach keys, renew for a while, and stop; the witness knows what they were promised."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

from tests.sim.clients import LOST_ANSWERS, TIMEOUT, Clients
from tests.sim.network import Answer

KEYS = ("l0", "l1", "l2", "l3")
"""No other client writes these."""
FASTEST = 1.2
"""The clock of a worker runs so much faster than the world's, at most."""
_EXPECTED = frozenset({200, 201, 204, 404, 409, 412})
_NOT_DONE = frozenset({307, 503, 507})


class Promises:
    """Until when each lease was promised to live, and when it lived.

    One that has ended may be granted anew, also by a request that was sent before: its client had repeated it.
    """

    def __init__(self, accuse: Callable[[str], None]) -> None:
        self._accuse = accuse
        self._lives: dict[int, list[tuple[float, float]]] = {}
        """When each grant was committed, and its end."""
        self._promises: dict[int, list[tuple[float, float, float]]] = {}
        """When a client asked, when it was told, and until when the lease lives."""
        self._given_up: set[int] = set()
        """Their holders asked for a revoke."""

    def promised(self, lease: int, sent: float, now: float, ttl: int) -> None:
        """A client was told that a lease lives ``ttl`` seconds from when it asked."""
        self._promises.setdefault(lease, []).append((sent, now, sent + ttl / FASTEST))
        self._compare(lease)

    def gave_up(self, lease: int) -> None:
        """A client asks for the end of a lease."""
        self._given_up.add(lease)

    def begun(self, lease: int, now: float) -> None:
        """The grant of a lease was committed."""
        self._lives.setdefault(lease, []).append((now, math.inf))

    def ended(self, lease: int, now: float) -> None:
        """The revoke of a lease was committed."""
        lives = self._lives[lease]
        lives[-1] = lives[-1][0], now
        self._compare(lease)

    def gone(self, lease: int, asked: float, now: float) -> None:
        """A client was told that there is no such lease, of one that it had been granted."""
        if any(begun <= asked and now < ended for begun, ended in self._lives.get(lease, ())):
            self._accuse(f"lease {lease} was said to be gone at {asked:.3f}, and no revoke is committed")

    def _compare(self, lease: int) -> None:
        lives = self._lives.get(lease, ())
        for sent, told, until in self._promises.get(lease, ()):
            kept = any(begun <= told and sent <= ended and until <= ended for begun, ended in lives)
            if not kept and lease not in self._given_up:
                self._accuse(f"lease {lease} was promised at {sent:.3f} to live until {until:.3f}; it lived {lives}")


class Lessees:
    """A few of them, among the other clients."""

    def __init__(self, clients: Clients, promises: Promises) -> None:
        self._clients, self._world, self._network = clients, clients.world, clients.network
        self._promises = promises
        self._numbers = 0

    def start(self, count: int) -> None:
        self._clients.employ(self._work() for _ in range(count))

    async def _work(self) -> None:
        chance = self._world.random
        await asyncio.sleep(chance.uniform(0, 0.3))
        while not self._clients.stopping:
            self._numbers += 1
            await self._hold(self._numbers, chance.randint(1, 4))
            await asyncio.sleep(chance.expovariate(5))

    async def _hold(self, lease: int, ttl: int) -> None:
        """Be granted a lease, attach keys, renew it for a while, and leave it or revoke it."""
        chance = self._world.random
        if await self._granted(lease, ttl) is None:
            return
        stops_at = self._world.now + chance.choice((0.0, 1.0, 3.0, 6.0))
        await self._attach(lease)
        while self._world.now < stops_at and not self._clients.stopping:
            await asyncio.sleep(chance.uniform(0.1, 0.9) * ttl)
            sent = self._world.now
            answer = await self._ask("POST", f"/v1/leases/{lease}/keepalive", b"", {})
            if answer is not None and answer.status == 404:
                self._promises.gone(lease, sent, self._world.now)
                return
            if answer is not None and answer.status == 200:
                self._promises.promised(lease, sent, self._world.now, ttl)
            if chance.random() < 0.5:
                await self._attach(lease)
        if chance.random() < 0.3:
            self._promises.gave_up(lease)
            await self._ask("DELETE", f"/v1/leases/{lease}", b"", {})

    async def _granted(self, lease: int, ttl: int) -> int | None:
        """Ask until there is an answer; None if it is too late. A repetition of what was done is answered 409."""
        body = json.dumps({"ttl": ttl, "id": lease}).encode()
        for _ in range(6):
            sent = self._world.now
            answer = await self._ask("POST", "/v1/leases", body, {})
            if answer is not None and answer.status == 201:
                self._promises.promised(lease, sent, self._world.now, ttl)
            if answer is not None and answer.status in {201, 409}:
                return ttl
        return None

    async def _attach(self, lease: int) -> None:
        chance = self._world.random
        key, kind = chance.choice(KEYS), chance.random()
        if chance.random() < 0.2:  # one that may be gone
            lease = chance.randint(1, self._numbers)
        if kind < 0.7:
            await self._ask("PUT", f"/v1/kv/{key}", b"held", {"hanas-lease": str(lease)})
        elif kind < 0.8:
            await self._ask("PUT", f"/v1/kv/{key}", b"free", {})
        elif kind < 0.85:
            await self._ask("DELETE", f"/v1/kv/{key}", b"", {})
        else:
            steps: list[dict[str, Any]] = [{"put": {"key": key, "text": "held", "lease": lease}} for key in KEYS[:2]]
            await self._ask("POST", "/v1/txn", json.dumps({"then": steps}).encode(), {})

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
        """Return the answer of the main, or of who takes its place; None: none came, or nothing was done."""
        clients, target = self._clients, self._world.random.choice(self._clients.workers)
        for _ in range(4):
            try:
                answer = await self._network.request(
                    clients.loop, method, f"http://{target}:3000{path}", body, TIMEOUT, headers
                )
            except (OSError, TimeoutError):
                return None
            if answer.status != 307:
                if answer.status not in _EXPECTED | _NOT_DONE:
                    raise AssertionError(f"an answer that nobody expects to {method} {path}: {answer}")
                done = answer.status not in _NOT_DONE and not self._world.chance(LOST_ANSWERS)
                return answer if done else None
            target = answer.headers["location"].partition("://")[2].partition(":")[0]
        await asyncio.sleep(0.05)
        return None
