"""HTTP/2 as clients see it, with both engines: streams, windows, memory, floods, slow clients, and the end."""

import asyncio
import tracemalloc
from collections.abc import Callable

import ngh2
import pytest

from hanas_serving.admission import Admission
from hanas_serving.budget import Budget
from hanas_serving.grpc.framing import framed
from hanas_serving.http1 import Server
from hanas_serving.http2 import connection as connection_module
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import Above, Bounds, Code, Engine, make
from hanas_serving.http2.h2_engine import H2Engine
from hanas_serving.http2.ngh2_engine import Ngh2Engine
from hanas_serving.limits import Limits
from hanas_serving.stream import Phase, Stream
from tests.unit.serving.connections import Wire, application
from tests.unit.serving.http2_peers import (
    BEGIN,
    CONTINUATION,
    DATA,
    ECHO,
    END_HEADERS,
    HEAD,
    HEADERS,
    PING,
    RESET,
    SETTINGS,
    SLOW,
    STREAM,
    WINDOW,
    Backend,
    Client,
    frame,
    literal,
)
from tests.unit.waiting import until

ENGINES: dict[str, Callable[[Above, Bounds], Engine]] = {"ngh2": Ngh2Engine, "h2": H2Engine}


@pytest.fixture(params=ENGINES)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "make", ENGINES[request.param])


pytestmark = pytest.mark.usefixtures("_engine")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def server() -> Server:
    return Server(application)


async def impatient(**limits: float) -> Server:
    return Server(application, None, Admission[Stream](Limits(**limits)))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- calls and their order


