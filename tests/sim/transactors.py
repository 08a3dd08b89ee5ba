"""Clients that change several keys at once, and read what keys held before; what they are told is judged at the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.sim.clients import LOST_ANSWERS, REUSES, TIMEOUT, Clients
from tests.sim.network import Answer
from tests.sim.past import Answered

KEYS = ("t0", "t1", "t2")
"""No other client writes these."""
_NUMBERS = ("version", "create", "mod")
_SIZES, _SHARES = (0, 280, 3000), (8, 2, 1)
"""Least sizes of values, and how often they come: small caches do not hold all of them."""


class Transactors:
    """A few of them, among the other clients."""

    def __init__(self, clients: Clients) -> None:
        self.told: list[Answered] = []
        self._clients, self._world, self._network = clients, clients.world, clients.network
        self._values = 0
        self._seen: dict[str, dict[str, Any]] = {}
        """What was last told of each key."""

    def start(self, count: int) -> None:
        self._clients.employ(self._work() for _ in range(count))

    async def _work(self) -> None:
        chance = self._world.random
        await asyncio.sleep(chance.uniform(0, 0.2))
        while not self._clients.stopping:
            if chance.random() < 0.65:
                await self._transact()
            else:
                await self._read()
            await asyncio.sleep(chance.expovariate(20))

    async def _transact(self) -> None:
        """Ask until there is an answer, with the same idempotency key."""
        chance = self._world.random
        body = json.dumps(self._transaction(0)).encode()
        headers = {"idempotency-key": f"txn-{chance.getrandbits(48)}"} if chance.random() < 0.8 else {}
        start = self._world.now
        for _ in range(5):
            answer = await self._ask("POST", "/v1/txn", body, headers)
            if answer is None:
                if not headers:
                    return
                continue
            if answer.status in {307, 503, 507}:
                continue
            if answer.status != 200:
                raise AssertionError(f"an answer that nobody expects to {body!r}: {answer}")
            document, revision = json.loads(answer.body), int(answer.headers["hanas-revision"])
            self.told.append(Answered(start, self._world.now, revision, body, 0, document))
            for result in document["results"]:
                for row in [row for row in result.get("keys", ()) if "text" in row]:
                    self._seen[row["key"]] = row
            if headers and chance.random() < REUSES:
                await self._reuse(headers)
            return

    async def _reuse(self, headers: dict[str, str]) -> None:
        """Send an idempotency key with another transaction, which is done only if the first one had no effect."""
        start, body = self._world.now, json.dumps(self._transaction(0)).encode()
        answer = await self._ask("POST", "/v1/txn", body, headers)
        if answer is None or answer.status in {307, 422, 503, 507}:
            return
        if answer.status != 200:
            raise AssertionError(f"an answer that nobody expects to {body!r}: {answer}")
        document, revision = json.loads(answer.body), int(answer.headers["hanas-revision"])
        self.told.append(Answered(start, self._world.now, revision, body, 0, document))

    def _transaction(self, depth: int) -> dict[str, Any]:
        chance = self._world.random
        conditions = [self._condition() for _ in range(chance.randint(0, 2))]
        keys = chance.sample(KEYS, len(KEYS))
        return {
            "if": conditions,
            "then": self._steps(list(keys), depth),
            "else": [{"get": {"prefix": "t"}}] if depth or chance.random() < 0.7 else self._steps(list(keys), 1),
        }

    def _steps(self, keys: list[str], depth: int) -> list[dict[str, Any]]:
        """Return operations that change each of ``keys`` once at most."""
        chance, steps = self._world.random, list[dict[str, Any]]()
        for _ in range(chance.randint(1, 3)):
            kind = chance.random()
            if kind < 0.5 and keys:
                self._values += 1
                (size,) = chance.choices(_SIZES, _SHARES)
                steps.append({"put": {"key": keys.pop(), "text": f"x{self._values}".ljust(size, ".")}})
            elif kind < 0.7 and keys:
                steps.append({"delete": {"key": keys.pop()}})
            elif kind < 0.8 and not depth and len(keys) > 1:
                inner = {"if": [self._condition()], "then": self._steps([keys.pop()], 1), "else": []}
                steps.append({"txn": inner})
            else:
                steps.append({"get": {"prefix": "t", "limit": chance.randint(1, 4)}})
        return steps

    def _condition(self) -> dict[str, Any]:
        chance, key = self._world.random, self._world.random.choice(KEYS)
        seen, relation = self._seen.get(key), chance.choice(("=", "=", "!=", "<", ">"))
        if seen is None or chance.random() < 0.2:
            return {"key": key, "target": "version", "is": relation, "number": chance.randint(0, 2)}
        if chance.random() < 0.4:
            return {"key": key, "is": relation, "text": seen["text"]}
        target = chance.choice(_NUMBERS)
        return {"key": key, "target": target, "is": relation, "number": seen[target]}

    async def _read(self) -> None:
        """Read a key, or the list of keys, as of a revision that was told before."""
        chance, start = self._world.random, self._world.now
        if not self.told:
            return
        revision = max(1, max(each.revision for each in self.told[-20:]) - chance.randint(0, 6))
        key, lists = chance.choice((*KEYS, *self._clients.keys)), chance.random() < 0.4
        path = f"/v1/kv?prefix=t&revision={revision}" if lists else f"/v1/kv/{key}?revision={revision}"
        answer = await self._ask("GET", path, b"", {})
        if answer is None or answer.status in {307, 410, 503}:
            return
        told = int(answer.headers["hanas-revision"])
        if answer.status == 400 and told < revision:
            raise AssertionError(f"revision {revision} was told, and then it was still to come: {answer}")
        if lists:
            content: Any = [entry["key"] for entry in json.loads(answer.body)["keys"]]
        else:
            content = answer.body if answer.status == 200 else None
        question = "t" if lists else key
        self.told.append(Answered(start, self._world.now, told, question, revision, content))

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
        """Return the answer of the main, or of who takes its place; None: none came."""
        clients, chance = self._clients, self._world.random
        target, answer = chance.choice(clients.workers), None
        for _ in range(4):
            url = f"http://{target}:3000{path}"
            try:
                answer = await self._network.request(clients.loop, method, url, body, TIMEOUT, headers)
            except (OSError, TimeoutError):
                return None
            if answer.status != 307:
                return None if self._world.chance(LOST_ANSWERS) else answer
            target = answer.headers["location"].partition("://")[2].partition(":")[0]
        await asyncio.sleep(0.05)
        return answer
