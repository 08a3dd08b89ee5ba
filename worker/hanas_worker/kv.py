"""``/v1/kv``: a plain ASGI endpoint, so that a PUT or a GET passes through as few layers as possible.

What it answers at a worker that is not the main: 307 to the main with the same path and query, or 503 with
``Retry-After`` while there is none. Each answer carries ``HANas-Epoch``.
"""

import msgspec
from starlette.types import Receive, Scope, Send

from hanas_core.entries import Entry
from hanas_core.errors import FolderError
from hanas_core.member import Role
from hanas_core.writes import ANY, Outcome, Result, Write
from hanas_serving import access
from hanas_serving.problems import CONTENT_TYPE, Problem
from hanas_worker import requests
from hanas_worker.node import Node
from hanas_worker.service import EpochEnded, Service
from hanas_worker.values import Moved

COLLECTION = b"/v1/kv"
_DEFAULT_TYPE = "application/octet-stream"
_METHODS = "DELETE, GET, HEAD, PUT"

Headers = list[tuple[bytes, bytes]]


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

    def __init__(self, node: Node | None, client_tokens: tuple[str, ...], value_bytes: int) -> None:
        """Answer for ``node``, which is set once this worker has joined."""
        self.node = node
        self._tokens = client_tokens
        self._value_bytes = value_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if self._tokens and not access.allowed(dict(scope["headers"]).get(b"authorization"), self._tokens):
                raise Problem(
                    401, "a bearer token is needed: Authorization: Bearer ...", {"www-authenticate": "Bearer"}
                )
            if self.node is None:
                raise Problem(503, "this worker has not joined yet; try again", {"retry-after": "1"})
            await self._answer(self.node, scope, receive, send)
        except Problem as problem:
            await self._send_problem(problem, scope, send)
        except Disconnected:
            pass

    async def _answer(self, node: Node, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        method: str = scope["method"]
        if path == COLLECTION:
            if method not in {"GET", "HEAD"}:
                raise Problem(405, "the list of keys takes GET only", {"allow": "GET, HEAD"})
            await self._list(node, scope, send)
            return
        key = requests.key_of(path)
        if method in {"GET", "HEAD"}:
            await self._get(node, key, scope, send)
        elif method == "PUT":
            await self._put(node, key, scope, receive, send)
        elif method == "DELETE":
            await self._delete(node, key, scope, send)
        else:
            raise Problem(405, f"a key takes {_METHODS}", {"allow": _METHODS})

    # ------------------------------------------------------------------ reads

    async def _get(self, node: Node, key: str, scope: Scope, send: Send) -> None:
        wanted = if_range = if_match = if_none_match = None
        for name, value in scope["headers"]:
            if name == b"range":
                wanted = value
            elif name == b"if-range":
                if_range = value
            elif name == b"if-none-match":
                if_none_match = requests.versions_of(value, "If-None-Match")
            elif name == b"if-match":
                if_match = requests.versions_of(value, "If-Match")
        query: bytes = scope["query_string"]
        stale = bool(query) and requests.wants_stale(requests.query_of(query))
        while True:
            # Once more for each turn: what became of the key meanwhile may be told by the main only.
            epoch = await self._readable(node, scope, stale=stale)
            entry = node.state.replica.index.get(key)
            if entry is None:
                raise Problem(404, "there is no such key", {"hanas-epoch": epoch})
            headers = _entry_headers(entry, epoch)
            if if_match is not None and not Write(key, None, if_match=if_match).holds(entry.version):
                raise Problem(
                    412, f"the version is {entry.version}", {"etag": f'"{entry.version}"', "hanas-epoch": epoch}
                )
            if if_none_match is not None and (ANY in if_none_match or str(entry.version) in if_none_match):
                await _send(send, 304, headers[1:], b"")
                return
            part, status = None, 200
            if wanted is not None and scope["method"] == "GET" and if_range in {None, headers[1][1]}:
                part = requests.range_of(wanted, entry.size)
            if part is not None:
                headers.append((b"content-range", b"bytes %d-%d/%d" % (part[0], part[1] - 1, entry.size)))
                status = 206
            begin, end = part or (0, entry.size)
            headers.append((b"content-length", b"%d" % (end - begin)))
            try:
                body = await self._value(node, key, entry, (begin, end)) if scope["method"] == "GET" else b""
            except Moved:
                continue
            await _send(send, status, headers, body)
            return

    @staticmethod
    async def _value(node: Node, key: str, entry: Entry, part: tuple[int, int]) -> bytes:
        """Return a part of a value, from memory if it is there."""
        value = node.state.replica.index.cached(key)
        if value is not None:
            return value if len(value) == part[1] - part[0] else value[part[0] : part[1]]
        try:
            return await node.values.read(key, entry, part)
        except FolderError as error:
            raise Problem(503, f"the value cannot be read just now: {error}", {"retry-after": "1"}) from None

    async def _list(self, node: Node, scope: Scope, send: Send) -> None:
        wanted = requests.page_of(requests.query_of(scope["query_string"]))
        epoch = await self._readable(node, scope, stale=wanted.stale)
        page = node.state.replica.index.page(wanted.prefix, wanted.after, wanted.limit)
        keys = [Listed(key, str(entry.version), entry.size) for key, entry in page.entries]
        body = msgspec.json.encode(Page(keys, page.following))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"hanas-epoch", epoch.encode()),
        ]
        await _send(send, 200, headers, body if scope["method"] == "GET" else b"")

    async def _readable(self, node: Node, scope: Scope, *, stale: bool) -> str:
        """Wait until the index may be read for this request; return the epoch it is read in."""
        service = node.serving
        if service is None:
            if stale and node.state.followed_epoch and node.state.member.role is Role.BACKUP:
                return str(node.state.followed_epoch)
            raise _elsewhere(node, scope)
        if not stale:
            try:
                await service.fence()
            except EpochEnded:
                raise _elsewhere(node, scope) from None
        return str(service.epoch)

    # ------------------------------------------------------------------ writes

    async def _put(self, node: Node, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        service = node.serving
        if service is None:
            raise _elsewhere(node, scope)
        conditions = _Conditions(scope)
        if conditions.length is not None and conditions.length > self._value_bytes:
            raise self._too_large(conditions.length)
        value = await self._body(receive)
        outcome = await service.write(
            Write(
                key,
                value,
                conditions.content_type,
                conditions.if_match,
                conditions.if_none_match,
                conditions.idempotency_key,
            )
        )
        await self._send_outcome(node, service, outcome, scope, send)

    async def _delete(self, node: Node, key: str, scope: Scope, send: Send) -> None:
        service = node.serving
        if service is None:
            raise _elsewhere(node, scope)
        conditions = _Conditions(scope)
        outcome = await service.write(
            Write(key, None, "", conditions.if_match, conditions.if_none_match, conditions.idempotency_key)
        )
        await self._send_outcome(node, service, outcome, scope, send)

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return self._checked(message["body"])
        parts, size = [], 0
        while True:
            if message["type"] != "http.request":
                raise Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._value_bytes:
                raise self._too_large(size)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self._value_bytes:
            raise self._too_large(len(body))
        return body

    def _too_large(self, size: int) -> Problem:
        # The connection stays open and swallows the rest: closed under a client that still sends, it would be reset,
        # and this answer lost.
        return Problem(
            413,
            f"the value has {size} bytes or more; at most {self._value_bytes} are allowed (HANAS_VALUE_BYTES)",
        )

    async def _send_outcome(self, node: Node, service: Service, outcome: Outcome, scope: Scope, send: Send) -> None:
        etag = f'"{outcome.version}"'
        epoch = str(service.epoch)
        match outcome.result:
            case Result.CREATED | Result.REPLACED:
                status = 201 if outcome.result is Result.CREATED else 204
                headers = [(b"etag", etag.encode()), service.epoch_header]
                if status == 201:
                    headers.append((b"content-length", b"0"))
                await _send(send, status, headers, b"")
            case Result.DELETED | Result.COMMITTED:
                await _send(send, 204, [service.epoch_header], b"")
            case Result.NOT_FOUND:
                raise Problem(404, "there is no such key", {"hanas-epoch": epoch})
            case Result.CONDITION_FAILED:
                if outcome.version is None:
                    raise Problem(412, "the key is not there; nothing was changed", {"hanas-epoch": epoch})
                raise Problem(
                    412,
                    f"the key has version {outcome.version}; nothing was changed; read it again and decide anew",
                    {"etag": etag, "hanas-epoch": epoch},
                )
            case Result.KEY_REUSED:
                raise Problem(
                    422,
                    "this Idempotency-Key came with another request before: use a new one for each write",
                    {"hanas-epoch": epoch},
                )
            case Result.NO_SPACE:
                raise Problem(
                    507,
                    "the volume is full and nothing was written: make room on it or enlarge it; reads go on",
                    {"hanas-epoch": epoch},
                )
            case Result.BUSY:
                raise Problem(
                    503,
                    "too many writes are waiting for the volume; nothing was done: try again",
                    {"retry-after": "1", "hanas-epoch": epoch},
                )
            case Result.UNKNOWN:
                raise Problem(
                    503,
                    "the main changed while this write was in flight: it may or may not have been done. "
                    "Repeat it with the same Idempotency-Key, or read the key",
                    {"retry-after": "1", "hanas-epoch": epoch, "hanas-outcome": "unknown"},
                )
            case Result.NOT_MAIN:
                raise _elsewhere(node, scope)

    async def _send_problem(self, problem: Problem, scope: Scope, send: Send) -> None:
        body = problem.body
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            *((name.encode(), value.encode("latin-1")) for name, value in problem.headers.items()),
        ]
        if "hanas-epoch" not in problem.headers and self.node is not None:
            headers.append((b"hanas-epoch", b"%d" % self.node.state.member.epoch))
        await _send(send, problem.status, headers, b"" if scope["method"] == "HEAD" else body)


