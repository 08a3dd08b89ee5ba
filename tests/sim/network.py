"""The simulated network: requests and answers that are cut off, lost, late, or delivered after the time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from hanas_serving.lines import Wire
from hanas_serving.runtime import Agree
from tests.sim.attacker import Attacker, Seen
from tests.sim.downloads import Download
from tests.sim.lines import SimulatedTransport, connect
from tests.sim.world import ProcessLoop, World


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Refused(OSError):
    """No process listens there: the request was not delivered."""


HandOver = Callable[[bytes, Wire], None]
_RESTS_ON_A_CHECK = frozenset({200, 404})
_CONNECT_SECONDS = 0.5
_IDLE_SECONDS = 30.0
"""Mean time until the network drops an idle connection, seconds."""


class Host(Protocol):
    """Something that answers requests."""

    loop: ProcessLoop

    async def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer: ...


class StreamHost(Host, Protocol):
    """Something that answers in parts."""

    async def stream(self, target: str, headers: dict[str, str], download: Download) -> None: ...


class LineHost(Host, Protocol):
    """Something that lines can be opened to."""

    async def open_line(self, target: str, headers: dict[str, str]) -> tuple[Answer, Wire | None]: ...


class Network:
    """The network between all processes, by name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hosts: dict[str, Host] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.delay = 0.0
        self.lost = 0
        self.attacker = Attacker(world, self._inject)
        self.silent_since: dict[str, float] = {}
        """When each incarnation that says nothing any more died or was paused."""
        self._connections: list[tuple[str, ProcessLoop, asyncio.Future[None]]] = []
        """Idle connections: target, origin, and the callback for the close."""
        self._sides: list[SimulatedTransport] = []
        """One side of each line."""
        self._downloads: list[Download] = []
        self.shown = 0
        """The highest revision that anybody was told."""
        self.answered: Callable[[int], None] = lambda _: None
        """Is called with each revision that a process tells in an answer."""

    def heal(self) -> None:
        self.cuts.clear()
        self.loss = self.delay = 0.0
        self.attacker.end()

    def cut(self, origin: str, targets: Iterable[str], *, both_ways: bool) -> None:
        for target in targets:
            self.cuts.add((origin, target))
            if both_ways:
                self.cuts.add((target, origin))

    async def request(
        self,
        origin: ProcessLoop,
        method: str,
        url: str,
        body: bytes,
        timeout: float,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Return the answer. Raises Refused, ConnectionResetError, TimeoutError."""
        parts = urlsplit(url)
        waiting: asyncio.Future[Answer] = origin.create_future()
        target = parts.hostname or ""
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        held = self.attacker.sees(target, path, headers or {}, body)
        if self._passes(origin.name, target) and not (
            (target, origin.name) in self.cuts and self.world.chance(0.5)  # no connection without a reply
        ):
            self.world.after(
                self._latency() + held,
                lambda: self._deliver(origin, target, method, path, headers or {}, body, waiting),
            )
        shown = self.shown
        async with asyncio.timeout(timeout):
            answer = await waiting
        checked = method == "GET" and answer.status in _RESTS_ON_A_CHECK and "stale" not in parts.query
        if checked and 0 < (told := _revision_of(answer)) < shown:
            self.world.accuse(f"{target} answers as of revision {told}, asked after {shown} was told: {url}")
        return answer

    async def download(
        self, origin: ProcessLoop, url: str, timeout: float, headers: dict[str, str] | None = None
    ) -> Download:
        """Return an answer that comes in parts, when it begins. Raises Refused, ConnectionResetError, TimeoutError."""
        parts = urlsplit(url)
        target = parts.hostname or ""
        await asyncio.sleep(self._latency())
        host = self.hosts.get(target)
        reachable = self._passes(origin.name, target) and self._passes(target, origin.name)
        if not reachable or host is None or not host.loop.alive:
            raise Refused(f"no connection to {target}")
        download = Download(self.world, origin, host.loop, self._passes, self._latency)
        self._downloads.append(download)
        streaming = cast("StreamHost", host).stream(f"{parts.path}?{parts.query}", headers or {}, download)
        host.loop.spawn(streaming).add_done_callback(_look_at)
        try:
            async with asyncio.timeout(timeout):
                await download.begun()
        except TimeoutError:
            download.close()
            raise
        if not download.status:
            raise ConnectionResetError
        return download

    async def connect(self, origin: ProcessLoop, url: str) -> None:
        """Hold an idle connection until it is closed. Raises Refused."""
        target = urlsplit(url).hostname or ""
        await asyncio.sleep(self._latency())
        host = self.hosts.get(target)
        reachable = self._passes(origin.name, target) and self._passes(target, origin.name)
        if not reachable or host is None or not host.loop.alive:
            raise Refused(f"no connection to {target}")
        closed: asyncio.Future[None] = origin.create_future()
        self._connections.append((target, origin, closed))
        self.world.after(self.world.random.expovariate(1 / _IDLE_SECONDS), lambda: self._close(origin, closed))
        await closed

    async def line(self, origin: ProcessLoop, url: str, headers: dict[str, str], agree: Agree) -> None:
        """Open a line and return when it has ended. Raises Refused."""
        parts = urlsplit(url)
        target = parts.hostname or ""
        await asyncio.sleep(self._latency())
        host = self.hosts.get(target)
        reachable = self._passes(origin.name, target) and self._passes(target, origin.name)
        if not reachable or host is None or not host.loop.alive:
            raise Refused(f"no connection to {target}")
        asked = cast("LineHost", host)  # workers speak over lines to workers only
        answered: asyncio.Future[tuple[Answer, Wire | None]] = origin.create_future()
        loop = host.loop

        def settle(answer: tuple[Answer, Wire | None]) -> None:
            if not answered.done():
                answered.set_result(answer)

        async def respond() -> None:
            answer = await asked.open_line(parts.path, headers)
            if origin.alive and self._passes(target, origin.name):
                origin.call_soon(settle, answer)

        loop.spawn(respond()).add_done_callback(_look_at)
        async with asyncio.timeout(_CONNECT_SECONDS):
            answer, wire = await answered
        if wire is None:
            raise Refused(f"{target} answers {answer.status}")
        own = Wire(*agree(answer.headers["hanas-nonce"], answer.headers["hanas-mac"]))
        here, there = connect(self.world, origin, loop, self._passes, self._latency)
        self._sides.append(here)
        here.wire, there.wire = own, wire
        if loop.alive:
            loop.call_soon(wire.connection_made, there)
        own.connection_made(here)
        try:
            await own.ended.wait()
        finally:
            own.close()

    def hang_up(self, name: str) -> None:
        """Close the connections of a process that died, as its kernel does, where the network reaches the peers."""
        self.hang_up_lines(name)
        for target, origin, closed in self._connections:
            if target == name and (name, origin.name) not in self.cuts:
                self.world.after(self._latency(), lambda origin=origin, closed=closed: self._close(origin, closed))  # type: ignore[misc]  # B023
        self._connections = [each for each in self._connections if each[0] != name]
        for download in self._downloads:
            if download.server.name == name:
                download.hang_up()
        self._downloads = [each for each in self._downloads if each.server.alive and not each.ended]

    def hang_up_lines(self, name: str) -> None:
        """Lose the lines of a process, both sides."""
        for side in self._sides:
            for one in (side, side.other):
                if one.loop.name == name:
                    one.hang_up()
                    one.lost = True
                    self.world.after(self._latency(), one.other.hang_up)
        self._sides = [side for side in self._sides if not (side.lost or side.other.lost)]

    @staticmethod
    def _close(origin: ProcessLoop, closed: asyncio.Future[None]) -> None:
        if origin.alive:
            origin.call_soon(lambda: None if closed.done() else closed.set_result(None))

    def _passes(self, origin: str, target: str) -> bool:
        if (origin, target) in self.cuts or (self.loss and self.world.chance(self.loss)):
            self.lost += 1
            return False
        return True

    def _latency(self) -> float:
        chance = self.world.random
        late = chance.uniform(0, self.delay) if self.delay else 0.0
        return chance.uniform(0.0001, 0.001) + late

    def _deliver(
        self,
        origin: ProcessLoop,
        target: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        waiting: asyncio.Future[Answer],
    ) -> None:
        host = self.hosts.get(target)
        if host is None or not host.loop.alive:
            self._back(origin, waiting, Refused(f"connection refused by {target}"))
            return
        loop = host.loop

        async def respond() -> None:
            answer = await host.handle(method, path, headers, body)
            self.answered(_revision_of(answer))
            if self._passes(target, origin.name):
                self.world.after(self._latency(), lambda: self._back(origin, waiting, answer))

        task = loop.spawn(respond())
        task.add_done_callback(_look_at)

    def _inject(self, seen: Seen) -> None:
        """Deliver what an attacker sends; nobody waits for the answer."""
        host = self.hosts.get(seen.target)
        if host is not None and host.loop.alive:
            task = host.loop.spawn(host.handle("POST", "/v1/keepalive", seen.headers, seen.body))
            task.add_done_callback(_look_at)

    def _back(self, origin: ProcessLoop, waiting: asyncio.Future[Answer], answer: Answer | Exception) -> None:
        def settle() -> None:
            if waiting.done():
                return
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                self.shown = max(self.shown, _revision_of(answer))
                waiting.set_result(answer)

        if origin.alive:
            origin.call_soon(settle)


class SimulatedOutbound:
    """HTTP from one process to the others; implements `hanas_serving.runtime.Outbound`."""

    def __init__(self, network: Network, origin: ProcessLoop) -> None:
        self._network = network
        self._origin = origin

    async def post(
        self, url: str, body: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        lower = {"content-type": "application/json", **{name.lower(): value for name, value in (headers or {}).items()}}
        answer = await self._network.request(self._origin, "POST", url, body, timeout, lower)
        return answer.status, answer.body

    async def until_closed(self, url: str, timeout: float, headers: Mapping[str, str]) -> None:
        del timeout, headers  # a connection succeeds at once, or not at all
        await self._network.connect(self._origin, url)

    async def line(self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float) -> None:
        del timeout, connect
        lower = {name.lower(): value for name, value in headers.items()}
        await self._network.line(self._origin, url, {"hanas-member": self._origin.name, **lower}, agree)


def _revision_of(answer: Answer) -> int:
    return int(answer.headers.get("hanas-revision", 0))


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.result()


async def ask(
    app: Any, method: str, target: str, headers: dict[str, str], body: bytes, hand_over: HandOver | None = None
) -> Answer:
    """Hand one request to an ASGI application and return its whole answer."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "hand_over": hand_over,
    }
    status = 0
    sent: dict[str, str] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, sent
        if message["type"] == "http.response.start":
            status = message["status"]
            sent = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status, sent, b"".join(parts))
