"""A store in memory that answers the calls of the client as a worker does: transactions, leases and watches."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

from hanas_client.calls import Call, Reply, TypedCall, failure_of
from hanas_client.errors import Unavailable
from hanas_client.watches import Watch
from hanas_client.watching import Cursor

T = TypeVar("T")

PROBLEM = {"content-type": "application/problem+json"}
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
}


def problem(status: int, **more: object) -> Reply:
    return Reply(status, PROBLEM, json.dumps({"title": "Refused", "detail": "as it was told", **more}).encode())


class FakeStore:
    """Carries out calls, and loses the answers of those for which `loses` says so: the client tries again."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.keys: dict[str, dict[str, Any]] = {}
        self.leases: dict[int, int] = {}
        self.log: list[tuple[int, list[dict[str, Any]]]] = []
        self.calls: list[Call] = []
        self.loses: Callable[[Call], bool] = lambda _: False
        self.down = False
        self.watched: list[Call] = []
        self.cut = 0
        """Streams that end before what would come next."""
        self._done: dict[str, tuple[bool, int]] = {}
        self._news = asyncio.Condition()

    async def perform(self, typed: TypedCall[T]) -> T:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("it is down", outcome_unknown=True, contacted=False, tries=1, elapsed=0.0)
        self.calls.append(typed.call)
        reply = await self._reply(typed.call)
        return typed.read(await self._reply(typed.call) if self.loses(typed.call) else reply)

    def watch(
        self,
        prefix: str = "",
        *,
        key: str | None = None,
        start: int | None = None,
        previous: bool = False,
        progress: bool = False,
    ) -> Watch:
        cursor = Cursor(prefix, key, None if start is None else start - 1, previous)
        return Watch(cursor, self.connect, progress=progress)

    async def connect(self, call: Call) -> httpx.Response:
        self.watched.append(call)
        query = {name: values[0] for name, values in parse_qs(urlsplit(call.target).query).items()}
        start = int(query.get("from", self.revision + 1))
        if start <= self.compacted:
            raise failure_of(problem(410, compacted=self.compacted), call.target)
        lines = self._lines(query.get("prefix", ""), query.get("key"), start)
        return httpx.Response(200, headers={"hanas-revision": str(self.revision)}, content=lines)

    async def expire(self, lease: int) -> None:
        del self.leases[lease]
        await self._commit([{"delete": {"key": key}} for key, row in self.keys.items() if row["lease"] == lease])

    async def put(self, key: str, value: str = "", lease: int = 0) -> None:
        await self._commit([{"put": {"key": key, "text": value, "lease": lease}}])

    async def delete(self, key: str) -> None:
        await self._commit([{"delete": {"key": key}}])

    async def _lines(self, prefix: str, key: str | None, start: int) -> AsyncIterator[bytes]:
        while True:
            if self.compacted >= start:
                yield b'{"compacted":%d}\n' % self.compacted
                return
            for revision, changes in [entry for entry in self.log if entry[0] >= start]:
                start = revision + 1
                told = [
                    change
                    for change in changes
                    for changed in [(change.get("put") or change["delete"])["key"]]
                    if (changed.startswith(prefix) if key is None else changed == key)
                ]
                if told:
                    line = json.dumps({"revision": revision, "changes": told}).encode() + b"\n"
                    yield line[:7]
                    if self.cut:
                        self.cut -= 1
                        return
                    yield line[7:]
            async with self._news:
                while max(self.revision, self.compacted) < start:
                    await self._news.wait()

    async def compact(self, revision: int) -> None:
        async with self._news:
            self.compacted = revision
            self.log = [entry for entry in self.log if entry[0] > revision]
            self._news.notify_all()

    async def _commit(self, changes: list[dict[str, Any]]) -> None:
        if not changes:
            return
        async with self._news:
            self.revision += 1
            told = []
            for change in changes:
                if "delete" in change:
                    self.keys.pop(change["delete"]["key"], None)
                    told.append(change)
                    continue
                row = change["put"]
                old = self.keys.get(row["key"], {"create": self.revision, "version": 0})
                new = {**row, "mod": self.revision, "create": old["create"], "version": old["version"] + 1}
                self.keys[row["key"]] = new
                told.append({"put": new})
            self.log.append((self.revision, told))
            self._news.notify_all()

    async def _reply(self, call: Call) -> Reply:
        path = call.target.removeprefix("/v1/")
        if path == "txn":
            return await self._transact(call)
        if path == "leases":
            asked = json.loads(call.body or b"")
            if asked["id"] in self.leases:
                return problem(409)
            self.leases[asked["id"]] = asked["ttl"]
            return Reply(201, {}, json.dumps(asked).encode())
        lease = int(path.split("/")[1])
        if lease not in self.leases:
            return problem(404)
        if call.method == "DELETE":
            await self.expire(lease)
            return Reply(204)
        return Reply(200, {}, json.dumps({"id": lease, "ttl": self.leases[lease]}).encode())

    async def _transact(self, call: Call) -> Reply:
        mark = call.headers["idempotency-key"]
        if mark in self._done:
            succeeded, revision = self._done[mark]
            answer = {"succeeded": succeeded, "results": [], "revision": revision, "repeated": True}
            return Reply(200, {}, json.dumps(answer).encode())
        asked = json.loads(call.body or b"")
        succeeded = all(self._holds(condition) for condition in asked.get("if", []))
        results: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        for step in asked.get("then" if succeeded else "else", []):
            ((kind, operation),) = step.items()
            if kind == "put":
                if operation.get("lease", 0) not in {0, *self.leases}:
                    return problem(404)
                text = base64.b64decode(operation["base64"]).decode()
                changes.append({"put": {"key": operation["key"], "text": text, "lease": operation.get("lease", 0)}})
                results.append({"put": {}})
            elif kind == "delete":
                changes += [{"delete": {"key": row["key"]}} for row in self._rows(operation)]
                results.append({"deleted": 1})
            else:
                rows = self._rows(operation)
                results.append({"keys": rows[: operation.get("limit", 100)], "more": len(rows) > 1000})
        await self._commit(changes)
        if changes:
            self._done[mark] = succeeded, self.revision
        answer = {"succeeded": succeeded, "results": results, "revision": self.revision, "repeated": False}
        return Reply(200, {}, json.dumps(answer).encode())

    def _rows(self, span: dict[str, Any]) -> list[dict[str, Any]]:
        if "key" in span:
            return [self.keys[span["key"]]] if span["key"] in self.keys else []
        return [row for key, row in sorted(self.keys.items()) if key.startswith(span["prefix"])]

    def _holds(self, condition: dict[str, Any]) -> bool:
        rows, relation = self._rows(condition), _RELATIONS[condition.get("is", "=")]
        if "number" in condition:
            there = [row[condition["target"]] for row in rows] or [0]
            return all(relation(value, condition["number"]) for value in there)
        value = base64.b64decode(condition["base64"]).decode()
        return bool(rows) and all(relation(row["text"], value) for row in rows)
