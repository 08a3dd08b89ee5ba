"""The engine in plain Python, on `h2`: where there is no ngh2, and for tests to compare with."""

import contextlib
import time
from collections import deque
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from hanas_serving.http2.engine import PREFACE, Above, Bounds, Broken, Code, Header

_LAST_STREAM = (1 << 31) - 1
_HEAD_BYTES = 9
"""Of a frame. Its first three are the size of what follows."""
_MOST_UNREAD = 1 << 20
"""Acknowledgements and the like that the client does not read, bytes."""


class _Body:
    """What waits to be sent on a stream."""

    __slots__ = "deferred", "end", "parts", "size", "trailers"

    def __init__(self) -> None:
        self.parts: deque[bytes] = deque()
        self.size = 0
        self.end = self.deferred = False
        self.trailers: list[Header] | None = None


class H2Engine:
    """One connection."""

    def __init__(self, above: Above, bounds: Bounds) -> None:
        """Begin with a client that has sent nothing."""
        self.closed = False
        self._above, self._bounds = above, bounds
        self._bodies: dict[int, _Body] = {}
        self._half: set[int] = set()
        """Streams of which one side has ended."""
        self._skip, self._head = len(PREFACE), b""
        """Bytes until the next frame; what came of its head."""
        self._unsent = b""
        self._resets, self._reset_at = float(bounds.resets[0]), time.monotonic()
        configuration = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._connection = connection = h2.connection.H2Connection(configuration)
        codes = h2.settings.SettingCodes
        connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: bounds.streams,
                codes.INITIAL_WINDOW_SIZE: bounds.stream_window,
                codes.MAX_HEADER_LIST_SIZE: bounds.headers,
            },
        )
        connection.decoder.max_header_list_size = bounds.headers
        connection.initiate_connection()
        connection.increment_flow_control_window(bounds.window - 65_535)

    def receive(self, data: bytes) -> None:
        """Take in bytes. Raises Broken."""
        self._check_sizes(data)
        try:
            events = self._connection.receive_data(data)
        except (h2.exceptions.H2Error, ValueError, IndexError, KeyError) as error:
            raise Broken(str(error)) from None
        for event in events:
            self._hand_up(event)
        self._unsent += self._connection.data_to_send()
        if len(self._unsent) > _MOST_UNREAD:
            raise Broken("the client reads nothing")

    def _check_sizes(self, data: bytes) -> None:
        """Look at the size of each frame: `h2` does so when the whole frame is there, which may be 16 MiB."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            part = data[at : at + _HEAD_BYTES - len(self._head)]
            self._head += part
            at += len(part)
            if len(self._head) == _HEAD_BYTES:
                self._skip, self._head = int.from_bytes(self._head[:3]), b""
                if self._skip > self._connection.max_inbound_frame_size:
                    raise Broken("a frame is too large")

    def _hand_up(self, event: h2.events.Event) -> None:
        above = self._above
        match event:
            case h2.events.RequestReceived():
                if len(event.headers) > self._bounds.fields:
                    raise Broken("too many headers")
                above.requested(event.stream_id, list(event.headers), ended=event.stream_ended is not None)
            case h2.events.DataReceived():
                if event.flow_controlled_length > len(event.data):  # padding, which nobody takes
                    self.taken(event.stream_id, event.flow_controlled_length - len(event.data))
                if not (event.data or event.stream_ended):
                    above.trifled()
                above.received(event.stream_id, event.data, ended=event.stream_ended is not None)
            case h2.events.TrailersReceived():
                above.received(event.stream_id, b"", ended=True)
            case h2.events.StreamEnded():
                self._side_ended(event.stream_id)
            case h2.events.StreamReset():
                self._count_reset()
                self._forget(event.stream_id)
            case h2.events.PingReceived():
                above.pinged()
            case h2.events.RemoteSettingsChanged() | h2.events.PriorityUpdated():
                above.trifled()
            case h2.events.ConnectionTerminated():
                self.closed = True
            case _:
                pass

    def _count_reset(self) -> None:
        most, rate = self._bounds.resets
        now = time.monotonic()
        self._resets = min(most, self._resets + (now - self._reset_at) * rate) - 1
        self._reset_at = now
        if self._resets < 0:
            raise Broken("too many streams were taken back")

    def _side_ended(self, stream: int) -> None:
        if stream in self._half:
            self._forget(stream)
        else:
            self._half.add(stream)

    def _forget(self, stream: int) -> None:
        self._bodies.pop(stream, None)
        self._half.discard(stream)
        self._above.closed(stream)

    def output(self, most: int) -> bytes:
        """Return what can be sent now."""
        bodies = sorted(self._bodies.items(), key=lambda item: item[1].deferred)
        for stream, body in bodies:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                most -= self._pump(stream, body, most)
        for stream, body in bodies:
            if body.end and not body.size:
                self._bodies.pop(stream, None)
                self._side_ended(stream)
        data, self._unsent = self._unsent + self._connection.data_to_send(), b""
        return data

    def _pump(self, stream: int, body: _Body, most: int) -> int:
        """Send some of a body; return how much."""
        connection, size = self._connection, body.size
        while body.parts:
            room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
            if room <= 0 or size - body.size >= most:
                return size - body.size
            part = body.parts.popleft()
            if len(part) > room:
                body.parts.appendleft(part[room:])
                part = part[:room]
            body.size -= len(part)
            connection.send_data(stream, part)
        if body.end and body.trailers is not None:
            connection.send_headers(stream, body.trailers, end_stream=True)
        elif body.end:
            connection.end_stream(stream)
        return size

    def respond(self, stream: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Send the head of a response."""
        try:
            self._connection.send_headers(stream, list(headers), end_stream=end)
        except h2.exceptions.ProtocolError:
            return
        if end:
            self._side_ended(stream)
        else:
            self._bodies[stream] = _Body()

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a part of a response's body."""
        body = self._bodies.get(stream)
        if body is not None and not body.end:
            if data:
                body.parts.append(data)
                body.size += len(data)
            body.end = end

    def trail(self, stream: int, headers: Iterable[Header]) -> None:
        """End a response with trailers."""
        body = self._bodies.get(stream)
        if body is not None and not body.end:
            body.trailers, body.end = list(headers), True

    def reset(self, stream: int, code: Code) -> None:
        """Break a stream off."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.reset_stream(stream, code)
        if stream in self._bodies or stream in self._half:
            self._forget(stream)

    def defer(self, stream: int) -> None:
        """Send this stream's body behind those of others."""
        if stream in self._bodies:
            self._bodies[stream].deferred = True

    def taken(self, stream: int, size: int) -> None:
        """Let the client send as much more."""
        with contextlib.suppress(h2.exceptions.ProtocolError, ValueError):
            self._connection.acknowledge_received_data(size, stream)

    def queued(self, stream: int | None = None) -> int:
        """Return what waits to be sent, bytes."""
        if stream is None:
            return sum(body.size for body in self._bodies.values())
        body = self._bodies.get(stream)
        return 0 if body is None else body.size

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.ping(b"hanas   ")

    def announce_end(self) -> None:
        """Tell the client to begin no further streams: by a frame of our own, since `h2` would end at once."""
        frame = hyperframe.frame.GoAwayFrame(stream_id=0, last_stream_id=_LAST_STREAM)
        self._unsent += self._connection.data_to_send() + frame.serialize()

    def close(self, code: Code, reason: bytes = b"") -> None:
        """Say goodbye."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._connection.close_connection(code, reason or None)
        self._bodies.clear()
        self.closed = True
