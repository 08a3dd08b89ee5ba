"""TLS on a connection that was accepted: between the socket's transport and the protocol above, which sees plain bytes.

The event loop's own TLS hides from the protocol what waits to be sent behind it, seals a large answer in one piece, and
shows a connection only after its handshake. Here the limits against clients hold as without TLS: a connection counts
from the start, `get_write_buffer_size` is all that the client has not taken, and both handshakes and large answers
take turns with everything else on the event loop.
"""

import asyncio
import contextlib
import logging
import math
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from hanas_serving import peer
from hanas_serving.problems import Problem
from hanas_serving.stream import Stream
from hanas_serving.turns import Turns

_HANDSHAKE = 0x16
"""The first byte that a client of TLS sends."""
_MOST_SEALED = 128 << 10
"""So much of what is to be sent is encrypted at once, bytes."""
_MOST_OF_TURN = 8
"""... and so often in one turn of the event loop."""
_RECORD = 16 << 10
"""The content of a record, at most; bytes."""
_HEADER = 5
"""... and what is in front of it. It ends with the size of what follows."""
_MOST_RECORDS = 64
"""So many are taken in one turn: a client may send ten thousand at once, of a byte each or with other keys each."""
_SILENCE_SECONDS = 60.0
"""Between two lines in the log about failed handshakes."""
_PLAIN = Problem(400, "this port speaks TLS: begin the URL with https://").answer()
_log = logging.getLogger("hanas.serving")


