"""Lines: messages both ways that prove who sent them, in order, each once."""

import asyncio
from collections.abc import Iterable

import pytest

from hanas_serving.lines import Improper, Keys, Line, Wire, pair

NONCES = ("1" * 32, "2" * 32)


class Listener:
    """Takes what comes, and refuses one message."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self.taken: list[bytes] = []
        self.ends = 0

    def opened(self, line: Line) -> None:
        self.line = line

    def take(self, message: bytes) -> None:
        if message == b"improper":
            raise Improper(message.decode())
        self.taken.append(message)

    def closed(self) -> None:
        self.ends += 1


class Pipe(asyncio.Transport):
    """What was written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.unsent = 0
        self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def side(*, caller: bool, secret: bytes = b"secret") -> tuple[Wire, Listener, Pipe]:
    listener, pipe = Listener(), Pipe()
    wire = Wire(listener, Keys.derive(secret, NONCES, caller=caller))
    wire.connection_made(pipe)
    return wire, listener, pipe


@pytest.fixture(params=(1, 7, 1 << 20), ids="{} bytes at once".format)
def cuts(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


async def test_messages_arrive_in_order_however_they_are_cut(cuts: int) -> None:
    caller, _, pipe = side(caller=True)
    answerer, listener, _ = side(caller=False)
    messages = [b"one", b"", b"three" * 1000]
    for message in messages:
        caller.send(message)
    sent = bytes(pipe.written)
    for begin in range(0, len(sent), cuts):
        answerer.data_received(sent[begin : begin + cuts])
    assert listener.taken == messages


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda first, second: first + first, id="repeated"),
        pytest.param(lambda first, second: second, id="left out"),
        pytest.param(lambda first, second: first + second[:-1] + bytes([second[-1] ^ 1]), id="changed"),
        pytest.param(lambda first, second: first + b"\xff" * 40, id="too long"),
    ],
)
async def test_nothing_is_taken_that_was_not_sent_so(forge: object) -> None:
    assert callable(forge)
    caller, _, pipe = side(caller=True)
    caller.send(b"first")
    first = bytes(pipe.written)
    caller.send(b"second")
    second = bytes(pipe.written[len(first) :])
    answerer, listener, other = side(caller=False)
    answerer.data_received(forge(first, second))
    assert listener.taken in ([b"first"], [])
    assert (other.closed, listener.ends) == (True, 1)


@pytest.mark.parametrize(("caller", "secret"), [(True, b"secret"), (False, b"another")], ids=["reflected", "stranger"])
async def test_only_the_other_side_is_heard(caller: bool, secret: bytes) -> None:
    sender, _, pipe = side(caller=True)
    sender.send(b"message")
    receiver, listener, other = side(caller=caller, secret=secret)
    receiver.data_received(bytes(pipe.written))
    assert listener.taken == []
    assert other.closed


async def test_an_improper_message_ends_the_line() -> None:
    caller, _, pipe = side(caller=True)
    for message in (b"improper", b"behind it"):
        caller.send(message)
    answerer, listener, other = side(caller=False)
    answerer.data_received(bytes(pipe.written))
    assert (listener.taken, listener.ends, other.closed) == ([], 1, True)


async def test_a_large_message_is_proved_as_it_comes() -> None:
    """In one piece it would hold up all else that the main does, its keep-alives among that."""
    (here, _, pipe), (there, listener, _) = side(caller=True), side(caller=False)
    here.send(b"first")
    here.send(bytes(3000))
    content = bytes(pipe.written)
    there.data_received(content[:1000])
    assert there._digested == 1000 - 2 * 20 - len(b"first")
    there.data_received(content[1000:2000])
    assert there._digested == 2000 - 2 * 20 - len(b"first")
    there.data_received(content[2000:])
    assert (listener.taken, there._digested) == ([b"first", bytes(3000)], 0)


async def test_a_line_that_has_ended_sends_and_takes_nothing() -> None:
    wire, listener, pipe = side(caller=True)
    wire.connection_lost(None)
    wire.close()
    wire.send(b"late")
    wire.data_received(b"late")
    assert (bytes(pipe.written), listener.taken, listener.ends) == (b"", [], 1)
    await wire.ended.wait()


async def test_who_does_not_read_loses_the_line() -> None:
    wire, _, pipe = side(caller=True)
    pipe.unsent = 1 << 30
    wire.send(b"one more")
    assert pipe.aborted


async def test_a_pair_within_a_process() -> None:
    one, other = Listener(), Listener()
    pair(one, other)
    assert one.line is not None
    assert other.line is not None
    one.line.send(b"to the other")
    other.line.send(b"to the one")
    assert (one.taken, other.taken) == ([], [])
    await asyncio.sleep(0)
    assert (one.taken, other.taken) == ([b"to the one"], [b"to the other"])
    one.line.send(b"improper")
    one.line.send(b"behind it")
    await asyncio.sleep(0)
    assert (one.ends, other.ends, other.taken) == (1, 1, [b"to the other"])
    other.line.close()
    other.line.send(b"late")
    assert (one.ends, other.ends) == (1, 1)
