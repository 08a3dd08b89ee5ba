"""Servers in our own event loop, on sockets that were bound first."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from starlette.types import ASGIApp

from hanas_serving.admission import Admission
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.direct import Direct
from hanas_serving.http1 import Connection, Server
from hanas_serving.identity import Identified
from hanas_serving.listener import Listener
from hanas_serving.refusals import Refusals
from hanas_serving.secured import Port, Secured
from hanas_serving.settings import LISTEN, SettingError
from hanas_serving.stream import Stream

_BACKLOG = 2048
_STOP_SECONDS = 2.0
_FAREWELL_SECONDS = 1.0
"""For clients to read that their requests are not answered any more."""


def bind(port: int, what: str, address: str = "") -> socket.socket:
    """Return a socket on ``port`` of an address, or of all, IPv6 too. SettingError if it is taken or not allowed."""
    dual = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingError(f"{LISTEN}={address}: this machine has no such address") from None
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another program" if taken else f"cannot be used: {error.strerror}"
        raise SettingError(f"port {port} ({what}) {reason}; choose another one") from None


class HttpEndpoint:
    """One application on one bound socket, over HTTP/1.1."""

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        *,
        direct: Direct | None = None,
        admission: Admission[Connection] | Admission[Stream] | None = None,
        memory: Budget | None = None,
        refusals: Refusals | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Prepare to serve ``app``, and plain requests by ``direct``; nothing is accepted before `start`.

        ``admission``: who may connect; ``memory``: for what clients send and do not take; None: their own. Errors that
        are answered are counted in ``refusals``. ``tls``: returns the context for a new connection; None: without TLS.
        """
        self._server = server = Server(app, direct, admission, memory=memory, refusals=refusals)

        self._port = None if tls is None else Port(tls)
        self._listener = Listener(bound, self._accept, server.admission.make_room)
        self._started = False

    def _accept(self) -> asyncio.Protocol:
        """Return what takes a new connection."""
        return self._connection() if self._port is None else Secured(self._connection(), self._port)

    def _connection(self) -> Stream:
        """Return what speaks with a new client."""
        return Connection(self._server)

    def belong_to(self, folder_id: str, callers: Callers) -> None:
        """Serve the folder with this id, and name it to those of ``callers`` who may know it."""
        self._server.app = Identified(self._server.app, folder_id, callers)
        if self._server.heads is not None:
            self._server.heads.belong_to(folder_id)

    async def start(self) -> None:
        """Begin to accept connections."""
        self._listener.start()
        self._started = True

    def abort(self) -> None:
        """Close all connections at once: their clients have to come again."""
        for connection in list(self._server.connections):
            connection.abort()

    async def stop(self) -> None:
        """Finish what is being answered, for two seconds at most; tell the others that nobody does, and close."""
        if not self._started:
            return
        await self._listener.close()
        server = self._server
        for connection in list(server.connections):
            connection.shutdown()
        if not await self._completed(_STOP_SECONDS):
            for connection in list(server.connections):
                connection.dismiss()
            await self._completed(_FAREWELL_SECONDS)
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        for connection in list(server.connections):
            connection.abort()

    async def _completed(self, seconds: float) -> bool:
        """Return whether all connections ended, and all answers with them, within this time."""
        server = self._server
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while server.connections:
                    server.unused.clear()
                    await server.unused.wait()
                while server.tasks:
                    await asyncio.wait(server.tasks)
                return True
        return False
