"""Error bodies: ``application/problem+json`` (RFC 9457) with type, title, status and a detail that says what to do."""

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hanas_serving.answers import INERT, Answer

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error. ``detail`` tells the caller what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        extension: dict[str, object] | None = None,
    ) -> None:
        """Describe the error; ``headers`` go out with it, and ``extension`` in its document (RFC 9457, 3.2)."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.extension = extension or {}

    def answer(self, epoch: int | None = None) -> Answer:
        """Return the error document; with ``HANas-Epoch``, unless the problem brings one or it is not known."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        body = msgspec.json.encode({**document, **self.extension})
        headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body)), **self.headers}
        if epoch is not None:
            headers.setdefault("hanas-epoch", str(epoch))
        lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
        return Answer(self.status, lines.encode("latin-1") + INERT, body)


def response(problem: Problem) -> Response:
    """Return a problem as a Starlette response."""
    answer = problem.answer()
    result = Response(answer.body, answer.status)
    result.raw_headers = answer.headers
    return result


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
