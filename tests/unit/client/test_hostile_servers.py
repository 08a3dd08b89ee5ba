"""Servers that are broken or hostile: one clear line, in bounded time and memory."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from hanas_client import cli, transport
from hanas_client.asynchronous import AsyncClient
from hanas_client.errors import Unavailable
from hanas_client.settings import Policy

HEAD = b'HTTP/1.1 200 OK\r\nETag: "1-1"\r\nContent-Type: application/json\r\n'
Behaviour = Callable[[socket.socket], None]


def endless_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def drops(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def endless_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n" * 1000)


def circle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 307 X\r\nLocation: /v1/kv/a\r\nContent-Length: 0\r\n\r\n")


def local_file(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 307 X\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff\x1b[2J\r\n\r\n")


def deep_document(connection: socket.socket) -> None:
    document = b"[" * 100_000
    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(document) + document)


def long_wait(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The URL of a server that behaves like this."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            behaviour(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "behaviour", [endless_body, drops, endless_head, circle, local_file, garbage, deep_document, long_wait]
)
@pytest.mark.parametrize("command", ["get", "status"])
@pytest.mark.long
def test_one_line_in_bounded_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, command: str
) -> None:
    monkeypatch.setattr(transport, "MOST_ANSWER_BYTES", 1 << 20)
    began = time.monotonic()
    with serving(behaviour) as url:
        server = ["get", "a", "--server", url] if command == "get" else ["status", "--overseer", url]
        assert cli.main([*server, "--timeout", "1"]) == 1 or (behaviour, command) == (deep_document, "get")
    assert time.monotonic() - began < 10
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == int((behaviour, command) != (deep_document, "get"))
    assert "\x1b" not in said.err


async def test_a_body_that_drops_ends_with_the_time_limit() -> None:
    with serving(drops) as url:
        began = time.monotonic()
        async with AsyncClient("", url, policy=Policy(deadline=1.0)) as client:
            with pytest.raises(Unavailable):
                await client.get("a")
        assert time.monotonic() - began < 10
