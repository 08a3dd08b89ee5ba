"""A client's connection: HTTP/1.1, with the direct way for plain requests and ASGI for all others.

The parser sees what was received in pieces, so the next request is parsed when the answer to the one before it was
written: answers and refusals come in order. After some pieces the event loop has its turn.
"""

import asyncio
from functools import partial
from typing import Any

import httptools
from starlette.types import ASGIApp

from hanas_serving.admission import Admission
from hanas_serving.answers import LEAST_ERROR, STATUS_LINES, Answer, Headers
from hanas_serving.asgi import Cycle, scope_of
from hanas_serving.budget import Budget, Hold
from hanas_serving.direct import FAILED, MOST_TARGET, Direct, Exchange, Heads
from hanas_serving.gate import MAPPED
from hanas_serving.identity import HEADER as FOLDER
from hanas_serving.limits import Limits
from hanas_serving.pace import LOW, Pace
from hanas_serving.peer import Peer
from hanas_serving.pieces import Pieces
from hanas_serving.problems import Problem
from hanas_serving.refusals import Refusals
from hanas_serving.stream import MOST_COPIED, Phase, Stream
from hanas_serving.turns import Turns
from hanas_serving.upgrades import without_offer

_MOST_HEADERS = 256
_READS = frozenset({"GET", "HEAD"})
_AT_ONCE = frozenset({"DELETE"})
"""Methods that do not wait for the end of a body."""
_MOST_PIECES = 16
"""That one connection may have parsed before others have their turn."""
_MOST_WAITING = 64 << 10
"""A body of which more waits to be taken is not read on. Bytes."""
_MOST_READ = 64 << 10
"""After more than this was read at once, others have their turn. Bytes."""
_UNCOUNTED = 4 << 10
"""What a connection holds of requests that are not complete, without asking for memory. Bytes."""
_OF_HEADER = 192
"""What a header takes in memory beside its text. Bytes."""
_OF_PIECE = 256
"""So much of a head is as much work as a piece of another kind. Bytes."""
_OF_CYCLE = 16
"""An ordinary request is as much work as so many pieces, at least."""
_NO_ROOM = Problem(
    503,
    "too much of what clients send is incomplete (HANAS_MEMORY); nothing was done: send it in one piece, or try again",
    {"retry-after": "1"},
)


def malformed(error: httptools.HttpParserError) -> Problem:
    """Return the answer to what the parser does not take for a request."""
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return Problem(400, "path and query must be ASCII: percent-encode other characters as UTF-8, such as %C3%9F")
    return Problem(400, "this is no HTTP request: send HTTP/1.1")


def stopping(request: Exchange | Cycle) -> Problem:
    """Return the answer to a request that a process that ends does not answer any more."""
    retry = {"retry-after": "1"}
    if isinstance(request, Exchange):
        method, begun = request.method.decode(), not request.more_body
    else:
        method = request.scope["method"]
        begun = not request.more_body or method in _AT_ONCE
    if method in _READS:
        return Problem(503, "this process ends and answers nothing more: ask again", retry)
    if not begun:
        return Problem(503, "this process ends; the request did not arrive in full, nothing was done: repeat it", retry)
    return Problem(
        503,
        "this process ends; whether a write was done is not known: repeat it with the same Idempotency-Key, or read",
        {**retry, "hanas-outcome": "unknown"},
    )


