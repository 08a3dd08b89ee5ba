"""Keep-alives over the link, each on a fresh connection: an established one outlives many a network policy."""

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
import msgspec
from starlette.types import Receive, Scope, Send

from hanas_serving import access
from hanas_serving.problems import CONTENT_TYPE, document
from hanas_worker.log.news import LogNews
from hanas_worker.neighbours.addresses import LastKnown

MEMBER_HEADER = "HANas-Member"
PATH = "/v1/keepalive"
LIFELINE_PATH = "/v1/lifeline"
"""For the idle connection of `hanas_worker.neighbours.lifeline`."""
_MOST_BYTES = 4096
_MOST_PENDING = 4

Epochs = tuple[int, ...]
Delivered = Callable[[str, Epochs | None], None]


class KeepAlive(msgspec.Struct, frozen=True, rename="camel"):
    """What a member that is the main (or main-elect) of logs tells every other one."""

    member: str
    incarnation: str
    folder_id: str
    logs: tuple[LogNews, ...]


class Heard(msgspec.Struct, frozen=True):
    """The answer: for each of these logs the highest epoch that the receiver knows, 0 for a log that it does not."""

    epochs: Epochs


class LinkEndpoint:
    """The ASGI application on the link port."""

    def __init__(
        self, secrets: tuple[str, ...], folder_id: Callable[[], str | None], hear: Callable[[KeepAlive], Epochs]
    ) -> None:
        """Hand every keep-alive of this folder to ``hear``, which returns the highest epochs known here."""
        self._secrets = secrets
        self._folder_id = folder_id
        self._hear = hear
        self._decode = msgspec.json.Decoder(KeepAlive).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            status, body = await self._answer(scope, receive)
            kind = b"application/json" if status == 200 else CONTENT_TYPE.encode()
            headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())] if body else []
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked = scope["method"], scope["path"]
        if asked not in {("POST", PATH), ("GET", LIFELINE_PATH)}:
            return 404, document(404, "the link port is for the other workers; clients use the other port")
        if not access.allowed(dict(scope["headers"]).get(b"authorization"), self._secrets):
            return 401, document(
                401, "the components' secret is missing or wrong: give all of them one HANAS_SECRET_FILE"
            )
        if asked == ("GET", LIFELINE_PATH):
            return 204, b""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > _MOST_BYTES:
                return 413, document(413, f"a keep-alive has at most {_MOST_BYTES} bytes")
            if not message.get("more_body", False):
                break
        try:
            keepalive = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return 400, document(400, f"this is no keep-alive: {error}")
        mine = self._folder_id()
        if keepalive.folder_id != mine:
            return 409, document(409, f"the folder here is {mine}, not {keepalive.folder_id}: mount the same volume")
        return 200, msgspec.json.encode(Heard(self._hear(keepalive)))


class Sender:
    """Sends keep-alives to one set of peers after the other, without ever waiting for a dead one."""

    def __init__(self, member: str, secrets: tuple[str, ...], timeout: float) -> None:
        """``timeout``: seconds after which a keep-alive counts as lost."""
        self._headers = {MEMBER_HEADER: member, "Content-Type": "application/json", **access.bearer(secrets)}
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._pending: dict[str, set[asyncio.Task[None]]] = {}
        self._resolver: LastKnown | None = None
        self._session: aiohttp.ClientSession | None = None

    def send(self, keepalive: KeepAlive, peers: dict[str, str], delivered: Delivered) -> None:
        """Send to ``peers`` (member to link URL); ``delivered`` is told each peer and its epochs, None if lost."""
        body = msgspec.json.encode(keepalive)
        for peer, url in peers.items():
            pending = self._pending.setdefault(peer, set())
            if len(pending) < _MOST_PENDING:
                task = asyncio.create_task(self._send(peer, url, body, delivered))
                pending.add(task)
                task.add_done_callback(pending.discard)

    async def _send(self, peer: str, url: str, body: bytes, delivered: Delivered) -> None:
        epochs = None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, msgspec.DecodeError, OSError):
            status, answer = await self._post(url + PATH, body)
            if status == 200:
                epochs = msgspec.json.decode(answer, type=Heard).epochs
        delivered(peer, epochs)

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises aiohttp.ClientError, TimeoutError, OSError."""
        async with self._open().post(url, data=body, headers=self._headers) as response:
            return response.status, await response.read()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = LastKnown(aiohttp.ThreadedResolver())
            connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False, resolver=self._resolver)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def close(self) -> None:
        """Give up what is pending."""
        for task in [task for tasks in self._pending.values() for task in tasks]:
            task.cancel()
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()
