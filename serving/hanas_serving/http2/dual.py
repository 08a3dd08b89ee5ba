"""A port that speaks HTTP/2 and HTTP/1.1: the first bytes of a connection tell which."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from starlette.types import ASGIApp

from hanas_serving.admission import Admission
from hanas_serving.answers import STATUS_LINES, Answer
from hanas_serving.budget import Budget
from hanas_serving.http1 import Connection, Server
from hanas_serving.http2.connection import Dispatch, Http2
from hanas_serving.http2.engine import PREFACE, Bounds
from hanas_serving.refusals import Refusals
from hanas_serving.server import HttpEndpoint
from hanas_serving.stream import Phase, Stream

_TELLING = len(b"PRI * ")
"""So many bytes tell HTTP/2 from all methods of HTTP/1."""


Entrance = Callable[[Callable[[], asyncio.Protocol]], asyncio.Protocol]
"""Returns what takes a new connection, of which the argument makes what answers it here."""


class DualEndpoint(HttpEndpoint):
    """HTTP/2 and HTTP/1.1 on one bound socket."""

    def __init__(
        self,
        dispatch: Dispatch,
        app: ASGIApp,
        bound: socket.socket,
        *,
        admission: Admission[Stream] | None = None,
        memory: Budget | None = None,
        refusals: Refusals | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Prepare to serve requests over HTTP/2 by ``dispatch`` and those over HTTP/1.1 by ``app``."""
        super().__init__(app, bound, admission=admission, memory=memory, refusals=refusals, tls=tls)
        self._dispatch, self._bounds = dispatch, bounds or Bounds()
        self.entrance: Entrance | None = None
        """Has new connections answered here, or elsewhere; None: here."""

    def _accept(self) -> asyncio.Protocol:
        return super()._accept() if self.entrance is None else self.entrance(super()._accept)

    def _connection(self) -> Stream:
        return Newcomer(self._server, self._dispatch, self._bounds)


class Newcomer(Stream):
    """A connection whose client has not shown which protocol it speaks."""

    def __init__(self, server: Server, dispatch: Dispatch, bounds: Bounds) -> None:
        """Prepare for a connection that is about to be made."""
        super().__init__(server.admission.limits, server.memory, server.turns)
        self._server, self._dispatch, self._bounds = server, dispatch, bounds
        self._begin = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        super().connection_made(transport)
        self._server.admission.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._leave_server()

    def _leave_server(self) -> None:
        self._server.admission.left(self)
        if not self._server.connections:
            self._server.unused.set()

    def data_received(self, data: bytes) -> None:
        """Hand the connection over to what speaks its protocol."""
        if self._ending:
            if self.swallow(len(data)):
                self._wire.close()
            return
        begin = self._begin = self._begin + data
        if len(begin) < _TELLING and PREFACE.startswith(begin):
            return
        self._timer.cancel()
        self._server.admission.left(self)
        successor: Stream
        if begin.startswith(PREFACE[:_TELLING]):
            successor = Http2(self._server, self._dispatch, self._bounds)
        else:
            successor = Connection(self._server)
        self._wire.set_protocol(successor)
        successor.connection_made(self._wire)
        successor.data_received(begin)

    def phase(self) -> Phase:
        """Return what the connection waits for."""
        return Phase.ENDING if self._ending else Phase.SILENT

    def refuse(self, answer: Answer) -> None:
        """Answer as HTTP/1.1 does, and end the connection: whoever speaks HTTP/2 shows this in its errors."""
        self._server.refusals.count(answer.status, "")
        self.write((STATUS_LINES[answer.status], answer.lines, b"connection: close\r\n\r\n", answer.body))
        self.end(more=True)

    def shutdown(self) -> None:
        """Close."""
        self.end(more=False)

    def dismiss(self) -> None:
        """Do nothing: nothing is under way."""