class _Conditions:
    """The headers of a write."""

    def __init__(self, scope: Scope) -> None:
        self.length: int | None = None
        self.content_type = _DEFAULT_TYPE
        self.if_match: tuple[str, ...] | None = None
        self.if_none_match: tuple[str, ...] | None = None
        self.idempotency_key: str | None = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"content-type":
                self.content_type = requests.short_text(value, "Content-Type") or _DEFAULT_TYPE
            elif name == b"if-match":
                self.if_match = requests.versions_of(value, "If-Match")
            elif name == b"if-none-match":
                self.if_none_match = requests.versions_of(value, "If-None-Match")
            elif name == b"idempotency-key":
                self.idempotency_key = requests.short_text(value, "Idempotency-Key")


def _entry_headers(entry: Entry, epoch: str) -> Headers:
    return [
        (b"content-type", entry.content_type.encode("latin-1")),
        (b"etag", b'"%d-%d"' % entry[:2]),
        (b"hanas-epoch", epoch.encode()),
        (b"accept-ranges", b"bytes"),
    ]


def _elsewhere(node: Node, scope: Scope) -> Problem:
    """Return where the client should go instead."""
    main = node.main_url
    if main is None:
        return Problem(
            503, "there is no main just now; a takeover takes less than a second: try again", {"retry-after": "1"}
        )
    query: bytes = scope["query_string"]
    target = scope["raw_path"].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    return Problem(307, "the main is elsewhere", {"location": main + target})


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
