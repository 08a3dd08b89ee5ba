"""From plan to wire and back, for httpx: requests, time-outs, and which failures leave a write in doubt."""

from __future__ import annotations

import functools
import ssl

import httpx

from hanas_client.calls import Reply
from hanas_client.plan import Failure, Send

# What is raised before a byte of the request can have reached the server.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
)
# Everything a request may end with other than a response. ssl and OSError: some come through unwrapped.
FAILURES = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError)

HEADERS = {"accept-encoding": "identity", "user-agent": "hanas-client"}
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=256)


@functools.cache
def trust() -> ssl.SSLContext:
    """The certificates that all clients of this process trust: to read them takes longer than a few requests."""
    return httpx.create_ssl_context(trust_env=False)


def timeouts(step: Send) -> httpx.Timeout:
    """The time-outs of one try; a pause of `read_seconds` between two pieces ends it."""
    return httpx.Timeout(step.read_seconds, connect=step.connect_seconds)


def reply(response: httpx.Response) -> Reply:
    """A response whose body has been read."""
    return Reply(response.status_code, dict(response.headers), response.content)


def failure(error: Exception) -> Failure:
    """What a failed try means."""
    return Failure(
        _words(error), sent=not isinstance(error, _NOT_SENT), unconnected=isinstance(error, httpx.ConnectTimeout)
    )


def _words(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection within the time-out"
    if isinstance(error, httpx.TimeoutException):
        return "no answer within the time-out"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the connection broke off"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower() if cause.errno and cause.errno > 0 else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
