"""How a worker opens its line to the main, and what the main's link port asks of it, on real sockets."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from hanas_core.members.documents import LOG, Presence
from hanas_serving.admission import Admission
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.http1 import Connection
from hanas_serving.limits import Limits
from hanas_serving.lines import Line, Receiver
from hanas_serving.problems import Problem
from hanas_serving.runtime import Agree
from hanas_serving.server import HttpEndpoint, bind
from hanas_worker.log.desk import Desk
from hanas_worker.neighbours import forwarding
from hanas_worker.neighbours.authenticity import Verifier, mac
from hanas_worker.neighbours.forwarding import ForwardingLine
from hanas_worker.neighbours.keepalives import LinkEndpoint, Visit
from hanas_worker.neighbours.outbound import HttpOutbound
from hanas_worker.node import Node
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.office import REST, Calls
from tests.unit.worker.ports import free_port
from tests.unit.worker.stage import started

SECRET = "s" * 32
KEY = "5" * 32
NONCE = "9" * 32


def unexpected() -> None:
    pytest.fail("the main takes lines")


class Recording:
    """A receiver that writes down what it gets."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.taken: list[bytes] = []
        self.ended = 0

    def opened(self, line: Line) -> None:
        self.lines.append(line)

    def take(self, message: bytes) -> None:
        self.taken.append(message)

    def closed(self) -> None:
        self.ended += 1


@asynccontextmanager
async def port(visit: Visit) -> AsyncIterator[str]:
    """The link port of a main; yields its address."""
    link, number = LinkEndpoint(Callers((SECRET,)), Gate()), free_port()
    link.join("f" * 32, Verifier(KEY, 1.0, asyncio.get_running_loop().time), lambda _, __: (), visit)
    endpoint = HttpEndpoint(link, bind(number, "LINK_PORT"), admission=Admission[Connection](Limits()))
    await endpoint.start()
    try:
        yield f"http://localhost:{number}"
    finally:
        await endpoint.stop()


@pytest.fixture
async def line() -> AsyncIterator[ForwardingLine]:
    outbound = HttpOutbound("b", (SECRET,))
    line = ForwardingLine(outbound, "b", lambda: NONCE, AMPLE_SECONDS)
    yield line
    line.let_go()
    await outbound.close()


async def test_a_line_carries_messages_both_ways_and_is_opened_again_when_it_ends(line: ForwardingLine) -> None:
    main, backup, members = Recording(), Recording(), list[str]()

    def visit(member: str) -> Receiver:
        members.append(member)
        return main

    async with port(visit) as url:
        keeping = line.keep(url, lambda: KEY, backup, unexpected)
        for count in (1, 2):
            await until(lambda: len(backup.lines) == count)  # noqa: B023
            backup.lines[-1].send(b"question")
            await until(lambda: len(main.taken) == count)  # noqa: B023
            main.lines[-1].send(b"answer")
            await until(lambda: len(backup.taken) == count)  # noqa: B023
            main.lines[-1].close()
            await until(lambda: backup.ended == count)  # noqa: B023
        await until(lambda: len(backup.lines) == 3)
        line.let_go()
        await until(lambda: main.ended == 3)
    assert (members, main.taken, backup.taken) == (3 * ["b"], 2 * [b"question"], 2 * [b"answer"])
    assert keeping.cancelled()


async def test_it_waits_until_the_key_is_known(line: ForwardingLine) -> None:
    backup, keys = Recording(), [KEY, None, None]
    async with port(lambda _: Recording()) as url:
        keeping = line.keep(url, lambda: keys.pop() if len(keys) > 1 else KEY, backup, unexpected)
        await until(lambda: len(backup.lines) == 1)
    assert (keys, keeping.done()) == ([KEY], False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="no proof"),
        pytest.param({"HANas-Mac": mac("6" * 32, "forward", f"b {NONCE}".encode())}, 401, id="of another key"),
        pytest.param({"HANas-Mac": mac(KEY, "lifeline", f"b {NONCE}".encode())}, 401, id="about something else"),
        pytest.param({"HANas-Mac": mac(KEY, "forward", f"c {NONCE}".encode())}, 401, id="of another member"),
        pytest.param({"HANas-Mac": mac(KEY, "forward", f"b {NONCE}".encode())}, 409, id="not the main"),
        pytest.param({"Authorization": "Bearer of-a-client"}, 401, id="a client"),
    ],
)
async def test_who_may_open_one(headers: dict[str, str], status: int) -> None:
    asking = {"HANas-Member": "b", "HANas-Nonce": NONCE, "Authorization": f"Bearer {SECRET}"}
    async with port(lambda _: None) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url + forwarding.PATH, headers=asking | headers)
    assert (answer.status_code, answer.headers["connection"]) == (status, "close")


