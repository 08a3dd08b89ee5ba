"""More clients than connections: who has to leave, who is refused, and what happens without descriptors."""

import asyncio
import errno
import resource
import socket

import pytest

from hanas_serving import limits
from hanas_serving.admission import Admission
from hanas_serving.gauges import ConnectionsCollector
from hanas_serving.http1 import Connection, Server
from hanas_serving.limits import Descriptors, Limits
from hanas_serving.listener import Listener
from hanas_serving.settings import SettingError
from tests.unit.serving.connections import Echo, Wire, application, connected, limited
from tests.unit.serving.test_http1 import GET, problem
from tests.unit.waiting import until

Guest = tuple[Connection, Wire]


@pytest.fixture
def handler() -> Echo:
    return Echo()


@pytest.fixture
def server(handler: Echo) -> Server:
    return Server(application, handler, limited(connections=4))


def age(guest: Guest, seconds: float) -> None:
    guest[0].since -= seconds


def busy(server: Server, handler: Echo) -> Guest:
    """A connection that waits for its answer."""
    guest = connected(server)
    handler.patient = True
    guest[0].data_received(GET)
    handler.patient = False
    return guest


def used(server: Server) -> Guest:
    """One that is idle between two requests."""
    guest = connected(server)
    guest[0].data_received(GET)
    return guest


def begun(server: Server, begin: bytes) -> Guest:
    guest = connected(server)
    guest[0].data_received(begin)
    return guest


HEAD = b"GET /v1/kv/a HTT"
BODY = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell"


async def test_who_can_best_be_spared_leaves_first(server: Server, handler: Echo) -> None:
    idle, head, body, silent = used(server), begun(server, HEAD), begun(server, BODY), connected(server)
    for guest, seconds in ((idle, 60.0), (head, 2.0), (body, 9.0), (silent, 1.5)):
        age(guest, seconds)
    gone = []
    for _ in range(4):
        busy(server, handler)
        gone.append(
            next(
                name
                for name, guest in (("silent", silent), ("head", head), ("idle", idle), ("body", body))
                if name not in gone and (guest[1].closed or guest[1].half_closed)
            )
        )
    assert gone == ["silent", "head", "idle", "body"]
    assert not silent[1].written
    assert [problem(guest[1].content)[0] for guest in (head, body)] == [503, 503]
    assert (server.admission.displaced, server.admission.refused) == (4, 0)


async def test_the_longest_idle_one_leaves_and_one_that_was_used_meanwhile_does_not(server: Server) -> None:
    guests = [used(server) for _ in range(4)]
    for seconds, guest in enumerate(guests):
        age(guest, 20.0 - seconds)
    used(server)
    assert [wire.closed for _, wire in guests] == [True, False, False, False]
    guests[1][0].data_received(GET)
    used(server)
    assert [wire.closed for _, wire in guests] == [True, False, True, False]


async def test_one_that_may_be_about_to_send_leaves_last(server: Server) -> None:
    young = connected(server)
    idle = [used(server) for _ in range(3)]
    for guest in idle:
        age(guest, 2.0)
    for _ in range(3):
        busy(server, Echo())
    assert all(wire.closed for _, wire in idle)
    assert not young[1].closed


async def test_who_finds_no_room_is_told_and_does_not_stay(server: Server, handler: Echo) -> None:
    guests = [busy(server, handler) for _ in range(3)]
    guests.append(begun(server, BODY))  # which has just begun
    refused = [connected(server) for _ in range(40)]
    assert not any(wire.closed or wire.written for _, wire in guests)
    status, detail = problem(refused[0][1].content)
    assert (status, detail.startswith("there are as many connections")) == (503, True)
    assert b"\r\nretry-after: 1\r\n" in refused[0][1].content
    assert [wire.closed for _, wire in refused] == [True] * 8 + [False] * 32  # these linger
    assert server.admission.refused == 40
    for connection, _ in [*refused, guests[0]]:
        connection.connection_lost(None)
    late = used(server)
    assert late[1].content.startswith(b"HTTP/1.1 200 OK")


async def test_a_connection_whose_client_has_to_read_is_not_spared(server: Server) -> None:
    guests = [used(server) for _ in range(4)]
    for guest in guests:
        age(guest, 60.0)
        guest[1].unsent = 1
    assert connected(server)[1].content.startswith(b"HTTP/1.1 503 ")


