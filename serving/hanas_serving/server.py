"""uvicorn inside our own event loop: sockets bound first, signals handled by us, errors as problem documents."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hanas_serving.problems import CONTENT_TYPE, document
from hanas_serving.settings import SettingError
from hanas_serving.upgrades import without_offer

_BACKLOG = 2048
_MOST_HEAD_BYTES = 65536
"""A request line with headers that is longer, and did not come in one piece, is refused."""


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Requests that are cut off when the program stops are no errors, and need no traceback in the log."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


_uvicorn_log = logging.getLogger("uvicorn.error")
_uvicorn_log.setLevel(logging.WARNING)
_uvicorn_log.addFilter(_is_no_cancellation)


def bind(port: int, what: str) -> socket.socket:
    """Return a socket bound to ``port`` on all addresses, IPv6 too. SettingError if it is taken or not allowed."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
        reason = (
            "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        )
        raise SettingError(f"port {port} ({what}) {reason}; choose another one") from None


_CONTENT = (b"HTTP/1.1 200", b"HTTP/1.1 206")
"""How the head of a response with a value begins."""
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


class Gathered:
    """A transport that writes the head of a response together with the content.

    uvicorn writes one after the other; each would be a call of the kernel and a packet. The head of a stream, whose
    first chunk may take its time, is written at once.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``."""
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold a head back until the content comes, or `flush`."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_CONTENT) and not data.endswith(_CHUNKED):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write what is held back."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write what is held back, and close."""
        self.flush()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; a request that breaks off or cannot be parsed is answered with a problem document."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        self._gathered = Gathered(transport)
        self._in_head = self._head_began = False
        self._head_bytes = 0
        super().connection_made(self._gathered)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take in what came. An offer to change the protocol is declined; a head that does not end is refused."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                head = without_offer(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                data = head + data[offer.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                break
        if self._in_head and not self._head_began:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._refuse(431, f"request line and headers may have at most {_MOST_HEAD_BYTES} bytes")
        self._head_began = False

    def on_message_begin(self) -> None:
        """Begin with a head; where in the received bytes is not known, so those are not counted."""
        self._in_head = self._head_began = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Answer the request, unless its head is going to be parsed once more."""
        self._in_head = False
        if not self.parser.should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")

    def on_message_complete(self) -> None:
        """End the request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; the answer to a HEAD has no body that would come behind its head."""
        self._gathered.flush()
        super().on_response_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own signature
        """The client closed its side: answer what came in full, and say so if a body did not. True: stay open."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body and not cycle.response_started:
            self._refuse(400, "the body is shorter than announced; nothing was done; send the whole body")
            return False
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        self._refuse(400, f"{msg.rstrip('.')}: send HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        body = document(status, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the program around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class Endpoint:
    """One application on one bound socket."""

    def __init__(self, app: ASGIApp, bound: socket.socket, **settings: Any) -> None:
        """Prepare to serve ``app``; nothing is accepted before `start`."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
            **settings,
        )
        self._server = Server(config)
        self._socket = bound
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept connections."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Finish what is being answered, for two seconds at most, and close."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
