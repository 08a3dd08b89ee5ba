"""``/v1/session``: signing in to the dashboard, and out of it.

A page of another site cannot do it for somebody: the body must be JSON, which a browser sends to another site
only after that has agreed (and this one never does), and a request that names another site is refused by the gate.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hanas_overseer import bodies
from hanas_overseer.sessions import COOKIE, Sessions, cookie_of
from hanas_serving.callers import Callers
from hanas_serving.fields import require_no_query
from hanas_serving.gate import Caller, Gate, caller_of
from hanas_serving.principals import Action, may
from hanas_serving.problems import Problem

_FRESH = {"Cache-Control": "no-store"}
_NAME = COOKIE.decode()


class SessionDocument(msgspec.Struct, frozen=True, rename="camel"):
    """Who looks."""

    name: str
    """Of the principal; ``anonymous`` where everyone may look."""
    signed_in: bool
    """There is a session, which can be ended."""


class SignIn:
    """The calls."""

    def __init__(self, callers: Callers, gate: Gate, sessions: Sessions) -> None:
        """Begin sessions of those of ``callers`` who may see the state."""
        self._callers, self._gate, self._sessions = callers, gate, sessions

    async def show(self, request: Request) -> Response:
        """``GET /v1/session``."""
        caller = caller_of(request.scope)
        session = self._sessions.principal(cookie_of(caller.headers, COOKIE))
        principal = session or self._callers.identify(caller.headers.get(b"authorization"), caller.peer)
        document = SessionDocument(principal.name, session is not None)
        return Response(msgspec.json.encode(document), headers=_FRESH, media_type="application/json")

    async def begin(self, request: Request) -> Response:
        """``POST /v1/session``: sign in."""
        require_no_query(request.scope["query_string"])
        if may(self._callers.stranger, Action.OBSERVE):
            raise Problem(409, "everyone may see the state here: there is nothing to sign in to")
        token = bodies.decode(await bodies.read(request), bodies.SignInRequest).token
        caller = caller_of(request.scope)
        shown = {**caller.headers, b"authorization": b"Bearer " + token.encode()}
        self._gate.admit(Caller(shown, caller.address), self._callers, Action.OBSERVE, _not_valid)  # no certificate
        return _answer(f"{_NAME}={self._sessions.begin(token)}", request)

    async def end(self, request: Request) -> Response:
        """``DELETE /v1/session``: sign out. Whoever has no session may do so, too."""
        require_no_query(request.scope["query_string"])
        return _answer(f"{_NAME}=; Max-Age=0", request)


def _answer(cookie: str, request: Request) -> Response:
    """Return an answer that sets a cookie for the calls beside this one, wherever a proxy may show them."""
    encrypted = request.scope["scheme"] == "https" or request.headers.get("origin", "").startswith("https:")
    attributes = "; HttpOnly; SameSite=Strict" + ("; Secure" if encrypted else "")
    return Response(status_code=204, headers={**_FRESH, "Set-Cookie": cookie + attributes})


def _not_valid(_: bytes | None) -> Problem:
    return Problem(401, "this token is not valid here", {"WWW-Authenticate": "Bearer"})