class Port:
    """What the connections to one port have in common.

    Steps take turns, one in each turn of the event loop: of handshakes, and of taking many records. What was
    decrypted in one turn is handed up together: to decrypt lets other threads run, and a thread that began after the
    first request would commit that one alone, or check the seal for it alone.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        """``context``: returns the one for a new connection."""
        self.context = context
        self.failures = 0
        self._decrypted: list[Secured] = []
        self._turns = Turns()
        self._told_at = -math.inf

    def wait(self, step: Callable[[], None]) -> None:
        """Call ``step`` when it is its turn."""
        self._turns.wait(step)

    def arrived(self, connection: "Secured") -> None:
        """Have ``connection`` hand up what it decrypted, behind what others decrypt in this turn."""
        self._decrypted.append(connection)
        if len(self._decrypted) == 1:
            asyncio.get_running_loop().call_soon(self._hand_up)

    def _hand_up(self) -> None:
        decrypted, self._decrypted = self._decrypted, []
        for connection in decrypted:
            try:
                connection.hand_up()
            except Exception as error:
                _log.error("an error of this program", exc_info=error)
                connection.abort()

    def failed(self, reason: str) -> None:
        """Count a failure, and log one a minute."""
        self.failures += 1
        now = asyncio.get_running_loop().time()
        if now - self._told_at > _SILENCE_SECONDS:
            self._told_at = now
            _log.warning("a TLS handshake failed (%d so far): %s", self.failures, reason)


class Secured(asyncio.Protocol, asyncio.Transport):
    """The protocol below, and the transport above."""

    _raw: asyncio.Transport

    def __init__(self, upper: Stream, port: Port) -> None:
        """Prepare for a connection that is about to be made, to be spoken by ``upper``."""
        self._upper = upper
        self._port = port
        context = port.context()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._extra: dict[str, Any] = {"sslcontext": context}
        self._begun = self._ready = self._plain = False
        """Something came; the handshake is complete; it was no TLS, and what is sent is none either."""
        self._reading, self._stepping = True, False
        """What is above wants to read; a step waits for its turn."""
        self._received, self._missing = b"", 0
        """What came and was not taken; bytes that are still to come of the record before it."""
        self._decrypted: list[bytes] = []
        self._arrived = self._client_ended = False
        """Something decrypted waits to be handed up; behind it, the client has ended its side."""
        self._backlog: deque[memoryview] = deque()
        self._unsealed = 0
        """Bytes in it."""
        self._high, self._low = 64 << 10, 0
        self._full = self._blocked = self._continuing = False
        """What is above was told to pause; the kernel takes no more; the next turn seals more."""
        self._closing = self._ending = self._ended = False
        """Nothing more is read; the own side ends behind the backlog, or has ended."""
        self._eof = False

    # ------------------------------------------------------------------ the socket's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin: what is above counts from now on."""
        self._raw = transport
        transport.set_write_buffer_limits(0)
        self._upper.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._begun and not (self._ready or self._plain or self._closing):
            self._port.failed("the client left; does it trust the authority that signed this certificate?")
        self._closing = self._ended = True
        self._backlog.clear()
        self._unsealed = 0
        self._upper.connection_lost(exc)
        del self._upper  # which knows this transport

    def data_received(self, data: bytes) -> None:
        """Take a part of the handshake, or of what was encrypted."""
        if self._plain or self._ended:
            self._upper.data_received(data)  # which only counts it: its end was written
            return
        if self._closing:
            return
        if not self._begun:
            self._begun = True
            if data[0] != _HANDSHAKE:
                self._plain = True
                self._upper.refuse(_PLAIN)
                return
        self._received = self._received + data if self._received else data
        if self._ready and not self._stepping:
            self._take()
        else:
            self._step()

    def eof_received(self) -> bool:
        """Tell that the client closed its side, once."""
        self.hand_up()
        if self._eof:
            return not self._closing
        self._eof = True
        return bool(self._upper.eof_received()) if self._ready or self._plain else False

    def pause_writing(self) -> None:
        """Seal no more: the kernel takes nothing."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Go on: the kernel has taken everything."""
        self._blocked = False
        self._seal()

    # ------------------------------------------------------------------ the handshake, and what was encrypted

    def _step(self) -> None:
        """Read no more until it was this connection's turn."""
        if not self._stepping:
            self._stepping = True
            self._raw.pause_reading()
            self._port.wait(self._take_turn)

    def _take_turn(self) -> None:
        self._stepping = False
        if self._closing:
            return
        if not self._ended:
            self._take()
        if self._reading and not (self._stepping or self._raw.is_closing()):
            self._raw.resume_reading()

    def _take(self) -> None:
        """Go on with some of the records that came, and with the others when it is this connection's turn again."""
        received, at = self._received, self._missing
        for _ in range(_MOST_RECORDS):
            if at + _HEADER > len(received):
                break
            at += _HEADER + int.from_bytes(received[at + _HEADER - 2 : at + _HEADER])
        self._missing = max(0, at - len(received))
        self._received = received[at:]
        self._incoming.write(received[:at] if self._received else received)
        if self._ready:
            self._read()
        else:
            self._shake()
        if len(self._received) >= _HEADER and not self._closing:
            self._step()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._pass_on()
        except ssl.SSLError as error:
            self._port.failed((error.reason or str(error)).lower().replace("_", " "))
            self._pass_on()
            self.close()
            return
        else:
            self._ready = True
            self._pass_on()
            self._extra["peer"] = self._holder()
            self._seal()
            if not self._ended:
                self._read()

    def _holder(self) -> peer.Peer | None:
        """Return who the client has shown itself to be; None where it was not asked."""
        if self._extra["sslcontext"].verify_mode is ssl.CERT_NONE:
            return None
        return peer.of_certificate(self._tls.getpeercert())

    def _read(self) -> None:
        """Decrypt what can be. Each call of TLS lets other threads run, so none is made without need."""
        size = self._incoming.pending
        try:
            while size:
                asked = min(size, _RECORD)  # what is decrypted is shorter, unless the record began to come earlier
                part = self._tls.read(asked)
                if not part:
                    self._client_ended = True
                    break
                self._decrypted.append(part)
                size = self._incoming.pending or (len(part) == asked and self._tls.pending())
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._client_ended = True
        except ssl.SSLError:
            self._pass_on()
            self.abort()
            return
        if self._outgoing.pending:
            self._pass_on()  # an update of the keys
        if (self._decrypted or self._client_ended) and not self._arrived:
            self._arrived = True
            self._port.arrived(self)

    def hand_up(self) -> None:
        """Hand up what was decrypted, unless that was done."""
        self._arrived, parts, self._decrypted = False, self._decrypted, []
        if self._closing:
            return
        if parts:
            self._upper.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._client_ended and not (self._eof or self._closing):
            self._eof = True
            if not self._upper.eof_received():
                self.close()

    def _pass_on(self) -> None:
        """Send what TLS has to say."""
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    # ------------------------------------------------------------------ what is sent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` behind what waits."""
        if not self._ready or self._ended or self._unsealed or self._blocked or not 0 < len(data) <= _MOST_SEALED:
            self.writelines((data,))
        elif not self._raw.is_closing():  # the way of nearly all answers
            self._tls.write(data)
            self._raw.write(self._outgoing.read())
            if self._raw.get_write_buffer_size():
                self._tell()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send them behind what waits."""
        if self._ended or self._raw.is_closing():
            return
        for data in list_of_data:
            if data:
                self._backlog.append(memoryview(data))
                self._unsealed += len(data)
        self._seal()

    def _seal(self) -> None:
        """Encrypt and send what waits, as long as the kernel takes it, some of it in this turn."""
        if not (self._ready or self._plain) or self._ended:
            self._tell()
            return
        for _ in range(_MOST_OF_TURN):
            if self._blocked or not self._backlog:
                break
            self._send_piece()
        if self._backlog:
            if not (self._blocked or self._continuing):
                self._continuing = True
                asyncio.get_running_loop().call_soon(self._seal_on)
        elif self._ending:
            self._end()
        self._tell()

    def _seal_on(self) -> None:
        self._continuing = False
        if not self._ended:
            self._seal()

    def _send_piece(self) -> None:
        """Send as much as is encrypted at once; small parts together."""
        room, parts = _MOST_SEALED, []
        while self._backlog and room:
            part = self._backlog.popleft()
            if len(part) > room:
                self._backlog.appendleft(part[room:])
                part = part[:room]
            room -= len(part)
            parts.append(part)
        self._unsealed -= _MOST_SEALED - room
        content = b"".join(parts)
        if self._plain:
            self._raw.write(content)
        else:
            self._tls.write(content)
            self._raw.write(self._outgoing.read())

    def _tell(self) -> None:
        """Tell what is above whether to pause."""
        size = self.get_write_buffer_size()
        if not self._full and size > self._high:
            self._full = True
            self._upper.pause_writing()
        elif self._full and size <= self._low:
            self._full = False
            self._upper.resume_writing()

    def get_write_buffer_size(self) -> int:
        """Return what the client has not taken, bytes."""
        return self._unsealed + self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits, low and high, bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Tell to pause above ``high`` and to go on at ``low``, bytes."""
        self._high = 64 << 10 if high is None else high
        self._low = self._high // 4 if low is None else low

    def can_write_eof(self) -> bool:
        """Return True: the own side ends by itself."""
        return True

    def write_eof(self) -> None:
        """End the own side behind what waits."""
        self._ending = True
        if not self._backlog:
            self._end()

    def _end(self) -> None:
        """End the own side: what comes from now on is counted, and not read."""
        if self._ended or not (self._ready or self._plain):
            return
        self._ended = True
        if not self._plain:
            with contextlib.suppress(ssl.SSLError):  # it wants the other side's end, too
                self._tls.unwrap()
            self._pass_on()
        if self._closing:
            self._raw.close()
        elif not self._raw.is_closing():
            self._raw.write_eof()

    # ------------------------------------------------------------------ the end, reading, and the rest

    def close(self) -> None:
        """Close behind what waits."""
        if self._closing:
            return
        self._closing = self._ending = True
        if self._ended or not (self._ready or self._plain):
            self._raw.close()
        elif not self._backlog:
            self._end()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        """Return whether it closes."""
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        self._reading = False
        if not self._stepping:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._reading = True
        if not (self._stepping or self._raw.is_closing()):
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Return whether what comes is read."""
        return self._reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have ``protocol`` above from now on, which is a `Stream` too."""
        assert isinstance(protocol, Stream), "what is above has limits"
        self._upper = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection: ``peer`` and ``sslcontext``, or what the socket knows."""
        if name in self._extra:
            return self._extra[name]
        return self._raw.get_extra_info(name, default)
