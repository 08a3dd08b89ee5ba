"""Many connections of one hostile client, in a process of its own: python -m tests.attacks.flood URL ATTACK COUNT.

It goes on until its standard input ends. Then it prints how many of its connections got which status, as JSON.
"""

import asyncio
import json
import resource
import socket
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

VALUE_BYTES = 8 << 20
KEYS = 12
"""Large values, more than fit into the cache."""
LARGE_TRANSACTION = 7 << 20
"""What the values of a large transaction take together, bytes."""
_PIECE = bytes(1 << 20)


class Client:
    """One connection, which reads only when it is told to."""

    def __init__(self, host: str, port: int, number: int) -> None:
        self.number = number
        self._address = host, port
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        await self._loop.sock_connect(self._socket, self._address)

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self._loop.sock_sendall(self._socket, part)

    async def receive(self, size: int) -> bytes:
        return await self._loop.sock_recv(self._socket, size)

    async def ask(self, request: bytes) -> str:
        """Send a request and return the status of its answer, which is small."""
        await self.send(request)
        return await self.status()

    async def status(self) -> str:
        """Return the status of the first answer."""
        answer = await self._loop.sock_recv(self._socket, 1000)
        return answer.split(b" ")[1].decode() if answer else "none"


def _put(length: bytes) -> bytes:
    return b"PUT /v1/kv/flood HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n"


async def withheld(client: Client) -> str:
    """All of a large value but its last byte."""
    await client.send(_put(b"Content-Length: %d" % VALUE_BYTES), *[_PIECE] * 7, _PIECE[:-1])
    return await client.status()


async def endless(client: Client) -> str:
    """Far more than is allowed, in chunks."""
    chunk = b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE)

    async def send() -> None:
        await client.send(_put(b"Transfer-Encoding: chunked"), *[chunk] * 64)

    sending = asyncio.create_task(send())
    status = await client.status()
    await asyncio.gather(sending, return_exceptions=True)
    return status


async def _unread(client: Client, target: str, times: int = 1) -> str:
    """Ask, and read nothing."""
    await client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * times)
    await asyncio.Event().wait()
    return ""


async def unread(client: Client) -> str:
    """Large values that are not read."""
    return await _unread(client, f"/v1/kv/large-{client.number % KEYS}")


async def pipelined(client: Client) -> str:
    """Many large values on each connection."""
    return await _unread(client, f"/v1/kv/large-{client.number % KEYS}", 3000)


async def stale(client: Client) -> str:
    """Large values from whoever has them."""
    return await _unread(client, f"/v1/kv/large-{client.number % KEYS}?consistency=stale")


async def lists(client: Client) -> str:
    """Large lists."""
    return await _unread(client, "/v1/kv?limit=1000&prefix=long", 300)


async def events(client: Client) -> str:
    """Streams of events."""
    return await _unread(client, "/v1/events")


async def unread_watches(client: Client) -> str:
    """Streams of changes that are not read."""
    return await _unread(client, "/v1/watch")


async def slow_watches(client: Client) -> str:
    """Streams of changes that are read a few bytes at a time."""
    await client.send(b"GET /v1/watch?prev=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    while True:
        await client.receive(64)
        await asyncio.sleep(1.0)


def _post(path: bytes, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


async def grants(client: Client) -> str:
    """Leases, one after the other, until there can be no more."""
    request = _post(b"/v1/leases", b'{"ttl":3600}')
    while (status := await client.ask(request)) == "201":
        pass
    return status


async def keepalives(client: Client) -> str:
    """Renewals of a lease, many at once and without end."""
    granted = await client.ask(_post(b"/v1/leases", b'{"ttl":3600,"id":%d}' % (client.number + 1)))
    while granted in {"201", "409"}:
        await client.send(_post(b"/v1/leases/%d/keepalive" % (client.number + 1), b"") * 200)
        await client.receive(1 << 20)
    return granted


async def transactions(client: Client) -> str:
    """Transactions with as many operations and bytes as one may have."""
    value = b"v" * (LARGE_TRANSACTION // 128)
    puts = (b'{"put":{"key":"txn/%d/%d","text":"%b"}}' % (client.number % 4, number, value) for number in range(128))
    request = _post(b"/v1/txn", b'{"then":[%b]}' % b",".join(puts))
    before, status = "", "200"
    while status in {"200", "503"}:
        before, status = status, await client.ask(request)
    return before if status == "none" else status  # a connection may end behind a refusal


async def _attack(attack: str, client: Client) -> str:
    await client.connect()
    return await ATTACKS[attack](client)


ATTACKS: dict[str, Callable[[Client], Awaitable[str]]] = {
    attack.__name__: attack
    for attack in (
        *(withheld, endless, unread, pipelined, stale, lists, events),
        *(unread_watches, slow_watches, grants, keepalives, transactions),
    )
}


async def main(url: str, attack: str, count: int) -> None:
    """Attack until the standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts, loop, told = urlsplit(url), asyncio.get_running_loop(), asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(told.set)), daemon=True).start()
    clients = [Client(parts.hostname or "", parts.port or 80, number) for number in range(count)]
    tasks = [asyncio.ensure_future(_attack(attack, client)) for client in clients]
    await told.wait()
    ended = [task for task in tasks if task.done()]
    statuses = Counter("broken" if task.exception() else task.result() for task in ended)
    sys.stdout.write(json.dumps(statuses))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
