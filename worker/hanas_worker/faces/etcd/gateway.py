"""The same calls as JSON over HTTP, as etcd's gateway has them, and the pages beside them.

Bytes are base64, 64-bit numbers are strings, fields with their default are left out. A call with messages both ways
takes the messages of the body one after the other, and answers with a line for each of its own.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.types import ASGIApp, Receive, Scope, Send

from hanas_serving.answers import INERT, INERT_HEADERS, Answer, Disconnected, send_answer
from hanas_serving.gate import Caller, Gate, caller_of
from hanas_serving.grpc.calls import Method, Session, StreamMethod
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.problems import Problem
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.facts import CLUSTER_VERSION, VERSION, Facts
from hanas_worker.faces.etcd.messages import rpc_pb2

_log = logging.getLogger("hanas.worker")

_MOST_BODY_BYTES = 3 << 20
"""A request of 1.5 MiB, most of it in base64."""
_SIGNS = b"{[,:"
_MOST_SIGNS = 10_000
"""Of these in a request: so much structure is taken in without a break."""
_MOST_PENDING_BYTES = 64 << 10
"""A message of a stream that is not complete."""
_MOST_DOCUMENTS = 1000
"""In one part of a stream."""
_MOST_LINES = 64
"""Answers of a stream that wait to be sent, before it is congested."""
_STATUSES = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.UNAUTHENTICATED: 401,
}
"""Of HTTP; 500 for all others."""
_JSON = b"content-type: application/json\r\n" + INERT
_PREFIX = "/v3/"
_PATHS = {
    "/v3/kv/range": "KV/Range",
    "/v3/kv/put": "KV/Put",
    "/v3/kv/deleterange": "KV/DeleteRange",
    "/v3/kv/txn": "KV/Txn",
    "/v3/kv/compaction": "KV/Compact",
    "/v3/watch": "Watch/Watch",
    "/v3/lease/grant": "Lease/LeaseGrant",
    "/v3/lease/revoke": "Lease/LeaseRevoke",
    "/v3/kv/lease/revoke": "Lease/LeaseRevoke",
    "/v3/lease/keepalive": "Lease/LeaseKeepAlive",
    "/v3/lease/timetolive": "Lease/LeaseTimeToLive",
    "/v3/kv/lease/timetolive": "Lease/LeaseTimeToLive",
    "/v3/lease/leases": "Lease/LeaseLeases",
    "/v3/kv/lease/leases": "Lease/LeaseLeases",
    "/v3/cluster/member/list": "Cluster/MemberList",
    "/v3/maintenance/alarm": "Maintenance/Alarm",
    "/v3/maintenance/status": "Maintenance/Status",
    "/v3/maintenance/defragment": "Maintenance/Defragment",
    "/v3/maintenance/hashkv": "Maintenance/HashKV",
    "/v3/auth/status": "Auth/AuthStatus",
}
_UNKNOWN = RpcError(StatusCode.NOT_FOUND, "Not Found")
_METHOD = RpcError(StatusCode.UNIMPLEMENTED, "Method Not Allowed")


class _Route(msgspec.Struct, frozen=True):
    """A call that a path stands for."""

    method: Method | StreamMethod
    request: type[Message]
    response: type[Message]

    def encoded(self, document: object) -> bytes:
        """Return a request from JSON as gRPC has it. Raises RpcError."""
        try:
            if not isinstance(document, dict):
                raise TypeError("the request is no JSON object")
            message = json_format.ParseDict(document, self.request(), ignore_unknown_fields=True)
        except (json_format.ParseError, AttributeError, ValueError, TypeError, RecursionError) as error:
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"proto: {error}"[:300]) from None
        return message.SerializeToString()

    def decoded(self, message: bytes) -> dict[str, Any]:
        """Return an answer as JSON has it."""
        document: dict[str, Any] = json_format.MessageToDict(
            self.response.FromString(message), preserving_proto_field_name=True
        )
        return document


def _routes(methods: list[Method | StreamMethod]) -> Mapping[str, _Route]:
    by_path = {method.path.decode(): method for method in methods}
    routes = {}
    for path, name in _PATHS.items():
        service, _, method = name.partition("/")
        descriptor = rpc_pb2.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        kinds = [getattr(rpc_pb2, kind.name) for kind in (descriptor.input_type, descriptor.output_type)]
        routes[path] = _Route(by_path[f"/etcdserverpb.{name}"], *kinds)
    return routes


class Gateway:
    """An ASGI application."""

    def __init__(
        self, methods: list[Method | StreamMethod], facts: Facts, gate: Gate, metrics: ASGIApp | None = None
    ) -> None:
        """Answer by ``methods`` whoever may ask this host by ``gate``; ``metrics`` serves ``/metrics``."""
        self._gate = gate
        self._routes = _routes(methods)
        self._facts = facts
        self._metrics = metrics
        self._pages: dict[str, Callable[[], Answer]] = {
            "/version": _version,
            "/health": partial(self._health, "health"),
            "/livez": partial(self._ready, alive=True),
            "/readyz": partial(self._ready, alive=False),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert scope["type"] == "http", "nothing else comes over these connections"
        path, method = scope["path"], scope["method"]
        if path == "/metrics" and self._metrics is not None:
            await self._metrics(scope, receive, send)
            return
        page = self._pages.get(path)
        if page is not None:
            await send_answer(page() if method in {"GET", "HEAD"} else _wrong_method(), send, bodiless=method == "HEAD")
            return
        try:
            self._gate.require_host(dict(scope["headers"]))
            await self._call(scope, receive, send)
        except Problem as problem:
            await send_answer(problem.answer(), send, bodiless=method == "HEAD")
        except RpcError as error:
            await send_answer(_problem(error), send, bodiless=method == "HEAD")
        except Disconnected:
            return

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"])
        if route is None and not scope["path"].startswith(_PREFIX):
            await send_answer(_text(404, "404 page not found\n"), send)
            return
        if route is None:
            raise _UNKNOWN
        if scope["method"] != "POST":
            raise _METHOD
        if isinstance(route.method, StreamMethod):
            await _Lines(route, caller_of(scope)).run(scope, receive, send)
            return
        documents = _Documents(_MOST_BODY_BYTES)
        async for part in _parts(receive):
            documents.add(part)
        (document,) = documents.whole(ended=True, most=1) or [{}]
        call = _JsonCall(caller_of(scope))
        route.method.handle(call, route.method.decode(route.encoded(document)))  # type: ignore[arg-type]
        message = await _answered(call, scope, receive)
        await send_answer(_answer(200, route.decoded(message)), send)

    def _health(self, name: str) -> Answer:
        vitals = self._facts.store.vitals()
        reason = "ALARM NOSPACE" if vitals.full else "" if vitals.serving else "RAFT NO LEADER"
        return _answer(503 if reason else 200, {name: "false" if reason else "true", "reason": reason})

    def _ready(self, *, alive: bool) -> Answer:
        if alive or self._facts.store.vitals().serving:
            return _text(200, "ok\n")
        return _text(503, "[-]linearizable_read failed: there is no main just now\n")


def _version() -> Answer:
    return _answer(200, {"etcdserver": VERSION, "etcdcluster": CLUSTER_VERSION, "storage": CLUSTER_VERSION})


def _wrong_method() -> Answer:
    return _text(405, "Method Not Allowed\n")


def _text(status: int, text: str) -> Answer:
    lines = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(text)
    return Answer(status, lines + INERT, text.encode())


def _answer(status: int, document: Mapping[str, Any]) -> Answer:
    body = msgspec.json.encode(document)
    return Answer(status, _JSON + b"content-length: %d\r\n" % len(body), body)


def _document(error: RpcError) -> dict[str, Any]:
    return {"code": int(error.code), "message": error.text}


def _problem(error: RpcError) -> Answer:
    return _answer(_STATUSES.get(error.code, 500), _document(error))


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


class _Documents:
    """JSON documents in a stream of bytes, one behind the other."""

    def __init__(self, most: int) -> None:
        """Hold up to ``most`` bytes that are not complete."""
        self._most = most
        self._decoder = json.JSONDecoder()
        self._bytes = b""
        self._signs = 0

    def add(self, part: bytes) -> None:
        """Take a part. Raises RpcError if too much is not complete."""
        self._bytes += part
        self._signs += sum(map(part.count, _SIGNS))
        if len(self._bytes) > self._most or self._signs > _MOST_SIGNS:
            raise errors.TOO_LARGE

    def whole(self, *, ended: bool, most: int = _MOST_DOCUMENTS) -> list[Any]:
        """Return the documents that are complete, ``most`` of them. Raises RpcError if what is ``ended`` is rubbish."""
        documents: list[Any] = []
        text, at = self._bytes.decode(errors="surrogateescape"), 0
        try:
            while (at := _behind_blanks(text, at)) < len(text) and len(documents) < most:
                document, at = self._decoder.raw_decode(text, at)
                documents.append(document)
        except json.JSONDecodeError as error:
            if ended:
                reason = "unexpected EOF" if error.pos >= len(text.rstrip()) else str(error)
                raise RpcError(StatusCode.INVALID_ARGUMENT, reason) from None
        except (ValueError, RecursionError) as error:
            if ended:
                raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)[:300]) from None
        self._bytes = text[at:].encode(errors="surrogateescape")
        self._signs = sum(map(self._bytes.count, _SIGNS))
        return documents


def _behind_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


async def _answered(call: "_JsonCall", scope: Scope, receive: Receive) -> bytes:
    """Return the answer. Raises RpcError, and Disconnected if nobody waits for it any more."""
    if not call.answer.done():
        leaving = asyncio.ensure_future(_left(scope, receive))
        both: set[asyncio.Future[Any]] = {leaving, call.answer}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
    if not call.answer.done():
        call.done = True
        raise Disconnected
    return call.answer.result()


async def _left(scope: Scope, receive: Receive) -> None:
    """Return when the client has left. Over HTTP/1.1, one that has closed its side counts, as with etcd."""
    ended: asyncio.Event | None = scope.get("ended")
    waits = [_disconnected(receive)] if ended is None else [_disconnected(receive), _set(ended)]
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()


class _JsonCall:
    """A call with one answer."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.done = False
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def reply(self, message: bytes) -> None:
        """Answer."""
        if not self.done:
            self.done = True
            self.answer.set_result(message)

    def reply_in_parts(self, parts: list[bytes]) -> None:
        """Answer with a message in parts."""
        self.reply(b"".join(parts))

    def fail_with(self, error: RpcError) -> None:
        """Answer with an error."""
        if not self.done:
            self.done = True
            self.answer.set_exception(error)