class Server:
    """What the connections of one endpoint have in common."""

    def __init__(
        self,
        app: ASGIApp,
        direct: Direct | None = None,
        admission: "Admission[Connection] | Admission[Stream] | None" = None,
        *,
        memory: Budget | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Answer by ``app``, and plain requests by ``direct``.

        ``admission``: who may connect; ``memory``: what the connections may hold together; None: their own. Errors that
        are answered are counted in ``refusals``.
        """
        self.refusals = refusals or Refusals()
        self.app = app
        self.heads = None if direct is None else Heads(direct)
        self.admission: Admission[Any] = admission or Admission[Connection](Limits())
        self.connections: set[Any] = self.admission.connections
        self.memory, self.turns, self.pace = memory or Budget(), Turns(), Pace()
        self.tasks: set[asyncio.Task[None]] = set()
        self.unused = asyncio.Event()
        """Set when the last connection is lost."""


class Connection(Stream):
    """One connection; what cannot be parsed or breaks off is answered with a problem document."""

    def __init__(self, server: Server) -> None:
        """Prepare for a connection that is about to be made."""
        super().__init__(server.admission.limits, server.memory, server.turns)
        self._server = server
        self._pace = server.pace
        self._received = Hold(server.memory, self._let_go_later)
        """The memory for what was received and is not in work."""
        self._heads = server.heads
        self._status_lines = STATUS_LINES if server.heads is None else server.heads.status_lines
        self._parser = httptools.HttpRequestParser(self)
        self.address = ""
        """The client's."""
        self._url = b""
        self._headers: Headers = []
        """Of the head that is received."""
        self._head_bytes = 0
        """What the head that the parser read last takes in memory."""
        self._cycle: Exchange | Cycle | None = None
        """The request that is received or answered; None between two, and during the next one's head."""
        self._idle = True
        """Nothing is under way: a plain request may be taken without the parser."""
        self._used = False
        """A request was answered."""
        self._pieces = Pieces()
        self._candidate: tuple[bytes, int] | None = None
        """Header lines, and the length of what followed, if that was the body of a whole plain request."""
        self._parsing = False
        """The parser is at work, or will be at the event loop's next turn."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._successor: asyncio.Protocol | None = None
        """What has the connection now, behind the answer to a request: nothing that comes is HTTP any more."""

    # ------------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0].removeprefix(MAPPED) if peer else ""
        self._server.admission.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._writable.set()
        if self._successor is not None:
            self._successor.connection_lost(exc)
        del self._parser  # which knows this connection
        self._server.admission.left(self)
        if not self._server.connections:
            self._server.unused.set()

    def data_received(self, data: bytes) -> None:
        """Take a whole plain request with remembered headers at once, and all else by the parser."""
        heads, pace = self._heads, self._pace
        if self._idle and heads is not None and pace.left > 0 and (line := heads.begins(data)) is not None:
            begin = line.end()
            end = data.find(b"\r\n\r\n", begin) + 4
            lines = data[begin:end]
            head = heads.entries.get(lines)
            if head is None:
                self._candidate = lines, len(data) - end
            elif len(data) - end == head[1]:
                self._idle = False
                pace.left = left = pace.left - 1
                if left == LOW:
                    pace.arrange()
                method, path = line.groups()
                self._cycle = exchange = Exchange(self, method, path, head[0], data[end:], more_body=False)
                heads.direct(exchange)
                return
        if len(data) > _MOST_READ:
            self.take_turns()
        if self._successor is not None:
            self._successor.data_received(data)
            return
        if self._ending:
            if self.swallow(len(data)):
                self._wire.close()
            return
        pieces = self._pieces
        if self._cycle is None and not (pieces.head or pieces.waiting):
            self.since = self.loop.time()
        self._idle = False
        self._arrived += len(data)
        pieces.add(data)
        if pace.left > 0 and not self._parsing:
            self._parse()
        else:
            self._parse_later()
            self.regulate()
        self._candidate = None

    def eof_received(self) -> bool:
        """The client closed its side: answer what came in full, and say so if a body did not. True: stay open."""
        self._half_closed, self._idle = True, False
        if self._ending or self._successor is not None:
            return False
        if isinstance(self._cycle, Cycle):
            self._cycle.ended.set()
        if not self._parsing:
            self._parse()
        return not self._ending

    def pause_writing(self) -> None:
        """Parse no further request: the client does not read its answers."""
        self._idle = False
        self._writable.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Continue: the client has read."""
        super().resume_writing()
        self._writable.set()
        self._parse_later()

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written, or is gone."""
        if self._write_paused:
            await self._writable.wait()

    def hand_over(self, cycle: Cycle, head: bytes, successor: asyncio.Protocol) -> None:
        """Answer with ``head``, and let ``successor`` have the connection: what follows is no HTTP.

        Only if the client waited for that: what it sent behind its request is not looked at.
        """
        if self._cycle is not cycle or cycle.response_started or self._wire.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        self._cycle, self._successor = None, successor
        successor.connection_made(self._wire)
        if cycle.more_body or self._pieces.waiting:
            self._wire.abort()
        else:
            self.write((head,))

    def shutdown(self) -> None:
        """Close when what is under way is answered."""
        if self._cycle is not None:
            self._cycle.keep_alive = False
        elif not self._ending:
            self.end(more=False)

    @property
    def peer(self) -> Peer | None:
        """Whose certificate the client has shown; None where nobody is asked for one."""
        peer: Peer | None = self._wire.get_extra_info("peer")
        return peer

    def dismiss(self) -> None:
        """Answer what is not answered yet that this process ends."""
        cycle = self._cycle
        if cycle is not None and not cycle.response_started:
            self.refuse(stopping(cycle).answer())

    # ------------------------------------------------------------------ what was received

    def _parse(self) -> None:
        """Have the parser take in some pieces, and come back for more when others had their turn."""
        self._parsing, pace = True, self._pace
        try:
            for _ in range(_MOST_PIECES):
                if pace.left <= 0 or not self._may_parse():
                    break
                piece = self._pieces.next()
                pace.left -= 1 + (len(piece) // _OF_PIECE if self._pieces.head else 0)
                self._feed(piece)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse((cause if isinstance(cause, Problem) else malformed(error)).answer())
        except Problem as problem:
            self.refuse(problem.answer())
        self._parsing = False
        if pace.left <= LOW:
            pace.arrange()
        if self._may_parse():
            self._parse_later()
        elif self._half_closed and not self._ending and not self._pieces.waiting:
            if self._cycle is None:
                self.end(more=False)
            elif self._cycle.more_body:
                detail = "the body is shorter than announced; nothing was done; send the whole body"
                self.refuse(Problem(400, detail).answer())
        self.regulate()

    def _parse_later(self) -> None:
        if not self._parsing and self._may_parse():
            self._parsing = True
            self._pace.wait(self._parse)

    def _may_parse(self) -> bool:
        """Return whether there is something to parse, and it is not a request that has to wait for its turn."""
        if self._ending or not self._pieces.waiting:
            return False
        return not self._write_paused if self._cycle is None else self._cycle.more_body

    def _feed(self, piece: bytes) -> None:
        """Have the parser see ``piece``, and an offer to change the protocol once more without that offer."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            head = without_offer(self._parser.get_method(), self._url, self._parser.get_http_version(), self._headers)
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    def regulate(self) -> None:
        """Read from the client, unless what it sent before has to wait."""
        if self._ending:
            return
        cycle, pieces = self._cycle, self._pieces
        pieces.drop_seen()
        body = 0 if cycle is None or _in_work(cycle) else len(cycle.body)
        self.read_on(wanted=not (pieces.waiting or body > _MOST_WAITING))
        head = pieces.head + _OF_HEADER * len(self._headers) if cycle is None else self._head_bytes
        held = len(pieces.received) + head + body
        if held > _UNCOUNTED or self._received.size:
            self._received.slow = self._reading
            self._received.resize(held)

    def _let_go_later(self) -> None:
        self.loop.call_soon(self._let_go)

    def _let_go(self) -> None:
        """Drop what was received and is not in work: others need the memory."""
        cycle = self._cycle
        if not self._received.loses:
            return  # it was taken meanwhile
        if cycle is None or not _in_work(cycle):
            self.refuse(_NO_ROOM.answer())
        else:
            cycle.keep_alive = False  # the request in work gets its answer, those behind it are never read
            self._pieces.clear()
            self._received.release()

    # ------------------------------------------------------------------ the parser's calls

    def on_message_begin(self) -> None:
        """Begin with a request."""
        if self._cycle is not None:
            raise Problem(400, "a request has no clear end: send HTTP/1.1")
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """Collect a part of the request's target."""
        self._url += url
        if len(self._url) > MOST_TARGET:
            raise Problem(414, f"path and query may have at most {MOST_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header. Trailers of a chunked body come too late to count for anything."""
        if not self._pieces.chunked:
            if len(self._headers) == _MOST_HEADERS:
                raise Problem(431, f"a request may have at most {_MOST_HEADERS} headers")
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the direct way with a plain request, else begin its ASGI cycle; not if it is parsed once more."""
        parser = self._parser
        method = parser.get_method()
        if parser.should_upgrade():
            if method == b"CONNECT":
                raise Problem(400, "this is no proxy: send HTTP/1.1")
            return
        length, encodings, expects, meant = 0, [], b"", None
        for name, value in self._headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                encodings.append(value.lower().rstrip())
            elif name == b"expect":
                expects = value.lower().rstrip()
            elif name == FOLDER:
                meant = value if meant in {None, value} else b""
        if encodings and encodings != [b"chunked"]:
            raise Problem(501, "of all transfer encodings, only chunked is known here")
        heads, chunked, headers = self._heads, bool(encodings), self._headers
        self._head_bytes = self._pieces.head + _OF_HEADER * len(headers)
        self._headers = []
        self._pieces.head_ended(length, chunked=chunked)
        if length or chunked:
            self.look_anew()
        here = meant is None or (heads is not None and meant == heads.folder)
        if (
            here
            and heads is not None
            and heads.is_plain(parser, self._url, headers, length, chunked=chunked, expects=bool(expects))
        ):
            self._cycle = Exchange(self, method, self._url, headers)
            return
        self._pace.left -= _OF_CYCLE
        version, keep_alive = parser.get_http_version(), parser.should_keep_alive()
        scope = scope_of(self._wire, method, self._url, version, headers)
        cycle = Cycle(self, scope, keep_alive=keep_alive and version != "1.0", expects=expects == b"100-continue")
        scope["hand_over"] = partial(self.hand_over, cycle)
        self._cycle = cycle
        task = self.loop.create_task(cycle.run(self._server.app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def on_chunk_header(self) -> None:
        """Begin with a chunk."""
        self._pieces.chunk_began()

    def on_body(self, body: bytes) -> None:
        """Collect a part of a body; after the answer, drop it, up to a limit, until the client reads the answer."""
        cycle = self._cycle
        if isinstance(cycle, Exchange):
            cycle.body += body
        elif cycle is not None:
            cycle.received(body)
            if cycle.response_complete and self.swallow(len(body)):
                self.end(more=True)

    def on_message_complete(self) -> None:
        """Hand a plain request over."""
        cycle = self._cycle
        if cycle is None:
            return  # it is parsed once more, or the connection ends
        self._pieces.message_ended()
        if isinstance(cycle, Cycle):
            cycle.received(b"", more_body=False)
            if cycle.response_complete:
                self._next()
            return
        heads, candidate, cycle.more_body = self._heads, self._candidate, False
        assert heads is not None, "an exchange is made where there is a direct way only"
        if candidate is not None and candidate[1] == len(cycle.body):
            heads.remember(candidate[0], cycle.headers, len(cycle.body))
        heads.direct(cycle)

    # ------------------------------------------------------------------ answers

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Write the answer to a plain request, and go on with what came behind it, if anything did."""
        wire, body = self._wire, answer.body
        if self._cycle is not exchange or wire.is_closing():
            return
        end = b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        if answer.status >= LEAST_ERROR:
            self.refused(answer.status)
        parts = (self._status_lines[answer.status], answer.lines, end, body)
        if len(body) > MOST_COPIED:
            self.write_large(parts)
        else:
            wire.write(b"".join(parts))
        if exchange.keep_alive:
            self._next()
        else:
            self.end(more=self._pieces.waiting or not self._reading)

    def completed(self, cycle: Cycle) -> None:
        """Go on with the next request, if the body of this one is there; else it is swallowed first."""
        if not cycle.keep_alive:
            self.end(more=cycle.more_body or self._pieces.waiting or not self._reading)
        elif cycle.more_body:
            self._swallowed = 0
            self._parse_later()
            self.regulate()
        else:
            self._next()

    def _next(self) -> None:
        """Go on with the next request: at the event loop's next turn, if it is there."""
        self._cycle = None
        self._used, self.since = True, self.loop.time()
        pieces = self._pieces
        if pieces.received:
            if pieces.waiting:
                self._parse_later()
                return
            pieces.clear()
        if self._received.size:
            self._received.release()
        if self._half_closed:
            self.end(more=False)
            return
        self._idle = not self._write_paused
        if not self._reading:
            self.regulate()

    def fail(self, cycle: Cycle) -> None:
        """Answer that this program made a mistake, unless the response is complete, and close the connection."""
        if cycle is self._cycle and not cycle.response_complete:
            self.refuse(FAILED)

    def refused(self, status: int) -> None:
        """Note that an error is answered."""
        self._server.refusals.count(status, self.address)

    def refuse(self, answer: Answer) -> None:
        """Answer what is under way, unless that has begun already, and end the connection."""
        if self._cycle is None or not self._cycle.response_started:
            self.refused(answer.status)
            self.write((STATUS_LINES[answer.status], answer.lines, b"connection: close\r\n\r\n", answer.body))
        self.end(more=True)

    def give_up(self) -> None:
        """Answer nothing more."""
        super().give_up()
        cycle, self._cycle, self._idle = self._cycle, None, False
        if cycle is not None:
            cycle.disconnect()
        self._url, self._headers = b"", []  # the connection may wait long for its client to read the answer
        self._pieces.clear()
        self._received.release()

    def phase(self) -> Phase:
        """Return what the connection waits for while nothing waits to be sent."""
        cycle = self._cycle
        if self._ending:
            return Phase.ENDING
        if self._parsing or self._successor is not None:
            return Phase.ANSWER
        if cycle is None:
            if self._pieces.head:
                return Phase.HEAD
            return Phase.IDLE if self._used else Phase.SILENT
        return Phase.BODY if cycle.more_body and self._reading else Phase.ANSWER


def _in_work(cycle: Exchange | Cycle) -> bool:
    """Return whether the whole request was handed over."""
    return not (cycle.more_body or (isinstance(cycle, Cycle) and cycle.body))