async def test_a_call_is_answered(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    stream = client.call(ECHO, b"hello")
    await client.turn()
    answer = client.answers[stream]
    assert answer.headers == {b":status": b"200", b"content-type": b"application/grpc"}
    assert (answer.body, answer.trailers, answer.closed) == (framed(b"hello"), {b"grpc-status": b"0"}, 0)
    assert not client.server_side.responders


async def test_the_answers_of_one_turn_leave_in_one_write(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    streams = [client.call(SLOW, b"%d" % number) for number in range(50)]
    await client.turn()
    client.writes = 0
    for call, message in backend.held:
        call.reply(message)
    await client.turn()
    assert client.writes == 1
    assert [client.answers[stream].body for stream in streams] == [framed(b"%d" % number) for number in range(50)]


async def test_a_thousand_streams_are_open_at_a_time(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc, settings={})
    await client.turn()
    streams = [client.call(SLOW, b"") for _ in range(1500)]
    await client.turn(40)
    await until(lambda: len(backend.held) == len(streams))
    for call, _ in backend.held:
        call.reply(b"x")
    await client.turn()
    assert all(client.answers[stream].body == framed(b"x") for stream in streams)


async def test_a_request_may_come_byte_by_byte(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    client.call(ECHO, b"hello")
    data = client.engine.data_to_send()
    for at in range(len(data)):
        client.server_side.data_received(data[at : at + 1])
    await client.turn()
    assert client.answers[1].body == framed(b"hello")


async def test_requests_of_many_clients_take_turns(server: Server, backend: Backend) -> None:
    """A client that sends a thousand calls in one piece leaves the others their turns."""
    many, one = Client(server, backend.grpc), Client(server, backend.grpc)
    await many.turn()
    await one.turn()
    for _ in range(1000):
        many.call(SLOW, b"")
    many.server_side.data_received(many.engine.data_to_send())
    assert len(backend.held) < 300
    one.call(ECHO, b"quick")
    await one.turn()
    assert one.answers[1].body == framed(b"quick")
    assert len(backend.held) < 1000
    await until(lambda: len(backend.held) == 1000)


# ---------------------------------------------------------------------- windows and memory


async def test_a_large_answer_goes_as_the_client_takes_it(server: Server, backend: Backend) -> None:
    client, size = Client(server, backend.grpc), 300_000
    stream = client.call(SLOW, b"")
    await client.turn()
    ((call, _),) = backend.held
    call.reply(bytes(size))
    await client.turn()
    assert len(client.answers[stream].body) == 65_535, "more than the client's window"
    assert server.memory.used >= size - 65_535, "what waits is not counted"
    taken = 0
    while client.answers[stream].status is None:
        client.take(stream, len(client.answers[stream].body) - taken)
        taken = len(client.answers[stream].body)
        await client.turn()
    assert len(client.answers[stream].body) == size + 5
    assert server.memory.used == 0


async def test_large_answers_do_not_keep_small_ones_waiting(server: Server, backend: Backend) -> None:
    """A stream with much to send, and a client whose window is narrow: a small answer comes first."""
    client = Client(server, backend.grpc, settings={ngh2.Setting.INITIAL_WINDOW_SIZE: 1 << 20})
    watch = client.begin(STREAM)
    await client.turn()
    (session,) = backend.sessions
    for _ in range(100):
        session.call.send(bytes(10_000))
    await client.turn()
    sent = len(client.answers[watch].body)
    assert sent == 65_535, "the window of the connection"
    small = client.call(ECHO, b"small")
    client.take(watch, 40_000)
    await client.turn()
    assert client.answers[small].body == framed(b"small")
    assert sent < len(client.answers[watch].body) == sent + 40_000 - len(framed(b"small"))


async def test_a_stream_that_is_not_taken_is_congested_and_not_read(server: Server, backend: Backend) -> None:
    """What waits to be sent is bounded: by what makes a stream congested, and by the window given before."""
    bounds = Bounds(stream_window=100_000)
    client = Client(server, backend.grpc, bounds)
    await client.turn()
    stream = client.begin(STREAM)
    for _ in range(100):
        client.engine.send_data(stream, framed(bytes(10_000)))
        await client.turn()
    (session,) = backend.sessions
    assert session.call.congested
    assert client.engine.queued_body_size(stream) > 400_000, "the client's requests are read although it takes nothing"
    assert client.server_side.engine.queued(stream) < 400_000
    taken = 0
    while len(client.answers[stream].body) < 100 * 10_005:
        client.take(stream, len(client.answers[stream].body) - taken)
        taken = len(client.answers[stream].body)
        await client.turn()
    assert "drained" in session.log
    assert not session.call.congested


async def test_many_streams_together_are_congested_sooner(server: Server, backend: Backend) -> None:
    """What waits to be sent to one client is bounded, however many streams it has."""
    client = Client(server, backend.grpc)
    streams = [client.begin(STREAM) for _ in range(100)]
    await client.turn()
    for session in backend.sessions:
        for _ in range(50):
            if not session.call.congested:
                session.call.send(bytes(10_000))
    assert client.server_side.engine.queued() < 6 << 20
    idle = backend.sessions[-1]
    taken = dict.fromkeys(streams, 0)
    while client.server_side.engine.queued():
        for stream in streams:
            have = len(client.answers[stream].body)
            client.take(stream, have - taken[stream])
            taken[stream] = have
        await client.turn()
    assert not idle.call.congested
    assert all("drained" in session.log for session in backend.sessions)


async def test_parts_of_requests_are_counted_and_lost_when_memory_is_short(backend: Backend) -> None:
    server = Server(application, memory=Budget(1 << 20))
    client = Client(server, backend.grpc)
    for _ in range(20):
        stream = client.begin(SLOW)
        client.engine.send_data(stream, b"\0\0\x10\0\0" + bytes(60_000))
        await client.turn()
    assert server.memory.losses == 1
    assert client.wire.closed
    client.server_side.connection_lost(None)
    assert server.memory.used == 0


async def test_a_client_that_reads_nothing_is_not_read(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    await client.turn()
    client.server_side.pause_writing()
    assert not client.wire.reading
    client.server_side.resume_writing()
    assert client.wire.reading


# ---------------------------------------------------------------------- floods


def flood(server: Server, backend: Backend, *frames: bytes) -> tuple[Http2, Wire]:
    """Send frames on a new connection, each many times."""
    wire, connection = Wire(), Http2(server, backend.grpc, Bounds())
    connection.connection_made(wire)
    connection.data_received(BEGIN)
    for piece in frames:
        if not (wire.closed or wire.half_closed):
            connection.data_received(piece)
    return connection, wire


def _resets(count: int) -> bytes:
    calls = (frame(HEADERS, END_HEADERS, 2 * n + 1, HEAD) + frame(RESET, 0, 2 * n + 1, bytes(4)) for n in range(count))
    return b"".join(calls)


def _continuations(count: int) -> bytes:
    more = b"".join(frame(CONTINUATION, 0, 1, literal(b"a", b"b")) for _ in range(count))
    return frame(HEADERS, 0, 1, HEAD) + more


FLOODS = {
    "pings": frame(PING, 0, 0, bytes(8)) * 5000,
    "settings": frame(SETTINGS) * 5000,
    "resets": _resets(3000),
    "continuations": _continuations(3000),
    "empty data": frame(HEADERS, END_HEADERS, 1, HEAD) + frame(DATA, 0, 1) * 5000,
    "large headers": frame(HEADERS, 0, 1, HEAD + literal(b"a", b"b" * 100) * 60)
    + _continuations(5)[:0]
    + frame(CONTINUATION, END_HEADERS, 1, literal(b"a", b"b" * 100) * 100),
    "window of zero": frame(WINDOW, 0, 0, bytes(4)),
    "no frame": b"GET / HTTP/1.1\r\n\r\n" * 10,
    "too large a frame": frame(DATA, 0, 1, bytes(20_000)),
    "data without a request": frame(DATA, 0, 1, b"x"),
    "an even stream": frame(HEADERS, END_HEADERS, 2, HEAD),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_its_connection_only(kind: str, server: Server, backend: Backend) -> None:
    other = Client(server, backend.grpc)
    await other.turn()
    connection, wire = flood(server, backend, FLOODS[kind])
    await until(lambda: wire.closed or wire.half_closed)
    assert len(b"".join(wire.written)) < 200_000
    stream = other.call(ECHO, b"undisturbed")
    await other.turn()
    assert other.answers[stream].body == framed(b"undisturbed")
    await asyncio.sleep(0)
    assert not connection.responders


async def test_floods_take_no_memory(server: Server, backend: Backend) -> None:
    """What a connection holds of frames that lead nowhere stays small, also before it is closed."""
    wire, connection = Wire(), Http2(server, backend.grpc, Bounds())
    connection.connection_made(wire)
    connection.data_received(BEGIN)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            connection.data_received(frame(WINDOW, 0, 0, b"\0\0\0\1") * 300)
            await asyncio.sleep(0)
        wire.written.clear()
        assert tracemalloc.get_traced_memory()[0] - before < 300_000
    finally:
        tracemalloc.stop()
    assert not wire.closed


async def test_pings_are_answered_and_may_come_now_and_then(
    server: Server, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, now = Client(server, backend.grpc), 1000.0
    await client.turn()
    monkeypatch.setattr(client.server_side.loop, "time", lambda: now, raising=False)
    for _ in range(10):
        now += 5.1
        client.engine.ping()
        await client.turn()
    for _ in range(10):  # after answers they may come at once: clients measure the line so
        client.call(ECHO, b"x")
        client.engine.ping()
        await client.turn()
    assert client.pongs == 20
    assert client.goaway is None
    for _ in range(4):
        assert client.goaway is None
        client.engine.ping()
        await client.turn()
    assert client.goaway == Code.ENHANCE_YOUR_CALM


# ---------------------------------------------------------------------- time, and the end


async def test_a_request_that_does_not_end_is_given_up(backend: Backend) -> None:
    server = await impatient(slow_seconds=0.05)
    client = Client(server, backend.grpc)
    slow, stream = client.begin(ECHO), client.begin(STREAM)
    await client.turn()
    await until(lambda: not client.server_side._incomplete)
    await client.turn()
    assert client.answers[slow].status == 4
    assert client.answers[stream].status is None, "a stream may be silent"
    assert not client.ended


async def test_a_client_without_a_sign_of_life_is_dropped(
    server: Server, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(server, backend.grpc)
    client.begin(STREAM)
    await client.turn()
    now = client.server_side.loop.time()
    side = client.server_side
    side._rest_of_phase(now + 61)  # the timer's look
    await client.turn()
    assert not client.ended, "it has answered"
    assert side._asked_at is None
    monkeypatch.setattr(side.loop, "time", lambda: now + 200, raising=False)
    side._rest_of_phase(now + 200)
    side._rest_of_phase(now + 221)
    assert client.wire.closed
    (session,) = backend.sessions
    side.connection_lost(None)
    assert session.log == ["gone"]


async def test_a_client_that_leaves_ends_its_calls(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    client.call(SLOW, b"x")
    stream = client.begin(STREAM)
    await client.turn()
    ((call, _),) = backend.held
    (session,) = backend.sessions
    client.engine.reset_stream(stream)
    await client.turn()
    assert session.log == ["gone"]
    client.server_side.connection_lost(None)
    assert call.done
    call.reply(b"nobody takes it")
    assert not server.connections


async def test_an_answer_before_the_request_ends_tells_the_client_to_stop(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    stream = client.begin(b"/t.Test/Unknown")
    client.engine.send_data(stream, framed(b"the rest never comes"))
    await client.turn()
    assert client.answers[stream].status == 12
    assert client.answers[stream].closed == Code.NO_ERROR
    assert not client.server_side.responders


async def test_a_process_that_ends_answers_what_is_under_way(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    slow, _watch = client.call(SLOW, b"x"), client.begin(STREAM)
    await client.turn()
    client.server_side.shutdown()
    await client.turn()
    assert client.goaway == Code.NO_ERROR
    assert not client.ended
    ((call, _),) = backend.held
    call.reply(b"done")
    await client.turn()
    assert client.answers[slow].body == framed(b"done")
    assert client.ended, "watches are waited for"


async def test_a_process_that_ends_tells_who_is_not_answered(server: Server, backend: Backend) -> None:
    client = Client(server, backend.grpc)
    slow = client.call(SLOW, b"x")
    await client.turn()
    client.server_side.shutdown()
    client.server_side.dismiss()
    await client.turn()
    assert (client.answers[slow].status, client.answers[slow].text) == (14, b"this process ends")
    assert client.ended


async def test_connections_are_spared_by_what_they_wait_for(backend: Backend) -> None:
    server = await impatient(connections=2)
    idle, busy = Client(server, backend.grpc), Client(server, backend.grpc)
    busy.call(SLOW, b"")
    await busy.turn()
    await idle.turn()
    assert (idle.server_side.phase(), busy.server_side.phase()) == (Phase.IDLE, Phase.ANSWER)
    Client(server, backend.grpc)
    await idle.turn()
    assert idle.ended
    assert not busy.ended


async def test_the_engine_is_ngh2_where_there_is_one(backend: Backend, server: Server) -> None:
    connection = Http2(server, backend.grpc, Bounds())
    assert isinstance(make(connection, Bounds()), Ngh2Engine)
