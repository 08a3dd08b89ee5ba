"""The overseer as an ASGI application: its routes, and the token that each needs.

    POST, DELETE /v1/*               the secret (HANAS_SECRET_FILE), if there is one
    GET  /v1/*                       a client token (HANAS_CLIENT_TOKEN_FILE), if there are any, or the secret
    GET  /, /healthz, /readyz, /metrics   open

The token is sent as ``Authorization: Bearer``. A browser's EventSource cannot send that header, so ``GET`` calls also
accept the token in the cookie ``hanas-token`` (percent-encoded). The page of the dashboard contains no data and is
open; it asks for the token and keeps it in that cookie until the browser is closed. ``POST`` calls ignore the cookie.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

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
from hanas_serving.credentials import Credentials
from hanas_serving.fields import require_no_query
from hanas_serving.gate import Caller, Gate, Gated, caller_of
from hanas_serving.principals import Action
from hanas_serving.problems import Problem, answer_problem, answer_unknown

COOKIE = b"hanas-token"
Handler = Callable[[Request], Awaitable[Response]]


def guarded(handler: Handler, action: Action, tokens: Sequence[str], file: str, gate: Gate) -> Handler:
    """Return ``handler`` for those who may do ``action``. ``file``: the variable that names the file of ``tokens``."""

    def needed(_: bytes | None) -> Problem:
        detail = f"send 'Authorization: Bearer …' with a token of the overseer's {file}"
        return Problem(401, detail, {"WWW-Authenticate": "Bearer"})

    async def answer(request: Request) -> Response:
        headers, address, peer = caller_of(request.scope)
        token = cookie_of(headers) if action is Action.OBSERVE else None
        if token is not None and b"authorization" not in headers:
            headers = {**headers, b"authorization": b"Bearer " + token}
        gate.admit(Caller(headers, address, peer), tokens, action, needed)
        require_no_query(request.scope["query_string"])
        return await handler(request)

    return answer


def cookie_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the token in the cookie, if there is one. The standard library's parser takes seconds for some cookies."""
    for part in headers.get(b"cookie", b"").split(b";"):
        name, sign, value = part.strip().partition(b"=")
        if sign and name == COOKIE:
            return unquote_to_bytes(value.strip(b'"'))
    return None


def application(calls: Calls, credentials: Credentials, gate: Gate) -> Starlette:
    """Return the application."""

    async def page(request: Request) -> Response:
        if not (readers or gate.certified):
            gate.require_host(caller_of(request.scope).headers)
        return await dashboard.show(request)

    readers, secrets = credentials.readers, credentials.secrets

    def reading(path: str, handler: Handler) -> Route:
        return Route(path, guarded(handler, Action.OBSERVE, readers, "HANAS_CLIENT_TOKEN_FILE", gate), methods=["GET"])

    def deciding(path: str, handler: Handler, method: str = "POST") -> Route:
        return Route(path, guarded(handler, Action.OPERATE, secrets, "HANAS_SECRET_FILE", gate), methods=[method])

    app = Starlette(
        routes=[
            deciding("/v1/claim", calls.claim),
            deciding("/v1/takeover", calls.takeover),
            deciding("/v1/report", calls.report),
            deciding("/v1/pool/{member}", calls.forget, "DELETE"),
            reading("/v1/main", calls.main),
            reading("/v1/pool", calls.pool),
            reading("/v1/cluster", calls.cluster),
            reading("/v1/epochs", calls.epochs),
            reading("/v1/takeovers", calls.epochs),
            reading("/v1/alerts", calls.alerts),
            reading("/v1/events", calls.events),
            Route("/", page),
            Route("/healthz", calls.health),
            Route("/readyz", calls.ready),
            Route("/metrics", calls.metrics),
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
