"""What goes out: one value, whether it is sent through ASGI or written to the connection directly."""

import msgspec
from starlette.types import Send

from hanas_serving.problems import CONTENT_TYPE, Problem


class Answer(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    lines: bytes
    """The headers as they go over the wire: ``name: value``, the name in lower case, each with its CRLF."""
    body: bytes = b""


def of_problem(problem: Problem, epoch: int | None = None) -> Answer:
    """Return the error document; with ``HANas-Epoch``, unless the problem brings one or it is not known."""
    body = problem.body
    headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body)), **problem.headers}
    if epoch is not None:
        headers.setdefault("hanas-epoch", str(epoch))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Answer(problem.status, lines.encode("latin-1"), body)


async def send_answer(answer: Answer, send: Send, *, bodiless: bool = False) -> None:
    """Send ``answer`` through ASGI; ``bodiless``: to a HEAD."""
    headers = [line.split(b": ", 1) for line in answer.lines.split(b"\r\n")[:-1]]
    await send({"type": "http.response.start", "status": answer.status, "headers": [(n, v) for n, v in headers]})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})
