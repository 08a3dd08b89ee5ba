"""Keep-alives over the link, each on a new connection: an established one survives many network policies.

A receiver believes only what proves that a member of its folder made it, and made it just now
(`hanas_worker.neighbours.authenticity`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from hanas_core.volume import names
from hanas_core.volume.blocks import UNREADABLE
from hanas_serving.answers import Answer, Disconnected, body_of, send_answer
from hanas_serving.callers import Callers
from hanas_serving.fields import require_json, require_no_query
from hanas_serving.gate import Gate, caller_of, require_name
from hanas_serving.lines import Receiver, Wire
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_serving.runtime import Outbound
from hanas_worker.host.peers import LinkPeer
from hanas_worker.log.news import LogNews
from hanas_worker.neighbours import forwarding
from hanas_worker.neighbours.authenticity import MAC_HEADER, NONCE_HEADER, Verifier, is_proof, mac
from hanas_worker.neighbours.forwarding import about

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
_HELD = 204
"""The status of a lifeline, whose connection stays open."""
_MAC = MAC_HEADER.lower().encode()
_MEMBER = b"hanas-member"
_NONCE = NONCE_HEADER.lower().encode()
_KEEPALIVE, _ANSWER, _LIFELINE = "keep-alive", "answer", "lifeline"
"""What a proof is about: one for a message of one kind is none for another."""

Epochs = tuple[int, ...]


class KeepAlive(msgspec.Struct, frozen=True, rename="camel"):
    """What a member that is the main (or main-elect) of logs tells every other one."""

    member: str
    incarnation: str
    folder_id: str
    logs: tuple[LogNews, ...]
    echo: int | None = None
    """The last time that the receiver answered with; None before its first answer."""


Visit = Callable[[str], Receiver | None]
"""Returns who gets what comes over the line of a member; None where this worker is not the main."""
Hear = Callable[[KeepAlive, bool], Epochs]
"""Takes in what a member sent, and whether it was made just now; returns the highest epochs of its logs known here."""


class KeepAliveAnswer(msgspec.Struct, frozen=True):
    """The answer: for each of these logs the highest epoch that the receiver knows, 0 for a log that it does not."""

    epochs: Epochs
    time: int = 0
    """The receiver's clock, milliseconds: for the next echo."""
    proof: str = ""
    """That the receiver says so, in answer to this keep-alive."""

    def content(self, asked: str) -> bytes:
        """Return what the proof is about. ``asked``: the proof of the keep-alive."""
        return msgspec.json.encode((asked, self.epochs, self.time))


def lifeline_headers(member: str, key: str) -> dict[str, str]:
    """Return the headers with which ``member`` asks the holder of ``key`` for a lifeline."""
    return {MAC_HEADER: mac(key, _LIFELINE, member.encode())}


class LinkEndpoint:
    """The ASGI application on the link port."""

    def __init__(self, callers: Callers, gate: Gate) -> None:
        """Take no keep-alive until `join` is called."""
        self._gate = gate
        self._callers = callers
        self._joined: tuple[str, Verifier, Hear] | None = None
        self._visit: Visit = lambda member: None
        self._decode = msgspec.json.Decoder(KeepAlive).decode

    def join(self, folder_id: str, verifier: Verifier, hear: Hear, visit: Visit) -> None:
        """Hand every keep-alive to ``hear`` that ``verifier`` knows to come from a member of this folder.

        ``visit``: returns who gets what comes over the line of a member.
        """
        self._joined, self._visit = (folder_id, verifier, hear), visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            with contextlib.suppress(Disconnected):
                try:
                    answer = await self._answer(scope, receive)
                except Problem as problem:
                    answer = problem.answer()
                if answer is None:
                    return  # it is a line now
                if answer.status != _HELD:  # nobody else has a reason to stay
                    answer = msgspec.structs.replace(answer, lines=answer.lines + b"connection: close\r\n")
                await send_answer(answer, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        call = scope["method"], scope["path"]
        if call not in {("POST", PATH), ("GET", LIFELINE_PATH), ("GET", forwarding.PATH)}:
            raise Problem(404, "the link port is for the other workers; clients use the other port")
        headers = self._gate.examine(scope["method"], scope["headers"])
        self._gate.admit(caller_of({**scope, "headers": headers}), self._callers, Action.OPERATE, _secret_needed)
        require_no_query(scope["query_string"])
        fields = dict(headers)
        proof = fields.get(_MAC, b"").decode("latin-1")
        if call == ("GET", LIFELINE_PATH):
            require_name(scope, fields.get(_MEMBER, b"").decode("latin-1"))
            if self._joined is None or not self._joined[1].proves(proof, _LIFELINE, fields.get(_MEMBER, b"")):
                raise _stranger("a lifeline")
            return Answer(_HELD, b"")
        if call == ("GET", forwarding.PATH):
            self._open_line(scope, fields, proof)
            return None
        require_json(headers)
        too_large = Problem(413, f"a keep-alive has at most {_MOST_BYTES} bytes")
        try:
            body = await body_of(receive, _MOST_BYTES, lambda size: too_large)
            keepalive = self._decode(body)
        except UNREADABLE as error:
            raise Problem(400, f"this is no keep-alive: {error}") from None
        require_name(scope, keepalive.member)
        if self._joined is None or keepalive.folder_id != self._joined[0]:
            own = None if self._joined is None else self._joined[0]
            raise Problem(409, f"the folder here is {own}, not {keepalive.folder_id}: mount the same volume")
        _, verifier, hear = self._joined
        if not verifier.proves(proof, _KEEPALIVE, body):
            raise _stranger("a keep-alive")
        answer = KeepAliveAnswer(hear(keepalive, verifier.is_fresh(keepalive.echo)), verifier.time)
        answer = msgspec.structs.replace(answer, proof=verifier.prove(_ANSWER, answer.content(proof)))
        content = msgspec.json.encode(answer)
        return Answer(200, b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content), content)

    def _open_line(self, scope: Scope, fields: Mapping[bytes, bytes], proof: str) -> None:
        """Let a member bring what its clients ask for. Raises Problem: 401, 403, 409."""
        member, nonce = (fields.get(name, b"").decode("latin-1") for name in (_MEMBER, _NONCE))
        require_name(scope, member)
        verifier = None if self._joined is None else self._joined[1]
        if verifier is None or not verifier.proves(proof, forwarding.CALL, about(member, nonce)):
            raise _stranger("a forwarding line")
        receiver = self._visit(member)
        if receiver is None:
            raise Problem(409, "this worker is not the main")
        own = names.nonce()
        answer = verifier.prove(forwarding.ANSWER, about(member, nonce, own))
        lines = f"upgrade: hanas-forward\r\nconnection: upgrade\r\n{NONCE_HEADER}: {own}\r\n{MAC_HEADER}: {answer}"
        head = f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\n"
        scope["hand_over"](head.encode(), Wire(receiver, verifier.line_keys((nonce, own))))


