"""Keep-alives over the link, each on a new connection: an established one survives many network policies."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from hanas_serving import principals
from hanas_serving.answers import Answer, Disconnected, body_of, send_answer
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_serving.runtime import Outbound
from hanas_worker.log.news import LogNews

PATH = "/v1/keepalive"
LIFELINE_PATH = "/v1/lifeline"
"""For the idle connection of `hanas_worker.neighbours.lifeline`."""
_MOST_BYTES = 4096
_MOST_PENDING = 4
"""Keep-alives under way to one peer that lives or answers."""
_MOST_SURE = 256
"""... and to all of them together, unless there are more of them."""
_MOST_DOUBTFUL = 16
"""Keep-alives under way to all other peers together."""
_LONGEST_PAUSE_SECONDS = 4.0

Epochs = tuple[int, ...]


class KeepAlive(msgspec.Struct, frozen=True, rename="camel"):
    """What a member that is the main (or main-elect) of logs tells every other one."""

    member: str
    incarnation: str
    folder_id: str
    logs: tuple[LogNews, ...]


class KeepAliveAnswer(msgspec.Struct, frozen=True):
    """The answer: for each of these logs the highest epoch that the receiver knows, 0 for a log that it does not."""

    epochs: Epochs


class LinkEndpoint:
    """The ASGI application on the link port."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        """Take no keep-alive until `join` is called."""
        self._secrets = secrets
        self._folder_id: str | None = None
        self._hear: Callable[[KeepAlive], Epochs] = lambda _: ()
        self._decode = msgspec.json.Decoder(KeepAlive).decode

    def join(self, folder_id: str, hear: Callable[[KeepAlive], Epochs]) -> None:
        """Hand every keep-alive of this folder to ``hear``, which returns the highest epochs known here."""
        self._folder_id, self._hear = folder_id, hear

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            with contextlib.suppress(Disconnected):
                try:
                    answer = await self._answer(scope, receive)
                except Problem as problem:
                    answer = problem.answer()
                await send_answer(answer, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        call = scope["method"], scope["path"]
        if call not in {("POST", PATH), ("GET", LIFELINE_PATH)}:
            raise Problem(404, "the link port is for the other workers; clients use the other port")
        principal = principals.identify(dict(scope["headers"]).get(b"authorization"), self._secrets)
        if not principals.may(principal, Action.OPERATE):
            raise Problem(401, "the components' secret is missing or wrong: give all of them one HANAS_SECRET_FILE")
        if call == ("GET", LIFELINE_PATH):
            return Answer(204, b"")
        too_large = Problem(413, f"a keep-alive has at most {_MOST_BYTES} bytes")
        try:
            keepalive = self._decode(await body_of(receive, _MOST_BYTES, lambda size: too_large))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f"this is no keep-alive: {error}") from None
        if keepalive.folder_id != (own := self._folder_id):
            raise Problem(409, f"the folder here is {own}, not {keepalive.folder_id}: mount the same volume")
        content = msgspec.json.encode(KeepAliveAnswer(self._hear(keepalive)))
        return Answer(200, b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content), content)


class _Peer:
    """Where keep-alives are sent to."""

    def __init__(self) -> None:
        self.pending: set[asyncio.Task[None]] = set()
        self.answers = False
        """The last keep-alive was answered."""
        self.pause = 0.0
        """Seconds before the next one while it does not answer."""
        self.next_at = 0.0


class Sender:
    """Sends keep-alives to peers, and never waits for one that failed.

    Who is alive, or answers, gets each of them. Who does not, and is not seen to live, gets them at intervals that
    double: most of those are processes that died, and hundreds of them would take the main's time.
    """

    def __init__(
        self, outbound: Outbound, timeout: float, interval: float, answered: Callable[[KeepAlive, Epochs], None]
    ) -> None:
        """``timeout``: seconds after which a keep-alive is lost; ``interval``: the shortest back-off, seconds.

        ``answered`` gets the epochs, none of a lost one. Needs a running event loop.
        """
        self._clock = asyncio.get_running_loop().time
        self._outbound = outbound
        self._timeout = timeout
        self._interval = interval
        self._answered = answered
        self._peers: dict[str, _Peer] = {}

    def send(self, keepalive: KeepAlive, urls: Mapping[str, bool]) -> None:
        """Send to the link URLs of peers, each with whether a member there is alive."""
        now, body = self._clock(), msgspec.json.encode(keepalive)
        soon = now + self._interval / 2
        for url in [url for url, peer in self._peers.items() if url not in urls and not peer.pending]:
            del self._peers[url]
        peers = {url: self._peers.setdefault(url, _Peer()) for url in urls}
        sure = [url for url, peer in peers.items() if urls[url] or peer.answers]
        most = max(1, min(_MOST_PENDING, _MOST_SURE // max(1, len(sure))))
        for url in sure:
            peer = peers[url]
            peer.pause = 0.0
            if len(peer.pending) < most:
                self._start(peer, url, keepalive, body)
        doubtful = [url for url in peers if url not in set(sure)]
        room = _MOST_DOUBTFUL - sum(len(peers[url].pending) for url in doubtful)
        due = [url for url in doubtful if peers[url].next_at <= soon and not peers[url].pending]
        for url in sorted(due, key=lambda url: peers[url].next_at)[: max(0, room)]:
            peer = peers[url]
            peer.pause = min(2 * peer.pause or self._interval, _LONGEST_PAUSE_SECONDS)
            peer.next_at = now + peer.pause
            self._start(peer, url, keepalive, body)

    def _start(self, peer: _Peer, url: str, keepalive: KeepAlive, body: bytes) -> None:
        task = asyncio.create_task(self._send(peer, url, keepalive, body))
        peer.pending.add(task)
        task.add_done_callback(peer.pending.discard)

    async def _send(self, peer: _Peer, url: str, keepalive: KeepAlive, body: bytes) -> None:
        epochs: Epochs = ()
        with contextlib.suppress(msgspec.DecodeError, OSError):
            status, answer = await self._outbound.post(url + PATH, body, self._timeout)
            if status == 200:
                epochs = msgspec.json.decode(answer, type=KeepAliveAnswer).epochs
        peer.answers = bool(epochs)
        self._answered(keepalive, epochs)

    def close(self) -> None:
        """Cancel what is pending."""
        for task in [task for peer in self._peers.values() for task in peer.pending]:
            task.cancel()
