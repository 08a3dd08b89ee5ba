"""What every request must keep, whatever it asks for: a clear head, a known host, the same site, a valid token."""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hanas_serving import fields, principals
from hanas_serving.answers import INERT_HEADERS, Headers, send_answer
from hanas_serving.audit import Audit
from hanas_serving.callers import Callers
from hanas_serving.hosts import Hosts, name_of
from hanas_serving.peer import Peer
from hanas_serving.principals import Action, Principal, Standing
from hanas_serving.problems import Problem
from hanas_serving.refusals import Refusals

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAPPED = "::ffff:"
"""How the address of an IPv4 client begins on a socket for both."""
_OWN_SITE = frozenset({b"same-origin", b"none"})


Needed = Callable[[bytes | None], Problem]
"""The answer to a caller without a valid token, by what was sent in ``Authorization``."""


class Caller(NamedTuple):
    """Who asks."""

    headers: Mapping[bytes, bytes]
    address: str
    """Empty if the client is gone."""
    peer: Peer | None = None
    """Whose certificate it has shown; None where nobody is asked for one."""


class Gate:
    """The gate of one process, in front of all of its ports."""

    def __init__(self, hosts: Hosts | None = None, audit: Audit | None = None) -> None:
        """Know ``hosts`` as names of this process. ``audit``: where denied calls are noted."""
        self._hosts = hosts or Hosts()
        self.audit = audit or Audit()
        self.refusals = Refusals()

    def is_plain(self, headers: Headers, *, anonymous: bool) -> bool:
        """Return whether `examine` and `admit` would let these headers pass as they are, whatever the method is.

        ``anonymous``: no tokens are asked for.
        """
        names = frozenset([name for name, _ in headers])
        if not fields.are_plain(names, len(headers)):
            return False
        return not anonymous or names.isdisjoint(fields.BROWSERS) or self._hosts.knows(dict(headers).get(b"host", b""))

    def examine(self, method: str, headers: Headers) -> Headers:
        """Return each field once. Raises Problem: 400, 403, 417."""
        headers = fields.merged(headers)
        fields.check_method(method, headers)
        if method not in _SAFE:
            self._require_own_site(dict(headers))
        return headers

    def admit(self, caller: Caller, callers: Callers, action: Action, needed: Needed, *, key: bytes = b"") -> Principal:
        """Return who asks, if that one of ``callers`` may do ``action`` on ``key``, as the store knows it.

        Raises Problem: ``needed``, 429 after many tries, 403 without the right, 421.
        """
        principal = callers.identify(caller.headers.get(b"authorization"), caller.peer)
        if not principals.may(principal, action, key):
            raise self.denial(principal, caller, callers, action, needed, key)
        return self._admitted(principal, caller)

    def admit_somewhere(self, caller: Caller, callers: Callers, action: Action, needed: Needed) -> Principal:
        """Return who asks, if there can be a key on which that one may do ``action``. Raises Problem, as `admit`."""
        principal = callers.identify(caller.headers.get(b"authorization"), caller.peer)
        if not principals.may_somewhere(principal, action):
            raise self.denial(principal, caller, callers, action, needed)
        return self._admitted(principal, caller)

    def _admitted(self, principal: Principal, caller: Caller) -> Principal:
        if principal.standing is Standing.STRANGER:
            self.require_host(caller.headers)
        return principal

    def denial(
        self,
        principal: Principal,
        caller: Caller,
        callers: Callers,
        action: Action,
        needed: Needed,
        key: bytes = b"",
    ) -> Problem:
        """Return the answer to ``principal``, who may not do ``action`` on ``key``, and note it."""
        holder = principal.standing is Standing.CERTIFIED and action is not Action.OPERATE
        if holder or principal.standing is Standing.LISTED:
            detail = (
                f"{principal.name} has no right to {action} this; nothing was done: HANAS_CLIENTS_FILE grants rights"
            )
            problem = Problem(403, detail)
        else:
            problem = needed(caller.headers.get(b"authorization"))
            if caller.peer is not None:
                problem = _certificate_needed(problem, action, or_token=callers.take_tokens)
            problem = self.refusals.unauthorized(problem, caller.address)
        self.audit.denied(principal, action, key, caller.address, problem.status)
        return problem

    def require_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise Problem 421 if a browser asks for a host that is not known; other programs know whom they ask."""
        host = headers.get(b"host", b"")
        if not (fields.BROWSERS.isdisjoint(headers) or self._hosts.knows(host)):
            name = name_of(host.decode("latin-1"))[:80]
            detail = f"{name!r} is not known as a name of this host, and any page can make its name lead here: "
            raise Problem(421, f"{detail}if it is right, add it to HANAS_HOSTS, or use an address or another name")

    def _require_own_site(self, headers: Mapping[bytes, bytes]) -> None:
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        there = _netloc(origin)
        if site is not None:
            own = site in _OWN_SITE
        else:
            own = origin is None or there == headers.get(b"host", b"").decode("latin-1").lower()
        if not (own or self._hosts.lists(name_of(there))):
            raise Problem(
                403,
                f"a page of another site ({there[:80] or 'unknown'}) may change nothing here; nothing was done; "
                "if that site is yours, add its host to HANAS_HOSTS",
            )


class Gated:
    """An ASGI application behind a gate; browsers must not take its answers for anything but what they are."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        """Have ``app`` answer what passes."""
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_inert(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                more = [header for header in INERT_HEADERS if header[0] not in names]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            headers = self._gate.examine(scope["method"], scope["headers"])
        except Problem as problem:
            await send_answer(problem.answer(), send, bodiless=scope["method"] == "HEAD")
            return
        await self._app({**scope, "headers": headers}, receive, send_inert)


def _certificate_needed(problem: Problem, action: Action, *, or_token: bool) -> Problem:
    """Return ``problem`` where certificates are asked for."""
    if action is Action.OPERATE:
        detail = "show the certificate of a component, which has its names: set HANAS_TLS_CERT"
    else:
        detail = "show a certificate that an authority in HANAS_TLS_CLIENT_CA has signed"
        detail += f"; or: {problem.detail}" if or_token else ""
    return Problem(problem.status, detail, problem.headers)


def require_name(scope: Scope, member: str) -> None:
    """Raise Problem 403 if the caller has shown a certificate that is not that of ``member``."""
    peer: Peer | None = scope.get("peer")
    if peer is not None and member not in peer.names:
        names = ", ".join(sorted(peer.names)) or "no names"
        raise Problem(
            403, f"the certificate is not that of {member[:80]}, but of {names[:200]}: it must have WORKER_ID as a name"
        )


def caller_of(scope: Scope) -> Caller:
    """Return who asks; each field of the head must be there once."""
    client = scope.get("client")
    return Caller(dict(scope["headers"]), client[0].removeprefix(MAPPED) if client else "", scope.get("peer"))


def _netloc(origin: bytes | None) -> str:
    try:
        return urlsplit((origin or b"").decode("latin-1").lower()).netloc
    except ValueError:  # a bracket that is none
        return ""
