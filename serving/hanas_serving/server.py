"""Servers in our own event loop, on sockets that were bound first."""

import asyncio
import contextlib
import errno
import socket

from starlette.types import ASGIApp

from hanas_serving.admission import Admission
from hanas_serving.direct import Direct
from hanas_serving.http1 import Connection, Server
from hanas_serving.listener import Listener
from hanas_serving.settings import SettingError

_BACKLOG = 2048
_STOP_SECONDS = 2.0


def bind(port: int, what: str) -> socket.socket:
    """Return a socket bound to ``port`` on all addresses, IPv6 too. SettingError if it is taken or not allowed."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
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
        admission: Admission[Connection] | None = None,
    ) -> None:
        """Prepare to serve ``app``, and plain requests by ``direct``; nothing is accepted before `start`."""
        self._server = server = Server(app, direct, admission)
        self._listener = Listener(bound, lambda: Connection(server), server.admission.make_room)
        self._started = False

    async def start(self) -> None:
        """Begin to accept connections."""
        self._listener.start()
        self._started = True

    async def stop(self) -> None:
        """Finish what is being answered, for two seconds at most, and close."""
        if not self._started:
            return
        await self._listener.close()
        server = self._server
        for connection in list(server.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while server.connections:
                    server.unused.clear()
                    await server.unused.wait()
                while server.tasks:
                    await asyncio.wait(server.tasks)
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        for connection in list(server.connections):
            connection.abort()
