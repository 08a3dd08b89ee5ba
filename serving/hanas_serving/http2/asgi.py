"""Requests over HTTP/2 that an ASGI application answers."""

import asyncio
import logging
from collections.abc import Sequence

import httptools
from starlette.types import ASGIApp, Message

from hanas_serving.answers import LEAST_ERROR, Answer
from hanas_serving.asgi import scope_of
from hanas_serving.direct import FAILED
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import Code, Header
from hanas_serving.problems import Problem

_log = logging.getLogger("hanas.serving")

_MOST_WAITING = 64 << 10
"""A body of which more waits to be taken is not read on. Bytes."""
_OF_CYCLE = 16
"""An ordinary request is as much work as so many pieces (see `hanas_serving.http1`)."""
_BODILESS = frozenset({204, 304})
_DROPPED = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
"""Headers that HTTP/2 does not have."""
_MALFORMED = Problem(400, "path and query must be ASCII: percent-encode other characters as UTF-8").answer()
_STOPPING = Problem(503, "this process ends and answers nothing more: ask again", {"retry-after": "1"}).answer()
_TOO_SLOW = Problem(408, "the request did not come in time; nothing was done: send it again, without pauses").answer()


class Exchange:
    """A request and its response."""

    lasting = False

    def __init__(self, connection: Http2, stream: int, headers: Sequence[Header], app: ASGIApp) -> None:
        """Have ``app`` answer."""
        self._connection, self._stream = connection, stream
        self._body = bytearray()
        self._more_body = True
        self._begun = self._complete = self._gone = False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        fields = dict(headers)
        self._bodiless = fields.get(b":method") == b"HEAD"
        plain = [(name, value) for name, value in headers if not name.startswith(b":")]
        if b":authority" in fields and b"host" not in fields:
            plain.insert(0, (b"host", fields[b":authority"]))
        try:
            target = fields.get(b":path", b"/")
            self._scope = scope_of(connection.wire, fields.get(b":method", b"GET"), target, "2", plain)
        except (httptools.HttpParserError, UnicodeDecodeError):
            self._answer(_MALFORMED)
            return
        server = connection.server
        task = connection.loop.create_task(self._run(app))
        server.pace.left -= _OF_CYCLE
        server.tasks.add(task)
        task.add_done_callback(server.tasks.discard)

    @property
    def reading(self) -> bool:
        """Whether there is room for more of the body."""
        return self._complete or len(self._body) <= _MOST_WAITING

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
            if not (self._complete or self._gone):
                raise RuntimeError("the application returned without completing the response")
        except asyncio.CancelledError:
            self.fail()
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self.fail()

    async def _receive(self) -> Message:
        while not (self._body or self._gone or self._complete) and self._more_body:
            self._news.clear()
            await self._news.wait()
        if self._gone or self._complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        self._connection.hold(-len(body))
        self._connection.read_rest(self._stream)
        if not body and not self._more_body and self._taken:
            await self._until_gone()
            return {"type": "http.disconnect"}
        self._taken = not self._more_body
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    _taken = False
    """The end of the body was handed over."""

    async def _until_gone(self) -> None:
        while not (self._gone or self._complete):
            self._news.clear()
            await self._news.wait()

    async def _send(self, message: Message) -> None:
        connection, engine, stream = self._connection, self._connection.engine, self._stream
        while not self._gone and connection.congested(stream):
            self._room.clear()
            await self._room.wait()
        if self._gone:
            return
        if message["type"] == "http.response.start" and not self._begun:
            status = message["status"]
            if status >= LEAST_ERROR:
                connection.server.refusals.count(status, connection.address)
            self._bodiless = self._bodiless or status in _BODILESS
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            kept = [(name, value) for name, value in headers if name not in _DROPPED]
            engine.respond(stream, ((b":status", b"%d" % status), *kept))
            self._begun = True
        elif message["type"] == "http.response.body" and self._begun and not self._complete:
            end = not message.get("more_body", False)
            engine.send(stream, b"" if self._bodiless else message.get("body", b""), end=end)
            if end:
                self._end()
        else:
            raise RuntimeError(f"{message['type']} was sent out of turn")
        connection.answer_soon()

    def _end(self) -> None:
        self._complete = True
        self._news.set()
        if self._more_body:
            self._connection.finished(self._stream)
        self._drop()

    def _drop(self) -> None:
        self._connection.hold(-len(self._body))
        self._body = bytearray()

    def _answer(self, answer: Answer) -> None:
        """Answer, unless an answer has begun: then break it off."""
        if self._complete or self._gone:
            return
        engine, connection = self._connection.engine, self._connection
        if self._begun:
            engine.reset(self._stream, Code.INTERNAL_ERROR)
        else:
            connection.server.refusals.count(answer.status, connection.address)
            engine.respond(self._stream, ((b":status", b"%d" % answer.status), *answer.headers))
            engine.send(self._stream, b"" if self._bodiless else answer.body, end=True)
        self._begun = True
        self._end()
        connection.answer_soon()

    def received(self, data: bytes, *, ended: bool) -> None:
        """Take a part of the body."""
        if not self._complete:
            self._body += data
            self._connection.hold(len(data))
        if ended:
            self._more_body = False
        self._news.set()

    def drained(self) -> None:
        """Send on."""
        self._room.set()

    def gone(self) -> None:
        """Tell the application that nobody waits for its response."""
        self._gone = True
        self._drop()
        self._news.set()
        self._room.set()

    def fail(self) -> None:
        """Answer that this program made a mistake."""
        self._answer(FAILED)

    def dismiss(self) -> None:
        """Answer that this process ends."""
        self._answer(_STOPPING)

    def too_slow(self) -> None:
        """Answer that the request did not come in time."""
        self._answer(_TOO_SLOW)
