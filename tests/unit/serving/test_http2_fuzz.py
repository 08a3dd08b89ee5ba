"""Frames by chance, and messages by chance: no error of this program, no effect on others, bounded memory."""

import asyncio
import logging
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_serving.grpc.framing import framed
from hanas_serving.http1 import Server
from hanas_serving.http2 import connection as connection_module
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import PREFACE, Above, Bounds, Engine
from hanas_serving.http2.h2_engine import H2Engine
from hanas_serving.http2.ngh2_engine import Ngh2Engine
from tests.unit.serving.connections import Wire, application
from tests.unit.serving.http2_peers import BEGIN, ECHO, HEAD, STREAM, Backend, Client, call_headers, frame, literal

EXAMPLES = int(os.environ.get("HANAS_FUZZ_EXAMPLES", "60"))
MOST_WRITTEN = 4 << 20

streams = st.sampled_from([0, 1, 1, 1, 3, 5, 2, 7, 0x7FFFFFFF])
heads = st.sampled_from(
    [
        HEAD,
        b"".join(literal(*each) for each in call_headers(ECHO)),
        b"".join(literal(*each) for each in [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/x")]),
        b"".join(literal(*each) for each in [(b":method", b"GET"), (b"Upper", b"x")]),
        b"\x82\x84\x86\x41\x01x",
        b"\xff\xff\xff\xff",
    ]
)
payloads = st.one_of(
    heads,
    st.binary(max_size=40),
    st.sampled_from(
        [bytes(4), bytes(8), b"\0\0\0\1", b"\x7f\xff\xff\xff", framed(b"hello"), b"\0\4\0\0\0\0", b"\0\3\0\0\0\1"]
    ),
    st.binary(min_size=100, max_size=300).map(lambda body: framed(body * 10)),
)
frames = st.builds(frame, st.integers(0, 12), st.sampled_from([0, 1, 4, 5, 5, 8, 32, 255]), streams, payloads)
calls = st.builds(
    lambda stream, head, body: frame(1, 4, stream, head) + frame(0, 1, stream, body), streams, heads, payloads
)
pieces = st.one_of(frames, frames, calls, st.binary(max_size=30))


@pytest.fixture(params=["ngh2", "h2"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: dict[str, Callable[[Above, Bounds], Engine]] = {"ngh2": Ngh2Engine, "h2": H2Engine}
    monkeypatch.setattr(connection_module, "make", engines[request.param])


async def survive(begin: bytes, parts: list[bytes]) -> None:
    """Have a client send ``parts``, and another one call."""
    server, backend = Server(application), Backend()
    other = Client(server, backend.grpc)
    await other.turn()
    wire, connection = Wire(), Http2(server, backend.grpc, Bounds())
    connection.connection_made(wire)
    for part in [begin, *parts]:
        if wire.closed or wire.half_closed:
            break
        if part:
            connection.data_received(part)
        await asyncio.sleep(0)
    for call, message in backend.held:
        call.reply(message)
    for _ in range(4):
        await asyncio.sleep(0)
    assert sum(map(len, wire.written)) < MOST_WRITTEN
    stream = other.call(ECHO, b"undisturbed")
    await other.turn()
    assert other.answers[stream].body == framed(b"undisturbed")
    connection.connection_lost(None)
    await asyncio.gather(*server.tasks)
    await asyncio.sleep(0)
    assert not connection.responders
    assert server.memory.used == 0
    other.server_side.connection_lost(None)


def play(begin: bytes, parts: list[bytes]) -> None:
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(str(record.exc_info or record.msg))  # type: ignore[method-assign]
    logging.getLogger("hanas.serving").addHandler(handler)
    try:
        asyncio.run(survive(begin, parts))
    finally:
        logging.getLogger("hanas.serving").removeHandler(handler)
    assert not errors


@pytest.mark.usefixtures("_engine")
@given(parts=st.lists(pieces, max_size=30))
@settings(max_examples=EXAMPLES)
def test_frames_by_chance(parts: list[bytes]) -> None:
    play(BEGIN, parts)


@pytest.mark.usefixtures("_engine")
@given(parts=st.lists(st.binary(max_size=200), max_size=10), preface=st.booleans())
@settings(max_examples=EXAMPLES)
def test_bytes_by_chance(parts: list[bytes], *, preface: bool) -> None:
    play(PREFACE if preface else b"PRI * ", parts)


@given(bodies=st.lists(st.binary(max_size=100), max_size=6), path=st.sampled_from([ECHO, STREAM]), data=st.data())
@settings(max_examples=EXAMPLES)
def test_messages_by_chance(bodies: list[bytes], path: bytes, data: st.DataObject) -> None:
    """Whatever is in the frames of a call, it ends with a status."""

    async def converse() -> None:
        server, backend = Server(application), Backend()
        client = Client(server, backend.grpc)
        stream = client.begin(path)
        for body in bodies:
            content = framed(body) if data.draw(st.booleans()) else body
            if client.answers[stream].closed is None:
                client.engine.send_data(stream, content)
                await client.turn(2)
        if client.answers[stream].closed is None:
            client.engine.send_data(stream, b"", end_stream=True)
        await client.turn()
        assert client.answers[stream].status is not None
        assert not client.server_side.responders
        assert server.memory.used == 0

    asyncio.run(converse())