class _Lines:
    """A call with messages both ways: the channel of its session."""

    share = 64 << 10

    def __init__(self, route: _Route, caller: Caller) -> None:
        self.caller = caller
        self.done = False
        self._route = route
        self._lines: list[bytes] = []
        self._news = asyncio.Event()
        self._finished: RpcError | None = None
        self._over = False
        self._starved = False

    @property
    def congested(self) -> bool:
        """Whether many answers wait to be sent."""
        self._starved = len(self._lines) >= _MOST_LINES
        return self._starved

    def send(self, message: bytes) -> None:
        """Send a line."""
        if not self.done:
            self._lines.append(message)
            self._news.set()

    def finish(self) -> None:
        """End without an error."""
        self.done = self._over = True
        self._news.set()

    def fail_with(self, error: RpcError) -> None:
        """End with an error."""
        if not self.done:
            self._finished = error
            self.finish()

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play the call to its end. Raises RpcError if nothing was answered before."""
        method = self._route.method
        assert isinstance(method, StreamMethod), "a call with one answer needs no channel"
        session = method.open(self)  # type: ignore[arg-type]
        taking = asyncio.ensure_future(self._take(session, method.decode, scope, receive))
        try:
            await self._answer(session, send)
        finally:
            self.done = True
            session.gone()
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take(self, session: Session, decode: Callable[[bytes], Any], scope: Scope, receive: Receive) -> None:
        """Hand the client's messages over, and tell when it leaves."""
        documents = _Documents(_MOST_PENDING_BYTES)

        def take(*, ended: bool) -> None:
            for document in documents.whole(ended=ended):
                session.received(decode(self._route.encoded(document)))

        try:
            async for part in _parts(receive):
                documents.add(part)
                take(ended=False)
            take(ended=True)
            session.ended()
            await _left(scope, receive)
        except RpcError as error:
            self.fail_with(error)
            return
        except Disconnected:
            pass
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self.fail_with(errors.FAILED)
            return
        self.finish()

    async def _answer(self, session: Session, send: Send) -> None:
        begun = False
        while True:
            await self._news.wait()
            self._news.clear()
            over, error, messages = self._over, self._finished, self._lines
            self._lines = []
            if error is not None and not begun and not messages:
                raise error
            if not begun:
                headers = [(b"content-type", b"application/json"), *INERT_HEADERS]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                begun = True
            lines = [msgspec.json.encode({"result": self._route.decoded(message)}) for message in messages]
            if error is not None:
                lines.append(msgspec.json.encode({"error": _document(error)}))
            body = b"".join(line + b"\n" for line in lines)
            await send({"type": "http.response.body", "body": body, "more_body": not over})
            if over:
                return
            if self._starved:
                self._starved = False
                session.drained()
