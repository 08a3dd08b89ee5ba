"""``/v1/kv`` as a plain ASGI endpoint: what does not come the direct way (hanas_worker.faces.http.direct)."""

import msgspec
from starlette.types import Receive, Scope, Send

from hanas_serving.answers import Answer, send_answer
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests, rules
from hanas_worker.faces.http.rules import Absent, Rules
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.service import EpochEnded
from hanas_worker.log.values import Moved

COLLECTION = b"/v1/kv"
_METHODS = "DELETE, GET, HEAD, PUT"


class Listed(msgspec.Struct, frozen=True):
    """A key in a list."""

    key: str
    version: str
    size: int


class Page(msgspec.Struct, frozen=True):
    """Body of a list."""

    keys: list[Listed]
    next: str | None


def concerns_keys(raw_path: bytes) -> bool:
    """Tell whether a path, not decoded, is that of the list of keys or of a key."""
    return raw_path == COLLECTION or raw_path.startswith(requests.KEY_PATH)


class Disconnected(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class KeyValueEndpoint:
    """Answers every request below ``/v1/kv``."""

    def __init__(self, rules: Rules) -> None:
        """Answer by ``rules``."""
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(self._rules.admit(scope["headers"]), scope, receive)
        except Problem as problem:
            answer = self._rules.failed(problem)
        except Disconnected:
            return
        await send_answer(answer, send, bodiless=scope["method"] == "HEAD")

    async def _answer(self, node: LogDriver, scope: Scope, receive: Receive) -> Answer:
        path: bytes = scope["raw_path"]
        method: str = scope["method"]
        if path == COLLECTION:
            if method not in {"GET", "HEAD"}:
                raise Problem(405, "the list of keys takes GET only", {"allow": "GET, HEAD"})
            return await self._list(node, scope)
        key = requests.key_of(path)
        if method in {"GET", "HEAD"}:
            return await self._get(node, key, scope)
        if method in {"PUT", "DELETE"}:
            return await self._write(node, key, scope, receive)
        raise Problem(405, f"a key takes {_METHODS}", {"allow": _METHODS})

    # ------------------------------------------------------------------ reads

    async def _get(self, node: LogDriver, key: str, scope: Scope) -> Answer:
        wanted = requests.wanted_of(scope["headers"])
        query: bytes = scope["query_string"]
        stale = bool(query) and requests.wants_stale(requests.query_of(query))
        if scope["method"] == "HEAD":
            wanted = wanted._replace(part=None)
        while True:
            # Once more for each turn: what became of the key meanwhile may be told by the main only.
            epoch = await self._readable(node, scope, stale=stale)
            found = rules.look(node, key, wanted, epoch)
            if not isinstance(found, Absent):
                return found
            if scope["method"] == "HEAD":
                return found.answer
            try:
                return await rules.fetch(node, key, found)
            except Moved:
                continue

    async def _list(self, node: LogDriver, scope: Scope) -> Answer:
        wanted = requests.page_of(requests.query_of(scope["query_string"]))
        epoch = await self._readable(node, scope, stale=wanted.stale)
        page = node.state.replica.index.page(wanted.prefix, wanted.after, wanted.limit)
        keys = [Listed(key, str(entry.version), entry.size) for key, entry in page.entries]
        body = msgspec.json.encode(Page(keys, page.following))
        head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        return Answer(200, head + rules.epoch_line(epoch), body)

    @staticmethod
    async def _readable(node: LogDriver, scope: Scope, *, stale: bool) -> int:
        """Wait until the index may be read for this request; return the epoch it is read in."""
        service = node.serving
        if service is None:
            epoch = rules.stale_epoch(node) if stale else None
            if epoch is None:
                raise rules.elsewhere(node, _target(scope))
            return epoch
        if not stale:
            try:
                await service.fence()
            except EpochEnded:
                raise rules.elsewhere(node, _target(scope)) from None
        return service.epoch

    # ------------------------------------------------------------------ writes

    async def _write(self, node: LogDriver, key: str, scope: Scope, receive: Receive) -> Answer:
        service = node.serving
        if service is None:
            raise rules.elsewhere(node, _target(scope))
        put = scope["method"] == "PUT"
        write = requests.write_of(key, scope["headers"], b"" if put else None)
        if put:
            length = requests.length_of(scope["headers"])
            if length is not None and length > self._rules.value_bytes:
                raise self._rules.too_large(length)
            write = msgspec.structs.replace(write, value=await self._body(receive))
        return rules.written(node, service, _target(scope), await service.write(write))

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._rules.value_bytes:
                raise self._rules.too_large(size)
            if not message.get("more_body", False):
                return b"".join(parts)


def _target(scope: Scope) -> bytes:
    """Return the path and query that were asked for."""
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path
