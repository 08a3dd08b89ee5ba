"""uvicorn inside our own event loop: sockets bound first, signals handled by us."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hanas_serving.connection import Config, Connection
from hanas_serving.direct import Direct
from hanas_serving.settings import SettingError

_BACKLOG = 2048


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


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the program around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class Endpoint:
    """One application on one bound socket."""

    def __init__(self, app: ASGIApp, bound: socket.socket, *, direct: Direct | None = None, **settings: Any) -> None:
        """Prepare to serve ``app``, and plain requests by ``direct``; nothing is accepted before `start`."""
        config = Config(
            app,
            http=Connection,
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
        if direct is not None:
            config.answer_directly(direct)
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
