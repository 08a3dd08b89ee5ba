"""Which method a request over HTTP/2 calls; what is no call goes to the application of HTTP."""

import re
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp

from hanas_serving.grpc.calls import Method, StreamCall, StreamMethod, Terms, UnaryCall
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.http2.asgi import Exchange
from hanas_serving.http2.connection import Http2, Responder
from hanas_serving.http2.engine import Header

_CONTENT_TYPE = re.compile(rb"application/grpc($|[+;])")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])", re.ASCII)
_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_SECONDS = 86_400.0
"""A client that waits for longer waits for ever."""
_MOST_UNSENT = 64 << 20
"""With more than this waiting to be sent to one client, its calls are refused; bytes."""


class Grpc:
    """The methods of one port."""

    def __init__(self, methods: Iterable[Method | StreamMethod], terms: Terms, app: ASGIApp) -> None:
        """Serve ``methods``, and by ``app`` what is no call."""
        self._methods = {method.path: method for method in methods}
        self._services = {path.rpartition(b"/")[0] for path in self._methods}
        self._terms, self._app = terms, app

    def __call__(self, connection: Http2, stream: int, headers: Sequence[Header]) -> Responder:
        """Return what answers a request."""
        fields = dict(headers)
        if not _CONTENT_TYPE.match(fields.get(b"content-type", b"")):
            return Exchange(connection, stream, headers, self._app)
        method = self._methods.get(fields.get(b":path", b""))
        authorization, timeout = fields.get(b"authorization"), fields.get(b"grpc-timeout")
        try:
            if method is None or fields.get(b":method") != b"POST":
                raise self._unknown(fields.get(b":path", b""))
            encoding = fields.get(b"grpc-encoding", b"identity")
            if encoding != b"identity":
                name = encoding.decode("latin-1")[:40]
                text = f'grpc: Decompressor is not installed for grpc-encoding "{name}"'
                raise RpcError(StatusCode.UNIMPLEMENTED, text)
            if connection.engine.queued() > _MOST_UNSENT:
                raise self._terms.crowded
            seconds = None if timeout is None else _seconds(timeout)
            if isinstance(method, Method):
                return UnaryCall(connection, stream, self._terms, seconds, authorization, method)
            return StreamCall(connection, stream, self._terms, seconds, authorization, method)
        except RpcError as error:
            call = UnaryCall(connection, stream, self._terms, None, authorization, _NONE)
            call.fail_with(error)
            return call

    def _unknown(self, path: bytes) -> RpcError:
        name = path.decode("latin-1")[:200]
        if not name.startswith("/") or "/" not in name[1:]:
            return RpcError(StatusCode.UNIMPLEMENTED, f'malformed method name: "{name}"')
        service, _, method = name[1:].rpartition("/")
        if path.rpartition(b"/")[0] in self._services:
            return RpcError(StatusCode.UNIMPLEMENTED, f"unknown method {method} for service {service}")
        return RpcError(StatusCode.UNIMPLEMENTED, f"unknown service {service}")


def _ignore(_call: UnaryCall, _request: object) -> None:
    """Do nothing with the request of a call that has failed."""


_NONE = Method(b"", bytes, _ignore)


def _seconds(timeout: bytes) -> float | None:
    match = _TIMEOUT.fullmatch(timeout)
    if match is None:
        raise RpcError(StatusCode.INTERNAL, "malformed grpc-timeout: send digits and one of H, M, S, m, u, n")
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    return seconds if seconds < _MOST_SECONDS else None
