"""Who may call, and how a refusal looks."""

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hanas_serving import principals, problems
from hanas_serving.callers import Callers
from hanas_serving.principals import Action
from hanas_serving.problems import Problem


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (b"Bearer one", True),
        (b"bearer two", True),
        (b"BEARER   one  ", True),
        ("Bearer drü".encode(), True),
        ("Bearer drü".encode("latin-1"), False),
        (b"Bearer on", False),
        (b"Bearer onetwo", False),
        (b"Bearer ", False),
        (b"Bearer", False),
        (b"Basic one", False),
        (b"one", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_bearer_token_must_be_one_of_them(given: bytes | None, allowed: bool) -> None:
    callers = Callers(("secret",), ("one", "two", "drü"))
    principal = callers.identify(given)
    permitted = {action for action in Action if principals.may(principal, action, b"key")}
    assert permitted == (set(Action) - {Action.OPERATE, Action.ADMIN} if allowed else set())
    assert callers.identify(given) == principal


@pytest.mark.parametrize("given", [None, b"", b"Bearer anything"])
def test_without_tokens_everybody_is_allowed(given: bytes | None) -> None:
    callers = Callers()
    principal = callers.identify(given)
    assert principal is callers.stranger
    assert all(principals.may(principal, action) for action in Action)


def test_the_first_secret_is_the_one_that_is_sent() -> None:
    assert principals.bearer(("one", "two")) == {"Authorization": "Bearer one"}
    assert principals.bearer(()) == {}


def test_a_problem_document() -> None:
    assert json.loads(Problem(507, "the volume is full").answer().body) == {
        "type": "about:blank",
        "title": "Insufficient Storage",
        "status": 507,
        "detail": "the volume is full",
    }
    problem = Problem(412, "no", {"etag": '"1-1"'})
    assert (str(problem), json.loads(problem.answer().body)["title"]) == ("no", "Precondition Failed")
    answer = problems.response(problem)
    assert (answer.status_code, answer.headers["content-type"], answer.headers["etag"]) == (
        412,
        problems.CONTENT_TYPE,
        '"1-1"',
    )


async def refuse(request: Request) -> Response:
    raise Problem(503, "not now", {"retry-after": "1"})


async def forbid(request: Request) -> Response:
    raise HTTPException(403)


async def test_starlette_answers_with_problems() -> None:
    handlers = {Problem: problems.answer_problem, HTTPException: problems.answer_unknown}
    app = Starlette(routes=[Route("/refuse", refuse), Route("/forbid", forbid)], exception_handlers=handlers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        refused = await client.get("/refuse")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["detail"] == "not now"
        unknown = await client.get("/nothing/here")
        assert (unknown.status_code, unknown.headers["content-type"]) == (404, problems.CONTENT_TYPE)
        assert unknown.json()["detail"].startswith("there is nothing at /nothing/here;")
        method = await client.post("/refuse")
        assert (method.status_code, set(method.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
        assert method.json()["detail"] == "POST is not a method of /refuse"
        other = await client.get("/forbid")
        assert (other.status_code, other.json()["title"]) == (403, "Forbidden")


async def test_what_is_no_problem_is_passed_on() -> None:
    error = ValueError("a mistake")
    with pytest.raises(ValueError, match="a mistake"):
        await problems.answer_problem(Request({"type": "http"}), error)
