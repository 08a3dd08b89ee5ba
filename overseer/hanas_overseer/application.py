"""The overseer as an ASGI application: its routes, and the token that each needs.

    POST, DELETE /v1/*               the secret (HANAS_SECRET_FILE), if there is one
    DELETE /v1/pool/*                the secret, or the right `admin` (HANAS_CLIENTS_FILE)
    GET  /v1/main                    whoever is known, if clients need a token
    GET  /v1/*                       a client token (HANAS_CLIENT_TOKEN_FILE), the secret, or the right `observe`
    POST, DELETE /v1/session         a token to sign in, none to sign out
    GET  /, /healthz, /readyz        open
    GET  /metrics                    open, unless HANAS_PUBLIC is none

Where callers are asked for certificates, that of a component takes the place of the secret, and that of a client the
place of a client token (`hanas_serving.callers`).
The token is sent as ``Authorization: Bearer``. A program that cannot send that header, since a proxy uses it, sends the
token in the cookie ``hanas-token`` (percent-encoded) of a ``GET``. The page of the dashboard contains no data and is
open; it signs in with a token, and has the cookie of a session from then on (`hanas_overseer.sessions`). Calls that
change something ignore cookies.
"""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hanas_core.epochs.arbitration import Refused
from hanas_core.volume.errors import FolderError
from hanas_overseer import dashboard
from hanas_overseer.calls import Calls, answer_refused, answer_unavailable
from hanas_overseer.sessions import COOKIE as SESSION
from hanas_overseer.sessions import Sessions, cookie_of
from hanas_overseer.signin import SignIn
from hanas_serving.credentials import Credentials
from hanas_serving.fields import require_no_query
from hanas_serving.gate import Gate, Gated, Needed, caller_of
from hanas_serving.principals import Action, may
from hanas_serving.problems import Problem, answer_problem, answer_unknown
from hanas_serving.runtime import Runtime
from hanas_serving.settings import SECRETS, TOKENS

COOKIE = b"hanas-token"
_SEEING = frozenset({Action.OBSERVE, Action.LOCATE})
Handler = Callable[[Request], Awaitable[Response]]


def needed_of(file: str) -> Needed:
    """Return the answer to those without a valid token. ``file``: the variable that names the file of valid ones."""
    detail = f"send 'Authorization: Bearer …' with a token of the overseer's {file}"
    return lambda _: Problem(401, detail, {"WWW-Authenticate": "Bearer"})


SECRET_NEEDED, TOKEN_NEEDED = needed_of(SECRETS), needed_of(TOKENS)


class Door:
    """Who may come in to which handler."""

    def __init__(self, credentials: Credentials, gate: Gate, sessions: Sessions) -> None:
        """Ask ``gate`` about callers, and ``sessions`` about browsers that look."""
        self._callers, self._gate, self._sessions = credentials.callers, gate, sessions

    def guarded(self, handler: Handler, action: Action) -> Handler:
        """Return ``handler`` for those who may do ``action``."""
        needed = TOKEN_NEEDED if action in _SEEING else SECRET_NEEDED

        async def answer(request: Request) -> Response:
            caller = caller_of(request.scope)
            headers = caller.headers
            if action in _SEEING and b"authorization" not in headers:
                principal = self._sessions.principal(cookie_of(headers, SESSION))
                if principal is not None and may(principal, action):
                    return await handler(request)
                token = cookie_of(headers, COOKIE)
                if token is not None:
                    caller = caller._replace(headers={**headers, b"authorization": b"Bearer " + token})
            principal = self._gate.admit(caller, self._callers, action, needed)
            require_no_query(request.scope["query_string"])
            if action is not Action.ADMIN:
                return await handler(request)
            call, about = request.url.path, request.path_params.get("member", "")
            with self._gate.audit.administering(principal, f"{request.method} {call}", caller.address, about):
                return await handler(request)

        return answer


def application(calls: Calls, credentials: Credentials, gate: Gate, runtime: Runtime) -> Starlette:
    """Return the application."""
    callers = credentials.callers
    # without a secret, since components show certificates, a session is one of this run of this overseer
    sessions = Sessions(credentials.secrets or (runtime.nonce(),), callers, runtime.wall_clock)
    door, signing = Door(credentials, gate, sessions), SignIn(callers, gate, sessions)

    async def page(request: Request) -> Response:
        if may(callers.stranger, Action.OBSERVE):
            gate.require_host(caller_of(request.scope).headers)
        return await dashboard.show(request)

    async def session(request: Request) -> Response:
        calls_by_method = {"POST": signing.begin, "DELETE": signing.end}
        return await calls_by_method.get(request.method, shown)(request)

    def reading(path: str, handler: Handler, action: Action = Action.OBSERVE) -> Route:
        return Route(path, door.guarded(handler, action), methods=["GET"])

    def deciding(path: str, handler: Handler, method: str = "POST", action: Action = Action.OPERATE) -> Route:
        return Route(path, door.guarded(handler, action), methods=[method])

    shown = door.guarded(signing.show, Action.LOCATE)
    metrics = calls.metrics if callers.metrics_are_open else door.guarded(calls.metrics, Action.OBSERVE)
    app = Starlette(
        routes=[
            deciding("/v1/claim", calls.claim),
            deciding("/v1/takeover", calls.takeover),
            deciding("/v1/report", calls.report),
            deciding("/v1/pool/{member}", calls.forget, "DELETE", Action.ADMIN),
            reading("/v1/main", calls.main, Action.LOCATE),
            reading("/v1/pool", calls.pool),
            reading("/v1/cluster", calls.cluster),
            reading("/v1/epochs", calls.epochs),
            reading("/v1/takeovers", calls.epochs),
            reading("/v1/alerts", calls.alerts),
            reading("/v1/events", calls.events),
            Route("/", page),
            Route("/healthz", calls.health),
            Route("/readyz", calls.ready),
            Route("/metrics", metrics),
            Route("/v1/session", session, methods=["GET", "POST", "DELETE"]),
        ],
        middleware=[Middleware(Gated, gate)],
        exception_handlers={
            Problem: answer_problem,
            Refused: answer_refused,
            FolderError: answer_unavailable,
            HTTPException: answer_unknown,
            Exception: answer_unknown,
        },
    )
    app.router.redirect_slashes = False  # a redirect would trust the caller's Host header
    return app
