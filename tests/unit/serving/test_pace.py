"""How much of what clients sent is done in one turn of the event loop."""

import asyncio
import time

import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving import pace as pace_module
from hanas_serving.http1 import Server
from hanas_serving.pace import Pace
from tests.unit.serving.connections import Echo, application, connected
from tests.unit.waiting import until

ORDINARY = b"GET /v1/kv/a?x HTTP/1.1\r\nHost: x\r\n\r\n"
HEADERS = b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 250 + b"\r\n"


class Crowd:
    """One that has always something to do, piece by piece, each of which takes some time."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.seconds = 0.0
        self.turns: list[int] = []

    def take_turn(self) -> None:
        count = self.pace.left
        self.turns.append(count)
        self.pace.left = 0
        end = time.thread_time() + count * self.seconds
        while time.thread_time() < end:
            pass
        self.pace.wait(self.take_turn)


async def test_long_turns_make_the_next_ones_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace()
    crowd = Crowd(pace)
    crowd.seconds = 0.002
    pace.wait(crowd.take_turn)
    await until(lambda: len(crowd.turns) > 20)
    assert crowd.turns[0] == 128
    assert max(crowd.turns[8:]) <= 4
    monkeypatch.setattr(pace_module, "_LONG_SECONDS", 1.0)
    await until(lambda: crowd.turns[-1] == 128)


@pytest.mark.parametrize(("request_", "most"), [(ORDINARY, 9), (HEADERS, 19)], ids=["ordinary", "headers"])
async def test_what_is_costly_is_begun_in_small_numbers(request_: bytes, most: int) -> None:
    """From one turn to the next, however many connections ask."""
    begun = 0

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await application(scope, receive, send)

    class Counted(Echo):
        def let_go(self) -> None:
            nonlocal begun
            begun += len(self.held)
            super().let_go()

    server = Server(counted, Counted())
    crowd = [connected(server) for _ in range(100)]
    for connection, _ in crowd:
        connection.data_received(request_)
    seen, turns = 0, []
    while begun < 100:
        await asyncio.sleep(0)
        turns.append(begun - seen)
        seen = begun
    assert max(turns) <= most


async def test_a_piece_of_a_body_may_be_large() -> None:
    server = Server(application, Echo())
    connection, _ = connected(server)
    connection.data_received(b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    left = server.pace.left
    connection.data_received(bytes(60_000))
    assert server.pace.left == left - 1