async def test_who_is_not_the_main_cannot_answer_for_it(line: ForwardingLine, caplog: pytest.LogCaptureFixture) -> None:
    """It has taken over the main's address, and cannot read the folder."""
    backup, asked = Recording(), list[str]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        proof = mac("6" * 32, "forwarding", forwarding.about("b", NONCE, NONCE))
        head = f"HTTP/1.1 101 Switching Protocols\r\nHANas-Nonce: {NONCE}\r\nHANas-Mac: {proof}\r\n\r\n"
        writer.write(head.encode())
        writer.close()

    caplog.set_level(logging.WARNING)
    number = free_port()
    async with await asyncio.start_server(accept, "127.0.0.1", number):
        keeping = line.keep(f"http://127.0.0.1:{number}", lambda: KEY, backup, unexpected)
        await until(lambda: "the answer is not that of the main" in caplog.text)
    assert (backup.lines, keeping.done()) == ([], False)
    assert len(caplog.messages) == 1, "not with each try, and not for a takeover"
    assert KEY not in "".join(asked)


@pytest.mark.parametrize("status", [404, 503])
async def test_a_main_that_takes_no_lines_is_told_of(
    line: ForwardingLine, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.WARNING)
    declined = list[int]()

    def refuse(_: str) -> None:
        raise Problem(status, "this worker, or another member, runs a version that does not know forwarding")

    async with port(refuse) as url:
        keeping = line.keep(url, lambda: KEY, Recording(), lambda: declined.append(1))
        await until(lambda: bool(caplog.messages))
    [message] = caplog.messages
    assert (keeping.done(), len(declined) >= 4) == (False, True)
    assert url in message
    assert str(status) in message


async def test_who_is_not_the_main_yet_declines_nothing(line: ForwardingLine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with port(lambda _: None) as url:
        keeping = line.keep(url, lambda: KEY, Recording(), unexpected)
        await until(lambda: bool(caplog.messages))
    assert "409" in caplog.text
    assert not keeping.done()


async def test_a_main_takes_no_line_while_a_member_lives_that_could_not_read_its_log() -> None:
    main = serve(bare_folder(), 1)
    node = backup_of(main, main.folder.other())
    assert node.visit("c") is None, "it is not the main"
    stage = await started()
    node.logs[LOG].state.desk = Desk(stage.service, 1, Calls(), REST)
    assert node.visit("c") is not None
    _lives(node, sessions=True)
    assert node.visit("c") is not None
    _lives(node, sessions=False)
    with pytest.raises(Problem, match="d runs a version") as refusal:
        node.visit("c")
    assert refusal.value.status == 503
    stage.service.end("the test is over")


def _lives(node: Node, *, sessions: bool) -> None:
    other = Presence(
        member="d", incarnation="d" * 32, counter=1, advertise_url="", link_url="", logs=(), sessions=sessions
    )
    node.host.others = lambda: [other]  # type: ignore[method-assign]


async def test_each_try_that_fails_gives_the_next_one_more_time() -> None:
    """A main whose machine has too much to do would else get no handshake done, and have ever more to begin."""
    timeouts: list[float] = []

    class Busy(HttpOutbound):
        async def line(
            self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float
        ) -> None:
            timeouts.append(timeout)
            raise TimeoutError

    outbound = Busy("b", (SECRET,))
    line = ForwardingLine(outbound, "b", lambda: NONCE, 0.5)
    task = line.keep("http://main", lambda: KEY, Recording(), unexpected)
    await until(lambda: len(timeouts) == 7)
    line.let_go()
    await asyncio.wait([task])
    await outbound.close()
    assert timeouts == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


async def test_a_link_that_drops_everything_is_tried_anew_soon() -> None:
    """Whatever an answer may take: the packets of a try that began in a cut come ever more rarely."""
    outbound = HttpOutbound("b", (SECRET,))
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # one more than listen(0) takes: the kernel drops what asks for a connection then
            ahead = waiting.enter_context(socket.socket())
            ahead.setblocking(False)
            ahead.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with asyncio.timeout(AMPLE_SECONDS):
            with pytest.raises(TimeoutError):
                await outbound.line(url, 10 * AMPLE_SECONDS, {}, lambda _, __: pytest.fail("nobody"), connect=0.1)
    await outbound.close()
