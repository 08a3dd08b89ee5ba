"""The engine on libnghttp2, which does a hundred times a second what `h2` does once."""

import contextlib
from collections.abc import Iterable

import ngh2
from ngh2.events import (
    ConnectionClosed,
    DataReceived,
    PingReceived,
    PriorityUpdateReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)

from hanas_serving.http2.engine import Above, Bounds, Broken, Code, Header

_TRIFLES = frozenset({PriorityUpdateReceived, SettingsReceived})
_DEFERRED = ngh2.Priority(urgency=4, incremental=True)
"""One step behind what is not deferred."""
_MOST_ACKNOWLEDGEMENTS = 1000
"""That wait to be sent: what a client that reads nothing can make this side hold by pings and settings."""


class Ngh2Engine:
    """One connection."""

    def __init__(self, above: Above, bounds: Bounds) -> None:
        """Begin with a client that has sent nothing."""
        configuration = ngh2.Configuration(
            auto_window_update=False,
            max_outbound_ack=_MOST_ACKNOWLEDGEMENTS,
            stream_reset_rate_limit=bounds.resets,
            max_continuations=bounds.continuations,
            max_inbound_header_list_size=bounds.headers,
            max_inbound_header_count=bounds.fields,
        )
        self.closed = False
        self._above = above
        self._connection = connection = ngh2.Connection(ngh2.Role.SERVER, configuration)
        connection.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: bounds.streams,
                ngh2.Setting.INITIAL_WINDOW_SIZE: bounds.stream_window,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: bounds.headers,
                ngh2.Setting.NO_RFC7540_PRIORITIES: 1,
            }
        )
        connection.set_local_window_size(bounds.window)

    def receive(self, data: bytes) -> None:
        """Take in bytes. Raises Broken."""
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            self.closed = True
            raise Broken(str(error)) from None
        self._hand_up()

    def _hand_up(self) -> None:
        above = self._above
        for event in self._connection.events():
            kind = type(event)
            if kind is RequestReceived:
                above.requested(event.stream_id, event.headers, ended=event.end_stream)  # type: ignore[attr-defined]
            elif kind is DataReceived:
                data, ended = event.data, event.end_stream  # type: ignore[attr-defined]
                if not (data or ended):
                    above.trifled()
                above.received(event.stream_id, data, ended=ended)  # type: ignore[attr-defined]
            elif kind is StreamClosed:
                above.closed(event.stream_id)  # type: ignore[attr-defined]
            elif kind is TrailersReceived:
                above.received(event.stream_id, b"", ended=True)  # type: ignore[attr-defined]
            elif kind is PingReceived:
                above.pinged()
            elif kind in _TRIFLES:
                above.trifled()
            elif kind is ConnectionClosed:
                self.closed = True

    def output(self, most: int) -> bytes:
        """Return what can be sent now. Without a bound, bodies are copied once less."""
        if self.closed:
            return b""
        connection = self._connection
        try:
            data = connection.data_to_send(most if connection.queued_body_size() > most else None)
        except ngh2.NGH2Error:
            self.closed = True
            return b""
        self._hand_up()
        return data

    def respond(self, stream: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Send the head of a response."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.send_response(stream, headers, end_stream=end)

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a part of a response's body."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.send_data(stream, data, end_stream=end)

    def trail(self, stream: int, headers: Iterable[Header]) -> None:
        """End a response with trailers."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.send_trailers(stream, headers)

    def reset(self, stream: int, code: Code) -> None:
        """Break a stream off."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.reset_stream(stream, code)

    def defer(self, stream: int) -> None:
        """Send this stream's body behind those of others."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.set_stream_priority(stream, _DEFERRED, ignore_client_signal=True)

    def taken(self, stream: int, size: int) -> None:
        """Let the client send as much more."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.acknowledge_received_data(size, stream)

    def queued(self, stream: int | None = None) -> int:
        """Return what waits to be sent, bytes."""
        return self._connection.queued_body_size(stream)

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.ping()

    def announce_end(self) -> None:
        """Tell the client to begin no further streams."""
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.send_shutdown_notice()

    def close(self, code: Code, reason: bytes = b"") -> None:
        """Say goodbye."""
        with contextlib.suppress(ngh2.NGH2Error):
            if reason:
                self._connection.send_goaway(code, debug_data=reason)
            self._connection.terminate_connection(code)
