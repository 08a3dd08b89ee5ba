"""Calls: one request and one answer, or messages both ways, from the first frame to the status."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from hanas_serving.gate import Caller
from hanas_serving.grpc.framing import Deframer, framed, head
from hanas_serving.grpc.status import RpcError, StatusCode, trailers
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import Header

_log = logging.getLogger("hanas.serving")

_HEAD: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_OK = trailers(StatusCode.OK)
_LARGE = 64 << 10
"""An answer of more than this leaves behind those that are smaller, bytes."""
_FAILED = RpcError(StatusCode.INTERNAL, "this should not have happened; the log says more")
_LATE = RpcError(StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
_SLOW = RpcError(StatusCode.DEADLINE_EXCEEDED, "the request did not come in time; nothing was done")

M = TypeVar("M")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all calls of a port."""

    most_bytes: int
    """Of a message that comes."""
    stopping: RpcError
    """How calls end that are not answered when the process ends."""
    crowded: RpcError
    """... and those of a client that does not take its answers."""


class Session(Protocol):
    """The server's side of a call with messages both ways."""

    def received(self, message: Any) -> None:
        """Take a message. Raises RpcError, which ends the call."""

    def ended(self) -> None:
        """Take note that the client sends nothing more."""

    def drained(self) -> None:
        """Send on, after `StreamCall.congested`."""

    def gone(self) -> None:
        """End: the call has."""


class Method(msgspec.Struct, frozen=True):
    """A method with one request and one answer."""

    path: bytes
    decode: Callable[[bytes], Any]
    handle: Callable[["UnaryCall", Any], None]
    """Called with the request; may raise RpcError."""


class StreamMethod(msgspec.Struct, frozen=True):
    """A method with messages both ways, or with several answers."""

    path: bytes
    decode: Callable[[bytes], Any]
    open: Callable[["StreamCall"], Session]