async def test_a_crowd_is_told_for_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = server.admission
    assert admission.trouble == ""
    for _ in range(5):
        connected(server)
    assert admission.trouble.startswith("all 4 are in use")
    monkeypatch.setattr(admission, "_pressed_at", admission._pressed_at - 11.0)
    assert admission.trouble == ""
    samples = {
        (sample.name, sample.labels["port"]): sample.value
        for family in ConnectionsCollector({"clients": admission}).collect()
        for sample in family.samples
    }
    assert samples == {
        ("hanas_connections", "clients"): 5,  # one of them is being closed
        ("hanas_connections_limit", "clients"): 4,
        ("hanas_connections_refused_total", "clients"): 0,
        ("hanas_connections_displaced_total", "clients"): 1,
    }


# ---------------------------------------------------------------------- descriptors


async def test_a_listener_without_descriptors_waits_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither ends nor spins."""
    tries, freed = [], []

    class Short(socket.socket):
        def accept(self) -> "tuple[socket.socket, object]":
            tries.append(1)
            if len(tries) < 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    server = Server(application, Echo())
    bound = Short()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    listener = Listener(bound, lambda: Connection(server), lambda: freed.append(1))
    listener.start()
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    writer.write(GET)
    assert await reader.readuntil(b"GET /v1/kv/a ")
    assert asyncio.get_running_loop().time() - began > 0.25
    assert len(freed) == 3
    assert caplog.text.count("no connection can be accepted: Too many open files") == 1
    writer.close()
    await until(lambda: not server.connections)
    await listener.close()


async def test_a_listener_that_waits_can_be_closed() -> None:
    class Short(socket.socket):
        def accept(self) -> "tuple[socket.socket, object]":
            raise OSError(errno.EMFILE, "Too many open files")

    bound = Short()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    freed: list[int] = []
    listener = Listener(bound, lambda: Connection(Server(application)), lambda: freed.append(1))
    listener.start()
    _, writer = await asyncio.open_connection(*bound.getsockname())
    await until(lambda: bool(freed))
    await listener.close()
    writer.transport.abort()


@pytest.mark.parametrize(("files", "links", "connections"), [(1024, 128, 672), (20_000, 1024, 10_000), (256, 32, 96)])
def test_how_descriptors_are_divided(files: int, links: int, connections: int) -> None:
    descriptors = Descriptors(files)
    assert (descriptors.links, descriptors.connections(None), descriptors.connections(16)) == (links, connections, 16)


def test_too_few_descriptors_are_told() -> None:
    with pytest.raises(SettingError, match=r"may open 128 files only \(ulimit -n\): allow at least 1024"):
        Descriptors(128).connections(None)
    with pytest.raises(SettingError, match=r"HANAS_CONNECTIONS=700: .* which leaves 672 for clients"):
        Descriptors(1024).connections(700)


def test_the_soft_limit_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 10, before[1]))
        limits.raise_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert limits.descriptors().limit == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limits_by_default() -> None:
    assert Limits() == Limits(connections=1024, idle_seconds=75.0, slow_seconds=30.0, least_rate=16 << 10)
    assert Admission[Connection](Limits()).connections == set()


# ---------------------------------------------------------------------- turns


async def test_what_all_connections_parse_in_one_turn_is_bounded(server: Server) -> None:
    """Plain requests, pipelined ones and others; nothing is lost, and nobody waits for ever."""
    many = Server(application, Echo())
    guests = [connected(many) for _ in range(400)]
    for connection, _ in guests:
        connection.data_received(GET)
    assert sum(bool(wire.written) for _, wire in guests) <= 128
    turns = 0
    while not all(wire.written for _, wire in guests):
        await asyncio.sleep(0)
        turns += 1
    assert 2 <= turns <= 10
    before = [len(wire.written) for _, wire in guests]
    for connection, _ in guests:
        connection.data_received(GET * 20)
    await asyncio.sleep(0)
    assert sum(len(wire.written) for _, wire in guests) - sum(before) <= 256
    await until(lambda: all(len(wire.written) == 21 for _, wire in guests))
    assert all(wire.reading for _, wire in guests)
