"""What every request must keep: clear fields, a known host, the same site; and who tries tokens is slowed down."""

import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving import fields
from hanas_serving.callers import Callers
from hanas_serving.gate import Caller, Gate, Gated
from hanas_serving.hosts import Hosts
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_serving.refusals import MOST_FAILURES, Refusals

Fields = list[tuple[bytes, bytes]]
EVIL: Fields = [(b"host", b"evil.com:3001"), (b"accept-language", b"")]


def needed(_: bytes | None) -> Problem:
    return Problem(401, "a token is needed")


def refused(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


# ---------------------------------------------------------------------- fields


def test_lists_are_joined_and_the_rest_of_what_nobody_asks_for_is_dropped() -> None:
    given = [(b"if-match", b'"1-1"'), (b"x", b"1"), (b"if-match", b'"1-2"'), (b"x", b"2"), (b"host", b"h")]
    assert fields.merged(given) == [(b"if-match", b'"1-1", "1-2"'), (b"x", b"1"), (b"host", b"h")]


@pytest.mark.parametrize("name", ["authorization", "range", "idempotency-key", "content-type", "host", "content-range"])
@pytest.mark.parametrize("values", [("a", "b"), ("a", "a")])
def test_what_has_one_value_comes_once(name: str, values: tuple[str, str]) -> None:
    given = [(name.encode(), value.encode()) for value in values]
    problem = refused(lambda: Gate().examine("GET", given))
    assert (problem.status, problem.detail) == (400, f"{name.title()} came twice; nothing was done; send it once")
    assert not Gate().is_plain(given, anonymous=True)


@pytest.mark.parametrize("value", [b"more", b"100-continue, more", b""])
def test_an_expectation_that_cannot_be_met(value: bytes) -> None:
    assert refused(lambda: Gate().examine("PUT", [(b"expect", value)])).status == 417
    assert Gate().examine("PUT", [(b"expect", b" 100-Continue")])


def test_another_method_than_the_one_that_came() -> None:
    for name in (b"x-http-method-override", b"x-http-method", b"x-method-override"):
        problem = refused(lambda name=name: Gate().examine("PUT", [(name, b"DELETE")]))  # type: ignore[misc]
        assert problem.status == 400
        assert "send the method itself" in problem.detail
        assert Gate().examine("PUT", [(name, b"put")])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({b"content-type": b"text/plain"}, 415),
        ({b"content-type": b"application/x-www-form-urlencoded"}, 415),
        ({b"content-type": b"application/json5"}, 415),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip"}, 415),
        ({b"content-type": b"Application/JSON; charset=utf-8", b"content-encoding": b"identity"}, None),
    ],
)
def test_json_is_asked_for(headers: dict[bytes, bytes], status: int | None) -> None:
    if status is None:
        fields.require_json(list(headers.items()))
    else:
        assert refused(lambda: fields.require_json(list(headers.items()))).status == status


def test_calls_without_parameters() -> None:
    fields.require_no_query(b"")
    problem = refused(lambda: fields.require_no_query(b"cas=3&x=y"))
    assert (problem.status, problem.detail) == (400, "unknown parameter 'cas': this call takes none")


# ---------------------------------------------------------------------- hosts and sites


@pytest.mark.parametrize("mark", ["accept-language", "origin", "referer", "sec-fetch-site", "sec-fetch-mode"])
def test_a_page_that_points_its_name_here_reads_nothing(mark: str) -> None:
    gate = Gate(Hosts(["ours.example.com"]))
    given = [(b"host", b"evil.com:3001"), (mark.encode(), b"*")]
    problem = refused(lambda: gate.admit(Caller(dict(given), ""), Callers(), Action.READ, needed))
    assert problem.status == 421
    assert "'evil.com' is not known" in problem.detail
    assert "HANAS_HOSTS" in problem.detail
    assert not gate.is_plain(given, anonymous=True)
    gate.admit(Caller({**dict(given), b"host": b"ours.example.com"}, ""), Callers(), Action.READ, needed)


def test_other_programs_than_browsers_may_use_any_name() -> None:
    given = [(b"host", b"hanas.example.com"), (b"user-agent", b"curl/8.0"), (b"accept", b"*/*")]
    Gate().admit(Caller(dict(given), ""), Callers(), Action.READ, needed)
    assert Gate().is_plain(given, anonymous=True)