class _Call:
    """What all calls have in common."""

    lasting = False

    def __init__(
        self, connection: Http2, stream: int, terms: Terms, timeout: float | None, authorization: bytes | None
    ) -> None:
        """Begin on a stream of ``connection``. ``timeout``: when the client does not wait any more, seconds."""
        self.connection, self.stream = connection, stream
        self._authorization = authorization
        self.done = False
        """Nothing more will be sent."""
        self._terms = terms
        self._deframer = Deframer(terms.most_bytes)
        self._ended = self._begun = False
        """The client sends nothing more; something was sent."""
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = timeout

    @property
    def caller(self) -> Caller:
        """Who asks."""
        headers = {} if self._authorization is None else {b"authorization": self._authorization}
        return Caller(headers, self.connection.address, self.connection.peer)

    def fail_with(self, error: RpcError) -> None:
        """End the call."""
        if self.done:
            return
        engine, end = self.connection.engine, trailers(error.code, error.text)
        if self._begun:
            engine.trail(self.stream, end)
        else:
            engine.respond(self.stream, (*_HEAD, *end), end=True)
        self._complete()

    def _complete(self) -> None:
        self.done = True
        if not self._ended:
            self.connection.finished(self.stream)
        self._clean_up()
        self.connection.answer_soon()

    def _clean_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held = self._deframer.size
        if held:
            self.connection.hold(-held)
            self._deframer = Deframer(self._terms.most_bytes)

    def _arm(self) -> None:
        if self._timeout is not None and not self.done:
            self._timer = self.connection.loop.call_later(self._timeout, self.fail_with, _LATE)

    def _cut(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete. Raises RpcError."""
        held = self._deframer.size
        try:
            return self._deframer.feed(data)
        finally:
            if held != self._deframer.size:
                self.connection.hold(self._deframer.size - held)

    def fail(self) -> None:
        """End the call: this program made a mistake."""
        self.fail_with(_FAILED)

    def dismiss(self) -> None:
        """End the call: this process ends."""
        self.fail_with(self._terms.stopping)

    def too_slow(self) -> None:
        """End the call: the request does not come."""
        self.fail_with(_SLOW)


class UnaryCall(_Call):
    """A call with one request and one answer."""

    reading = True

    def __init__(
        self,
        connection: Http2,
        stream: int,
        terms: Terms,
        timeout: float | None,
        authorization: bytes | None,
        method: Method,
    ) -> None:
        """Begin a call of ``method``."""
        super().__init__(connection, stream, terms, timeout, authorization)
        self._method = method
        self._request: bytes | None = None

    def received(self, data: bytes, *, ended: bool) -> None:
        """Take a part of the request, and handle it when it is complete."""
        if self.done:
            self._ended = self._ended or ended
            return
        self._ended = ended
        try:
            if ended and self._request is None and (whole := self._deframer.whole(data)) is not None:
                self._handle(whole)
                return
            for message in self._cut(data):
                if self._request is not None:
                    raise RpcError(StatusCode.INTERNAL, "the call takes one request, and more came")
                self._request = message
            if ended:
                if self._request is None or self._deframer.size:
                    raise RpcError(StatusCode.INTERNAL, "the request is not complete")
                self._handle(self._request)
        except RpcError as error:
            self.fail_with(error)

    def _handle(self, request: bytes) -> None:
        self._method.handle(self, decoded(self._method.decode, request))
        self._arm()

    def reply(self, message: bytes) -> None:
        """Answer."""
        if self.done:
            return
        self._begun = True
        engine, stream = self.connection.engine, self.stream
        engine.respond(stream, _HEAD)
        if len(message) > _LARGE:
            engine.defer(stream)
        engine.send(stream, framed(message))
        engine.trail(stream, _OK)
        self._complete()

    def reply_in_parts(self, parts: list[bytes]) -> None:
        """Answer with a message in parts, of which none is copied."""
        if self.done:
            return
        self._begun = True
        engine, stream = self.connection.engine, self.stream
        engine.respond(stream, _HEAD)
        engine.defer(stream)
        engine.send(stream, head(sum(map(len, parts))))
        for part in parts:
            engine.send(stream, part)
        engine.trail(stream, _OK)
        self._complete()

    def drained(self) -> None:
        """Do nothing: the whole answer was sent."""

    def gone(self) -> None:
        """Forget the call."""
        self.done = True
        self._clean_up()


class StreamCall(_Call):
    """A call with messages both ways."""

    lasting = True

    def __init__(
        self,
        connection: Http2,
        stream: int,
        terms: Terms,
        timeout: float | None,
        authorization: bytes | None,
        method: StreamMethod,
    ) -> None:
        """Begin a call of ``method``."""
        super().__init__(connection, stream, terms, timeout, authorization)
        self._decode = method.decode
        self._session = method.open(self)
        self._arm()

    @property
    def congested(self) -> bool:
        """Whether much waits to be sent: send nothing more before `Session.drained`."""
        return self.connection.congested(self.stream)

    @property
    def share(self) -> int:
        """What should be sent at once, if this is not congested; bytes."""
        return self.connection.share

    @property
    def reading(self) -> bool:
        """Whether further messages of the client are taken."""
        return self.done or not self.congested

    def received(self, data: bytes, *, ended: bool) -> None:
        """Take a part of what the client sends."""
        if self.done:
            self._ended = self._ended or ended
            return
        self._ended = ended
        try:
            for message in self._cut(data):
                self._take(message)
            if ended:
                if self._deframer.size:
                    raise RpcError(StatusCode.INTERNAL, "the last message is not complete")
                self._session.ended()
        except RpcError as error:
            self.fail_with(error)

    def _take(self, message: bytes) -> None:
        if not self.done:
            self._session.received(decoded(self._decode, message))

    def send(self, message: bytes) -> None:
        """Send a message."""
        if self.done:
            return
        engine, stream = self.connection.engine, self.stream
        if not self._begun:
            self._begun = True
            engine.respond(stream, _HEAD)
            engine.defer(stream)
        engine.send(stream, framed(message))
        self.connection.answer_soon()

    def finish(self) -> None:
        """End the call without an error."""
        if self.done:
            return
        if not self._begun:
            self._begun = True
            self.connection.engine.respond(self.stream, _HEAD)
        self.connection.engine.trail(self.stream, _OK)
        self._complete()

    def drained(self) -> None:
        """Go on."""
        if not self.done:
            self.connection.read_rest(self.stream)
            self._session.drained()

    def gone(self) -> None:
        """Forget the call."""
        self.done = True
        self._clean_up()
        self._session.gone()


def decoded(decode: Callable[[bytes], M], message: bytes) -> M:
    """Return a message. Raises RpcError."""
    try:
        return decode(message)
    except Exception as error:
        text = f"grpc: failed to unmarshal the received message: {error}"
        raise RpcError(StatusCode.INTERNAL, text[:200]) from None
