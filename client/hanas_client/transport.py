"""The plan's requests, time-outs and failures in terms of httpx."""

from __future__ import annotations

import functools
import ssl
import time

import httpx

from hanas_client.calls import Reply
from hanas_client.plan import Failure, Send
from hanas_serving.settings import SettingError
from hanas_serving.tls_files import TlsFiles, calling

# The errors before any byte of the request can have reached the server.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL, httpx.UnsupportedProtocol)
# All errors of a request. httpx passes some of ssl and OSError unchanged.
FAILURES = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError)

HEADERS = {"accept-encoding": "identity", "user-agent": "hanas-client"}
MOST_ANSWER_BYTES = 256 << 20
"""Several times the largest value that a worker may be set to take."""
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=5.0)
# A connection that was idle for longer is not used again: a server closes one after 10 s at the earliest.


@functools.cache
def _trust_of_all() -> ssl.SSLContext:
    """Return what all clients of this process trust. Reading that takes longer than a few requests."""
    return httpx.create_ssl_context(trust_env=False)


def trust(files: TlsFiles | None = None) -> ssl.SSLContext:
    """Return what a client with these files trusts and shows. Raises ValueError if one cannot be used."""
    if files is None or files == TlsFiles():
        return _trust_of_all()
    try:
        return calling(files)
    except SettingError as error:
        raise ValueError(str(error)) from None


def request(step: Send) -> httpx.Request:
    """Return the request of one attempt; `read_seconds` limits the pause between two pieces of the answer."""
    timeout = httpx.Timeout(step.read_seconds, connect=step.connect_seconds).as_dict()
    headers = {**HEADERS, **step.headers}
    return httpx.Request(step.method, step.url, headers=headers, content=step.body, extensions={"timeout": timeout})


class Collector:
    """The body of an answer as it arrives: neither larger than `MOST_ANSWER_BYTES`, nor later than the call's limit."""

    def __init__(self, step: Send, response: httpx.Response) -> None:
        self._ends_at = time.monotonic() + step.whole_seconds
        self._response = response
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next piece. Raises httpx.HTTPError."""
        self._size += len(chunk)
        if self._size > MOST_ANSWER_BYTES:
            raise httpx.ReadError(f"the answer has more than {MOST_ANSWER_BYTES} bytes")
        if time.monotonic() > self._ends_at:
            raise httpx.ReadTimeout("the answer took too long")
        self._chunks.append(chunk)

    def reply(self) -> Reply:
        """Return the whole reply."""
        return Reply(self._response.status_code, dict(self._response.headers), b"".join(self._chunks))


def receive(step: Send, response: httpx.Response) -> Reply:
    """Return the reply. Raises httpx.HTTPError."""
    collector = Collector(step, response)
    for chunk in response.iter_raw():
        collector.add(chunk)
    return collector.reply()


async def receive_later(step: Send, response: httpx.Response) -> Reply:
    """Return the reply. Raises httpx.HTTPError."""
    collector = Collector(step, response)
    async for chunk in response.aiter_raw():
        collector.add(chunk)
    return collector.reply()


def failure(error: Exception) -> Failure:
    """Return the failure of an attempt."""
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
