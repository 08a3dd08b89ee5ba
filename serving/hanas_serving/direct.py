"""The direct way of a plain request: from the parser to a handler, and its answer to the socket, without ASGI.

An ASGI request costs a task, a cycle with its event, and a dictionary for each message, which is most of the cost of a
small request. A handler gets a plain request by a call as soon as it is complete, and answers its `Exchange` by another
one, at any time.
"""

import logging
import re
from typing import ClassVar, Protocol

import httptools
import msgspec

from hanas_serving import identity
from hanas_serving.answers import STATUS_LINES, Answer, Headers
from hanas_serving.peer import Peer
from hanas_serving.problems import Problem

_log = logging.getLogger("hanas.serving")

_MOST_HEADS = 1024
_MOST_HEAD_BYTES = 2048
"""Heads that are remembered: 2 MiB of them at most, and the lists of their headers."""
MOST_TARGET = 8192
"""Path and query of any request. Bytes."""
_MOST_BODY = 64 << 10
"""A larger body is read piece by piece, by the ordinary way. Bytes."""
FAILED = Problem(
    500,
    "this program made a mistake, which its log describes; whether a write was done is not known: read it",
    {"hanas-outcome": "unknown"},
).answer()
"""The answer to a request over which this program made a mistake."""


class Direct(Protocol):
    """Answers plain requests."""

    methods: frozenset[bytes]
    prefix: bytes
    """How the paths begin that are answered."""

    def is_plain(self, headers: Headers) -> bool:
        """Return whether nothing in the headers needs the ordinary way, whatever the method is."""

    def __call__(self, exchange: "Exchange") -> None:
        """Answer ``exchange``, now or later, exactly once; must not raise."""


class Heads:
    """What makes the head of a request plain, and the headers that were seen before.

    A client repeats its headers. Once the parser has read certain lines as those of a plain request, a later request
    with the same bytes there is taken without it.
    """

    def __init__(self, direct: Direct) -> None:
        """Begin without entries."""
        self.direct = direct
        path = (
            re.escape(direct.prefix) + rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/%]{1,8000}"
        )  # what RFC 3986 allows, and no query
        methods = b"|".join(map(re.escape, sorted(direct.methods)))
        self._is_path = re.compile(path).fullmatch
        self.begins = re.compile(rb"(%b) (%b) HTTP/1\.1(?=\r\n)" % (methods, path)).match
        """Matches the first line of a request without its end, which is the begin of the head's end without headers."""
        self.entries: dict[bytes, tuple[Headers, int]] = {}
        """By the lines behind the first one: the headers, and the length of the body, bytes."""
        self.folder: bytes | None = None
        """The folder that is served, once it is known: a request that is meant for another one is not plain."""
        self.status_lines = dict(STATUS_LINES)

    def belong_to(self, folder_id: str) -> None:
        """Name the folder in every answer from now on."""
        self.folder = folder_id.encode()
        self.status_lines.update(identity.status_lines(folder_id))

    def is_plain(
        self,
        parser: httptools.HttpRequestParser,
        target: bytes,
        headers: Headers,
        length: int,
        *,
        chunked: bool,
        expects: bool,
    ) -> bool:
        """Return whether the parser has read the head of a plain request. ``length``: of the body, bytes."""
        return (
            self._is_path(target) is not None
            and parser.get_method() in self.direct.methods
            and not (chunked or expects)
            and length <= _MOST_BODY
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and self.direct.is_plain(headers)
        )

    def remember(self, lines: bytes, headers: Headers, length: int) -> None:
        """Note that the parser has found ``lines`` to be the headers of a plain request with a body of this length."""
        if len(lines) > _MOST_HEAD_BYTES:
            return
        if len(self.entries) >= _MOST_HEADS:
            self.entries.clear()
        self.entries[lines] = headers, length


class Wire(Protocol):
    """The connection that a request came over."""

    address: str
    """The client's; empty if it is gone."""

    @property
    def peer(self) -> Peer | None:
        """Whose certificate the client has shown; None where nobody is asked for one."""

    def answer(self, exchange: "Exchange", answer: Answer) -> None:
        """Write the answer, and go on with the connection's next request."""


class Exchange(msgspec.Struct, eq=False):
    """A plain request, complete when the handler sees it, and its answer, which is one write."""

    wire: Wire
    method: bytes
    path: bytes
    """Not decoded."""
    headers: Headers
    body: bytes = b""
    more_body: bool = True
    keep_alive: bool = True
    disconnected: bool = False
    response_started: ClassVar[bool] = False

    def answer(self, answer: Answer) -> None:
        """Answer the request; without effect if the client is gone."""
        self.wire.answer(self, answer)

    def fail(self, error: BaseException) -> None:
        """Answer that this program made a mistake, and close the connection."""
        _log.error("an error of this program", exc_info=error)
        self.keep_alive = False
        self.wire.answer(self, FAILED)

    def disconnect(self) -> None:
        """Note that nobody waits for the answer."""
        self.disconnected = True
