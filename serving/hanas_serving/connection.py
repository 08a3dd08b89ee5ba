"""A client's connection: HTTP as uvicorn speaks it, and the direct way for plain requests.

What is plain is decided when the head of a request is there, and everything else goes through ASGI unchanged.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hanas_serving.answers import Answer
from hanas_serving.direct import Direct, Exchange, Heads
from hanas_serving.gathered import Gathered
from hanas_serving.problems import CONTENT_TYPE, document
from hanas_serving.upgrades import without_offer

_MOST_HEAD_BYTES = 65536
"""A request line with headers that is longer, and did not come in one piece, is refused."""
_MOST_PLAIN_BODY = 64 << 10
"""A larger body is read piece by piece, by the ordinary way. Bytes."""
_MOST_DIGITS = 5
"""Of the length of a plain body."""
_MOST_COPIED = 64 << 10
"""A larger content is not copied behind its head. Bytes."""


class Config(uvicorn.Config):
    """uvicorn's settings, and who answers plain requests."""

    direct: Direct | None = None
    heads: Heads | None = None

    def answer_directly(self, direct: Direct) -> None:
        """Have plain requests answered by ``direct``."""
        self.direct, self.heads = direct, Heads(direct)


class Connection(HttpToolsProtocol):
    """One connection; a request that breaks off or cannot be parsed is answered with a problem document."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Prepare for a connection that is about to be made."""
        super().__init__(config, server_state, app_state, _loop)
        self._direct, self._heads = (config.direct, config.heads) if isinstance(config, Config) else (None, None)
        self._between = True
        """The parser has seen nothing yet of the next request."""
        self._quiet_since: float | None = None
        """When the last answer was written; None while a request is under way."""
        self._in_head = self._head_began = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        self._wire = transport
        self._gathered = Gathered(transport)
        super().connection_made(self._gathered)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """End; an answer that is still to come has nobody to go to."""
        super().connection_lost(exc)
        self._cancel_timer()

    # ------------------------------------------------------------------ plain requests

    def data_received(self, data: bytes) -> None:
        """Take a whole plain request with well-known headers by itself; whatever else comes is for the parser."""
        heads = self._heads
        line = heads.begins(data) if heads is not None and self._between else None
        if heads is None or line is None:
            self._parse(data)
            return
        begin = line.end()
        end = data.find(b"\r\n\r\n", begin) + 4
        known = heads.known.get(data[begin:end])
        cycle: RequestResponseCycle | Exchange | None = self.cycle
        if known is None:
            self._parse(data)
            now: RequestResponseCycle | Exchange | None = self.cycle
            if (
                isinstance(now, Exchange)
                and now is not cycle
                and len(now.body) == len(data) - end
                and not now.more_body
            ):
                heads.remember(data[begin:end], now.headers, len(now.body))
            return
        headers, length = known
        if (
            len(data) - end != length
            or (cycle is not None and not cycle.response_complete)
            or self._direct is None
            or self.flow.write_paused
            or self._wire.is_closing()
        ):
            self._parse(data)
            return
        self._quiet_since = None
        method, path = line.groups()
        exchange = Exchange(self, method, path, headers, data[end:], more_body=False)
        self.cycle = exchange  # type: ignore[assignment]
        self._direct(exchange)

    # ------------------------------------------------------------------ the parser

    def _parse(self, data: bytes) -> None:
        """Have the parser take in what came. An offer to change the protocol is declined, an endless head refused."""
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
        """Begin with a request; the scope is made when it turns out that one is needed.

        Where its head begins in the received bytes is not known, so those are not counted.
        """
        self._in_head = self._head_began = True
        self._head_bytes = 0
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Take the direct way with a plain request, else begin its ASGI cycle; not if it is parsed once more."""
        self._in_head = False
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return
        if self._heads is not None and self._is_plain(self._heads):
            self.cycle = Exchange(self, self.parser.get_method(), self.url, self.headers)  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _is_plain(self, heads: Heads) -> bool:
        """Tell whether a handler can answer this request, which comes next and needs nothing special of HTTP.

        A client that does not read its answers is left to the ordinary way, which waits for it.
        """
        cycle: RequestResponseCycle | None = self.cycle
        parser = self.parser
        if (
            heads.is_path(self.url) is None
            or parser.get_method() not in heads.methods
            or self.expect_100_continue
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
            or self.flow.write_paused
            or (cycle is not None and not cycle.response_complete)
        ):
            return False
        for name, value in self.headers:
            if name == b"content-length":
                if len(value) > _MOST_DIGITS or int(value) > _MOST_PLAIN_BODY:
                    return False
            elif name in {b"transfer-encoding", b"expect"}:
                return False
        return True

    def on_body(self, body: bytes) -> None:
        """Collect a part of a body."""
        cycle: RequestResponseCycle | Exchange = self.cycle
        if isinstance(cycle, Exchange) and cycle.more_body:
            cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Hand a plain request over."""
        if self.parser.should_upgrade():
            return
        self._between = True
        cycle: RequestResponseCycle | Exchange = self.cycle
        if isinstance(cycle, Exchange) and cycle.more_body and self._direct is not None:
            cycle.more_body = False
            self._direct(cycle)
        else:
            super().on_message_complete()

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Write the answer to a plain request, and go on with what came behind it, if anything did."""
        exchange.response_complete = True
        wire = self._wire
        if wire.is_closing():
            return
        parts = (
            STATUS_LINE[answer.status],
            answer.lines,
            b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n",
            answer.body,
        )
        if len(answer.body) > _MOST_COPIED:
            wire.writelines(parts)
        else:
            wire.write(b"".join(parts))
        if not exchange.keep_alive:
            wire.close()
        if self.pipeline or not exchange.keep_alive:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._set_timer(self.timeout_keep_alive)

    # ------------------------------------------------------------------ the end of idle connections

    # One timer runs on while requests come and go, and looks at the clock when it rings: cheaper than a new one for
    # each request.

    def _unset_keepalive_if_required(self) -> None:
        """Something came: the connection is not idle."""
        self._quiet_since = None

    def _set_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _cancel_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for long enough; look again later if it was not."""
        self.timeout_keep_alive_task = None
        if self._quiet_since is None:
            return  # the answer to what is under way begins anew
        rest = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._set_timer(rest)
        else:
            super().timeout_keep_alive_handler()

    # ------------------------------------------------------------------ the ordinary way

    def on_response_complete(self) -> None:
        """Go on with the next request; the answer to a HEAD has no body that would come behind its head."""
        self._gathered.flush()
        self._cancel_timer()
        super().on_response_complete()
        self._quiet_since = self.loop.time()

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