def test_who_has_a_token_is_not_asked_for_the_host() -> None:
    given = [*EVIL, (b"authorization", b"Bearer token")]
    Gate().admit(Caller(dict(given), ""), Callers(tokens=("token",)), Action.READ, needed)
    assert Gate().is_plain(given, anonymous=False)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({b"origin": b"http://here:3001"}, True),
        ({b"origin": b"HTTP://HERE:3001"}, True),
        ({b"origin": b"http://here"}, False),
        ({b"origin": b"http://here:8080"}, False),
        ({b"origin": b"http://evil.com"}, False),
        ({b"origin": b"null"}, False),
        ({b"origin": b"http://["}, False),
        ({b"origin": b"https://ours.example.com"}, True),
        ({b"sec-fetch-site": b"cross-site"}, False),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b"same-origin", b"origin": b"https://behind-a-proxy"}, True),
        ({b"sec-fetch-site": b"none"}, True),
        ({b"sec-fetch-site": b"cross-site", b"origin": b"http://here:3001"}, False),
        ({b"sec-fetch-site": b"cross-site", b"origin": b"https://ours.example.com"}, True),
    ],
)
def test_pages_of_other_sites_change_nothing(headers: dict[bytes, bytes], allowed: bool) -> None:
    gate = Gate(Hosts(["ours.example.com"]))
    given = [(b"host", b"here:3001"), *headers.items()]
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        if allowed:
            assert gate.examine(method, given) == given
        else:
            assert refused(lambda method=method: gate.examine(method, given)).status == 403  # type: ignore[misc]
    assert gate.examine("GET", given) == given  # a page cannot read the answer
    assert not headers or not gate.is_plain(given, anonymous=True)


# ---------------------------------------------------------------------- refusals


async def test_who_tries_many_tokens_waits_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, callers = Gate(), Callers(tokens=("token",))

    def attempt(address: str, authorization: bytes = b"Bearer wrong") -> Problem | None:
        try:
            gate.admit(Caller({b"authorization": authorization}, address), callers, Action.READ, needed)
        except Problem as problem:
            return problem
        return None

    statuses = [getattr(attempt("10.0.0.1"), "status", None) for _ in range(MOST_FAILURES + 5)]
    assert statuses == [401] * MOST_FAILURES + [429] * 5
    problem = attempt("10.0.0.1")
    assert problem is not None
    assert 0 < int(problem.headers["retry-after"]) <= 61
    assert attempt("10.0.0.1", b"Bearer token") is None
    other = attempt("10.0.0.2")
    assert other is not None
    assert other.status == 401


async def test_an_ipv6_host_does_not_get_on_with_another_of_its_addresses() -> None:
    refusals = Refusals()
    answers = [
        refusals.unauthorized(needed(None), f"2001:db8::{number:x}").status for number in range(MOST_FAILURES + 1)
    ]
    assert answers[-1] == 429
    assert refusals.unauthorized(needed(None), "2001:db8:0:1::1").status == 401


async def test_addresses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals()
    for number in range(10_000):
        assert refusals.unauthorized(needed(None), f"host-{number}").status == 401
    assert len(refusals._failures) <= 4096
    statuses = [refusals.unauthorized(needed(None), "again").status for _ in range(MOST_FAILURES + 1)]
    assert statuses[-1] == 429
    monkeypatch.setattr("hanas_serving.refusals._MINUTE", 0.0)
    assert refusals.unauthorized(needed(None), "again").status == 401


async def test_refusals_are_counted_and_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    refusals = Refusals()
    for status in [401] * 20 + [400] * 3 + [404] * 5 + [412]:
        refusals.count(status, "10.0.0.1")
    [family] = refusals.collect()
    assert {sample.labels["status"]: sample.value for sample in family.samples} == {
        "400": 3, "401": 20, "404": 5, "412": 1
    }  # fmt: skip
    assert re.findall(r"answered (\d+ [\w ]+?) (\d+) times", caplog.text) == [
        ("401 Unauthorized", "1"),
        ("400 Bad Request", "1"),
    ]
    monkeypatch.setattr("hanas_serving.refusals._MINUTE", 0.0)
    refusals.count(401, "10.0.0.9")
    assert "answered 401 Unauthorized 20 times since the last such line, the last time to 10.0.0.9" in caplog.text


# ---------------------------------------------------------------------- as an application


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the application sees, and a policy of its own."""
    del receive
    body = b"; ".join(b"%b=%b" % header for header in scope["headers"])
    headers = [(b"content-security-policy", b"own"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_an_application_behind_the_gate() -> None:
    app: Any = Gated(told, Gate())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        answer = await http.get("/", headers=[("If-Match", "a"), ("If-Match", "b")])
        assert "if-match=a, b" in answer.text
        assert (answer.headers["x-content-type-options"], answer.headers["content-security-policy"]) == (
            "nosniff",
            "own",
        )
        answer = await http.get("/", headers=[("Range", "a"), ("Range", "b")])
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        answer = await http.head("/", headers={"Expect": "more"})
        assert (answer.status_code, answer.content) == (417, b"")
        await app({"type": "lifespan", "headers": []}, None, lambda _: _none())


async def _none() -> None:
    return None
