"""Error bodies: ``application/problem+json`` (RFC 9457) with type, title, status and a detail that says what to do."""

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error. ``detail`` tells the caller what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Describe the error; ``headers`` go out with it."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The problem document."""
        return document(self.status, self.detail)


def document(status: int, detail: str) -> bytes:
    """Return a problem document."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})


def response(problem: Problem) -> Response:
    """Return a problem as a Starlette response."""
    return Response(problem.body, problem.status, problem.headers, CONTENT_TYPE)


async def answer_problem(request: Request, problem: Exception) -> Response:
    """Starlette's exception handler for `Problem`."""
    del request
    if not isinstance(problem, Problem):
        raise problem
    return response(problem)


async def answer_unknown(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for its own errors: no such path (404), no such method there (405)."""
    status = getattr(error, "status_code", 500)
    detail = {
        404: f"there is nothing at {request.url.path}; the calls are described in docs/api.md",
        405: f"{request.method} is not a method of {request.url.path}",
    }.get(status, "this should not have happened; the log says more")
    return response(Problem(status, detail, dict(getattr(error, "headers", None) or {})))