def _secret_needed(_: bytes | None) -> Problem:
    return Problem(401, "the components' secret is missing or wrong: give all of them one HANAS_SECRET_FILE")


def _stranger(what: str) -> Problem:
    return Problem(
        401,
        f"{what} is for the members of this folder: {MAC_HEADER} must be made with the present key of this worker; "
        "upgrade a worker of an older version",
    )


class _Way:
    """The way to one peer."""

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
        self._ways: dict[LinkPeer, _Way] = {}
        self._echoes: dict[str, int] = {}
        """The last time that each peer answered with, by its key."""

    def send(self, keepalive: KeepAlive, alive: Mapping[LinkPeer, bool]) -> None:
        """Send to peers, each with whether it is alive."""
        now = self._clock()
        soon = now + self._interval / 2
        self._echoes = {peer.key: self._echoes[peer.key] for peer in alive if peer.key in self._echoes}
        for peer in [peer for peer, way in self._ways.items() if peer not in alive and not way.pending]:
            del self._ways[peer]
        ways = {peer: self._ways.setdefault(peer, _Way()) for peer in alive}
        sure = {peer: way for peer, way in ways.items() if alive[peer] or way.answers}
        most = max(1, min(_MOST_PENDING, _MOST_SURE // max(1, len(sure))))
        for peer, way in sure.items():
            way.pause = 0.0
            if len(way.pending) < most:
                self._start(peer, way, keepalive)
        doubtful = [(peer, way) for peer, way in ways.items() if peer not in sure]
        room = _MOST_DOUBTFUL - sum(len(way.pending) for _, way in doubtful)
        due = [(peer, way) for peer, way in doubtful if way.next_at <= soon and not way.pending]
        due.sort(key=lambda entry: entry[1].next_at)
        for peer, way in due[: max(0, room)]:
            way.pause = min(2 * way.pause or self._interval, _LONGEST_PAUSE_SECONDS)
            way.next_at = now + way.pause
            self._start(peer, way, keepalive)

    def _start(self, peer: LinkPeer, way: _Way, keepalive: KeepAlive) -> None:
        task = asyncio.create_task(self._send(peer, way, keepalive))
        way.pending.add(task)
        task.add_done_callback(way.pending.discard)

    async def _send(self, peer: LinkPeer, way: _Way, keepalive: KeepAlive) -> None:
        body = msgspec.json.encode(msgspec.structs.replace(keepalive, echo=self._echoes.get(peer.key)))
        proof = mac(peer.key, _KEEPALIVE, body)
        epochs: Epochs = ()
        with contextlib.suppress(*UNREADABLE, OSError):
            status, content = await self._outbound.post(peer.url + PATH, body, self._timeout, {MAC_HEADER: proof})
            if status == 200:
                answer = msgspec.json.decode(content, type=KeepAliveAnswer)
                if is_proof(answer.proof, peer.key, _ANSWER, answer.content(proof)):
                    epochs = answer.epochs
                    self._echoes[peer.key] = max(answer.time, self._echoes.get(peer.key, 0))
        way.answers = bool(epochs)
        self._answered(keepalive, epochs)

    def close(self) -> None:
        """Cancel what is pending."""
        for task in [task for way in self._ways.values() for task in way.pending]:
            task.cancel()
