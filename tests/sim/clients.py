"""Clients that write, read, list, delete and repeat, and record the answers: the history that is judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable
from typing import Any

from msgspec.structs import replace

from hanas_lab.history import Action, Operation, OperationOutcome
from tests.sim.network import Answer, Network, Refused
from tests.sim.world import ProcessLoop, World

TIMEOUT = 0.7
LOST_ANSWERS = 0.03
"""Part of the answers that are lost on the way to the client."""
LISTS = 0.2
"""Part of the reads that read a page of the list of keys instead."""
MEDIUM = 0.3
"""Part of the values that are not large and still fill the smaller cache."""
REUSES = 0.1
"""Part of the writes with an idempotency key after which the key comes again, with other content."""
_CONDITIONS = (None, None, None, None, "version", "version", "absent")


class Clients:
    """A few clients on a machine that never fails."""

    def __init__(self, world: World, network: Network, workers: list[str], keys: int, large: float) -> None:
        self.world = world
        self.loop = ProcessLoop(world, "clients")
        self.history: list[Operation] = []
        self.stale: list[tuple[str, str, str]] = []
        """Results of stale reads: key, value, version."""
        self.acknowledged = 0
        self.stopping = False
        self.busy = 0
        """Number of clients that have not stopped yet."""
        self.network = network
        self.workers = workers
        self._large = large
        self.keys = [f"k{number}" for number in range(keys)]
        self._mains: dict[str, str] = {}
        """The server that answered each client last: it may be the last to learn of another main."""
        self._versions: dict[str, str] = {}
        self._values = 0

    def start(self, count: int) -> None:
        self.employ(self._work(f"c{number}") for number in range(count))

    def employ(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run clients until they stop by themselves."""
        for work in works:
            self.busy += 1
            self.loop.spawn(work).add_done_callback(self._ended)

    def avoid(self, worker: str) -> None:
        """Ask the others from now on."""
        self.workers.remove(worker)
        self._mains = {client: main for client, main in self._mains.items() if main != worker}

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.busy -= 1
        if task.exception() is not None:
            raise AssertionError(f"a client failed: {task.exception()!r}") from task.exception()

    async def _work(self, client: str) -> None:
        chance = self.world.random
        await asyncio.sleep(chance.uniform(0, 0.2))
        while not self.stopping:
            kind = chance.choices((Action.PUT, Action.GET, Action.DELETE), (55, 35, 10))[0]
            await self.operate(client, kind, chance.choice(self.keys))
            await asyncio.sleep(chance.expovariate(30))

    async def operate(self, client: str, kind: Action, key: str) -> None:
        """One operation, with its retries: each request is an entry of the history."""
        chance = self.world.random
        if kind is Action.GET and chance.random() < 0.15:
            await self._read_stale(key)
            return
        if kind is Action.GET and chance.random() < LISTS:
            await self._list(client, key)
            return
        asking, headers = self._asking(client, kind, key)
        value = asking.value
        body = b"" if value is None else value.encode().ljust(self._size(), b".")
        target = chance.choice(self.workers)
        if client in self._mains and chance.random() < 0.9:
            target = self._mains[client]
        for _ in range(chance.randint(1, 6)):
            asked, place = replace(asking, start=self.world.now), len(self.history)
            self.history.append(asked)
            answer = await self._request(kind, target, key, headers, body)
            outcome = _outcome(kind, answer)
            told = answer if isinstance(answer, Answer) else None
            version = told.headers.get("etag", "").strip('"') or None if told else None
            if kind is Action.GET and outcome is OperationOutcome.OK and told is not None:
                value = told.body.decode().rstrip(".")
            if version is not None:
                self._versions[key] = version
            operation = self.history[place] = replace(
                asked,
                end=None if outcome is OperationOutcome.UNKNOWN else self.world.now,
                value=value,
                outcome=outcome,
                version=version,
                created={201: True, 204: False}.get(told.status) if told and kind is Action.PUT else None,
            )
            if self.world.tracing:
                self.world.note(client, f"{operation} ({target})")
            if outcome not in {OperationOutcome.UNKNOWN, OperationOutcome.NOT_DONE}:
                self.acknowledged += kind is Action.PUT and outcome is OperationOutcome.OK
                self._mains[client] = target
                if kind is not Action.GET and "idempotency-key" in headers and chance.random() < REUSES:
                    await self._reuse(operation, target)
                return
            if outcome is OperationOutcome.UNKNOWN and kind is not Action.GET and "idempotency-key" not in headers:
                return
            if told is not None and told.status == 307:
                target = told.headers["location"].partition("://")[2].partition(":")[0]
            else:
                target = chance.choice(self.workers)
                await asyncio.sleep(chance.uniform(0.01, 0.15))

    def _size(self) -> int:
        """Return the least size of a value: too large for a cache, medium, or small enough to be always at hand."""
        if self.world.chance(self._large):
            return 3000
        return 280 if self.world.chance(MEDIUM) else 0

    async def _reuse(self, first: Operation, target: str) -> None:
        """Send the idempotency key of ``first`` with other content, which is done only if ``first`` had no effect."""
        self._values += 1
        second = Operation(
            start=self.world.now,
            client=first.client,
            kind=Action.PUT,
            key=first.key,
            value=f"v{self._values}",
            outcome=OperationOutcome.UNKNOWN,
        )
        place = len(self.history)
        self.history.append(second)
        headers = {"idempotency-key": first.idempotency_key or ""}
        answer = await self._request(Action.PUT, target, first.key, headers, (second.value or "").encode())
        if isinstance(answer, Answer) and answer.status == 422:
            outcome = OperationOutcome.NOT_DONE
        else:
            outcome = _outcome(Action.PUT, answer)
            if outcome is OperationOutcome.OK and first.outcome is OperationOutcome.OK:
                raise AssertionError(f"one idempotency key had two effects: {first}, and then {second}")
        self.history[place] = replace(
            second, end=None if outcome is OperationOutcome.UNKNOWN else self.world.now, outcome=outcome
        )

    async def _list(self, client: str, key: str) -> None:
        """Read one page of the list of keys: it says of each key in its range whether it exists, and its version."""
        chance, start = self.world.random, self.world.now
        after, limit = chance.choice((None, key)), chance.randint(1, len(self.keys) + 1)
        target = self._mains.get(client) or chance.choice(self.workers)
        query = f"prefix=k&limit={limit}" + ("" if after is None else f"&after={after}")
        try:
            answer = await self.network.request(self.loop, "GET", f"http://{target}:3000/v1/kv?{query}", b"", TIMEOUT)
        except (OSError, TimeoutError):
            return
        if answer.status != 200 or self.world.chance(LOST_ANSWERS):
            return
        page = json.loads(answer.body)
        versions = {entry["key"]: entry["version"] for entry in page["keys"]}
        if len(versions) > limit or list(versions) != sorted(versions):
            raise AssertionError(f"a page of at most {limit} keys in order: {page}")
        last = page["next"]
        for one in self.keys:
            if (after is not None and one <= after) or (last is not None and one > last):
                continue
            self.history.append(
                Operation(
                    start=start,
                    end=self.world.now,
                    client=client,
                    kind=Action.GET,
                    key=one,
                    outcome=OperationOutcome.OK if one in versions else OperationOutcome.ABSENT,
                    version=versions.get(one),
                )
            )

    def _asking(self, client: str, kind: Action, key: str) -> tuple[Operation, dict[str, str]]:
        """An operation without an answer so far, and its headers."""
        chance = self.world.random
        headers: dict[str, str] = {}
        value = if_match = if_none_match = None
        if kind is Action.PUT:
            self._values += 1
            value = f"v{self._values}"
        if kind is not Action.GET:
            if chance.random() < 0.7:
                headers["idempotency-key"] = f"{client}-{self._values}-{chance.getrandbits(32)}"
            condition = chance.choice(_CONDITIONS)
            if condition == "version" and key in self._versions:
                if_match = (self._versions[key],)
                headers["if-match"] = f'"{self._versions[key]}"'
            elif condition == "absent" and kind is Action.PUT:
                if_none_match = ("*",)
                headers["if-none-match"] = "*"
        asking = Operation(
            start=0.0,
            client=client,
            kind=kind,
            key=key,
            value=value,
            outcome=OperationOutcome.UNKNOWN,
            idempotency_key=headers.get("idempotency-key"),
            if_match=if_match,
            if_none_match=if_none_match,
        )
        return asking, headers

    async def _request(
        self, kind: Action, target: str, key: str, headers: dict[str, str], body: bytes
    ) -> Answer | Exception:
        method = {Action.PUT: "PUT", Action.GET: "GET", Action.DELETE: "DELETE"}[kind]
        try:
            answer = await self.network.request(
                self.loop, method, f"http://{target}:3000/v1/kv/{key}", body, TIMEOUT, headers
            )
        except (OSError, TimeoutError) as error:
            return error
        return ConnectionResetError("the answer was lost") if self.world.chance(LOST_ANSWERS) else answer

    async def _read_stale(self, key: str) -> None:
        target = self.world.random.choice(self.workers)
        url = f"http://{target}:3000/v1/kv/{key}?consistency=stale"
        try:
            answer = await self.network.request(self.loop, "GET", url, b"", TIMEOUT)
        except (OSError, TimeoutError):
            return
        if answer.status == 200:
            self.stale.append((key, answer.body.decode().rstrip("."), answer.headers["etag"].strip('"')))

    async def read_all(self) -> dict[str, tuple[str, str]]:
        """Read every key until an answer comes: the final value and version of each."""
        found = {}
        for key in self.keys:
            target = self.workers[0]
            while True:
                answer = await self._request(Action.GET, target, key, {}, b"")
                if isinstance(answer, Answer) and answer.status == 200:
                    found[key] = answer.body.decode().rstrip("."), answer.headers["etag"].strip('"')
                    break
                if isinstance(answer, Answer) and answer.status == 404:
                    break
                target = self.world.random.choice(self.workers)
                await asyncio.sleep(0.05)
        return found


def _outcome(kind: Action, answer: Answer | Exception) -> OperationOutcome:
    if isinstance(answer, Refused):
        return OperationOutcome.NOT_DONE
    if isinstance(answer, Exception):
        return OperationOutcome.UNKNOWN
    match answer.status:
        case 200 | 201 | 204:
            return OperationOutcome.OK
        case 404:
            return OperationOutcome.ABSENT
        case 412:
            return OperationOutcome.REFUSED
        case 503 if answer.headers.get("hanas-outcome") == "unknown":
            return OperationOutcome.UNKNOWN
        case 307 | 503 | 507:
            return OperationOutcome.NOT_DONE
        case _:
            raise AssertionError(f"an answer that nobody expects to a {kind.value}: {answer}")
