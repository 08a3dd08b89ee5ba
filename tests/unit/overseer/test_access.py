"""Who may call what."""

import hashlib
import json
import logging
import time
from pathlib import Path

import pytest

from hanas_overseer.sessions import Sessions
from hanas_serving.audit import LOGGER
from hanas_serving.callers import Callers
from hanas_serving.clients import Clients, decode
from hanas_serving.runtime import Runtime
from hanas_serving.settings import Public
from tests.unit.overseer.stage import Stage, check_problem, running


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_without_tokens_everything_is_open(stage: Stage) -> None:
    async with running(stage) as overseer:
        await overseer.post("/v1/claim", stage.arrival(1))
        await overseer.get("/v1/cluster")


async def test_decisions_need_the_secret(stage: Stage) -> None:
    async with running(stage, secrets=["geheim", "alt"]) as overseer:
        for path, body in (("/v1/claim", stage.arrival(1)), ("/v1/takeover", stage.challenge(1, 1, 2))):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic geheim"}):
                answer = await overseer.http.post(path, json=body, headers=headers)
                assert "HANAS_SECRET_FILE" in check_problem(answer, 401)["detail"]
                assert answer.headers["www-authenticate"] == "Bearer"
        for secret in ("geheim", "alt"):
            headers = {"Authorization": f"Bearer {secret}"}
            answer = await overseer.http.post("/v1/claim", json=stage.arrival(1), headers=headers)
            assert answer.status_code == 200
        await overseer.get("/v1/cluster")


@pytest.mark.parametrize("path", ["main", "pool", "cluster", "takeovers", "alerts", "events"])
async def test_reading_needs_a_token_or_the_secret(stage: Stage, path: str) -> None:
    async with running(stage, secrets=["geheim"], tokens=["ü;t"]) as overseer:
        check_problem(await overseer.http.get(f"/v1/{path}"), 401)
        check_problem(await overseer.http.get(f"/v1/{path}", headers={"Cookie": "hanas-token=no"}), 401)
        if path == "events":
            overseer.watcher.board.close()  # the answer of a stream comes when it ends
        for name, value in (
            ("Authorization", "Bearer geheim"),
            ("Authorization", "bearer ü;t"),
            ("Cookie", "hanas-token=%C3%BC%3Bt"),
        ):
            headers = {name.encode(): value.encode()}
            answer = await overseer.http.get(f"/v1/{path}", headers=headers)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("cookie", ['a="' + "\\" * 40_000 + '"', "a=b;" * 10_000, "hanas-token", ";=;"])
async def test_strange_cookies_are_answered_at_once(stage: Stage, cookie: str) -> None:
    async with running(stage, secrets=["geheim"], tokens=["t"]) as overseer:
        began = time.thread_time()
        check_problem(await overseer.http.get("/v1/main", headers={"Cookie": cookie}), 401)
        answer = await overseer.http.get("/v1/pool", headers={"Cookie": f'{cookie}; hanas-token="t"'})
        assert answer.status_code == 200
        assert time.thread_time() - began < 1.0


async def test_a_client_token_decides_nothing(stage: Stage) -> None:
    async with running(stage, secrets=["geheim"], tokens=["token"]) as overseer:
        for headers in ({"Authorization": "Bearer token"}, {"Cookie": "hanas-token=geheim"}):
            check_problem(await overseer.http.post("/v1/claim", json=stage.arrival(1), headers=headers), 401)


async def test_page_probes_and_metrics_are_open(stage: Stage) -> None:
    async with running(stage, secrets=["geheim"], tokens=["token"]) as overseer:
        await overseer.watcher.observation()
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            assert (await overseer.http.get(path)).status_code == 200


def listed(**rights: str) -> Clients:
    """Principals whose tokens are their names."""
    entries = [
        f"{{name: {name}, tokens: [{hashlib.sha256(name.encode()).hexdigest()}], grants: [{grants}]}}"
        for name, grants in rights.items()
    ]
    return decode(f"principals: [{', '.join(entries)}]")


CLIENTS = listed(eye="{rights: [observe]}", hand="{rights: [admin]}", keys="{roles: [writer]}")


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


async def test_each_principal_sees_and_does_what_it_may(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with running(stage, secrets=["geheim"], listed=CLIENTS) as overseer:
        statuses, http = {}, overseer.http
        for name in ("eye", "hand", "keys", "geheim"):
            statuses[name] = (
                (await http.get("/v1/main", headers=bearer(name))).status_code,
                (await http.get("/v1/cluster", headers=bearer(name))).status_code,
                (await http.delete("/v1/pool/w9", headers=bearer(name))).status_code,
                (await http.post("/v1/claim", json=stage.arrival(1), headers=bearer(name))).status_code,
            )
        assert statuses == {
            "eye": (200, 200, 403, 403),
            "hand": (200, 403, 404, 403),
            "keys": (200, 403, 403, 403),
            "geheim": (200, 200, 404, 200),
        }
        refused = check_problem(await http.get("/v1/pool", headers=bearer("keys")), 403)
        assert refused["detail"].startswith("keys has no right to observe this")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]
    assert [(line["principal"], line["call"], line["about"], line["status"]) for line in lines if "call" in line] == [
        ("hand", "DELETE /v1/pool/w9", "w9", 404),
        ("component", "DELETE /v1/pool/w9", "w9", 404),
    ]


async def test_what_anyone_may_see_is_set(stage: Stage) -> None:
    async with running(stage, secrets=["geheim"], listed=CLIENTS, public=Public.ALL) as overseer:
        await overseer.get("/v1/cluster")
        await overseer.get("/v1/main")
        check_problem(await overseer.http.delete("/v1/pool/w9"), 401)
    async with running(stage, secrets=["geheim"], listed=CLIENTS, public=Public.NONE) as overseer:
        await overseer.watcher.observation()
        check_problem(await overseer.http.get("/metrics"), 401)
        metrics = await overseer.http.get("/metrics", headers=bearer("eye"))
        assert "hanas_audit_lines_total" in metrics.text
        assert (await overseer.http.get("/healthz")).status_code == 200
        assert (await overseer.http.get("/readyz")).status_code == 200


async def test_a_browser_signs_in_and_out(stage: Stage) -> None:
    async with running(stage, secrets=["geheim"], tokens=["token"], listed=CLIENTS) as overseer:
        http = overseer.http
        check_problem(await http.post("/v1/session", json={"token": "wrong"}), 401)
        check_problem(await http.post("/v1/session", json={"token": "keys"}), 403)
        check_problem(await http.post("/v1/session", json={}), 400)
        check_problem(await http.post("/v1/session", content='{"token": "eye"}'), 415)
        foreign = {"Origin": "http://evil.example.com", "Content-Type": "application/json"}
        check_problem(await http.post("/v1/session", json={"token": "eye"}, headers=foreign), 403)
        check_problem(await http.get("/v1/session"), 401)
        assert not http.cookies
        signed = await http.post("/v1/session", json={"token": "eye"})
        assert signed.status_code == 204
        cookie = signed.headers["set-cookie"]
        assert cookie.endswith("; HttpOnly; SameSite=Strict")
        assert "eye" not in cookie
        encrypted = await http.post("/v1/session", json={"token": "eye"}, headers={"Origin": "https://overseer"})
        assert encrypted.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")
        value = cookie.partition(";")[0]
        http.cookies.clear()
        shown = {"Cookie": value}
        assert (await http.get("/v1/session", headers=shown)).json() == {"name": "eye", "signedIn": True}
        assert (await http.get("/v1/cluster", headers=shown)).status_code == 200
        check_problem(await http.delete("/v1/pool/w9", headers=shown), 401)
        check_problem(await http.post("/v1/claim", json=stage.arrival(1), headers=shown), 401)
        name, _, content = value.partition("=")
        until, token, seal = content.split(".")
        for forged in (
            f"{int(until) + 1}.{token}.{seal}",
            f"{until}.{'0' * 64}.{seal}",
            f"{until}.{token}.",
            f"{until}.{token}",
            "",
            "..",
            "x" * 5000,
            "%ff",
        ):
            check_problem(await http.get("/v1/cluster", headers={"Cookie": f"{name}={forged}"}), 401)
        assert (await http.get("/v1/session", headers=bearer("token"))).json() == {
            "name": "bearer of a token",
            "signedIn": False,
        }
        out = await http.delete("/v1/session", headers=shown)
        assert (out.status_code, "Max-Age=0" in out.headers["set-cookie"]) == (204, True)
        overseer.credentials.callers.renew(["geheim"], ["token"], listed(hand="{rights: [observe]}"))
        check_problem(await http.get("/v1/cluster", headers=shown), 401)
        overseer.credentials.callers.renew(["geheim"], ["token"], CLIENTS)
        assert (await http.get("/v1/cluster", headers=shown)).status_code == 200
        overseer.credentials.secrets.present = ("new", "geheim")
        assert (await http.get("/v1/cluster", headers=shown)).status_code == 200
        overseer.credentials.secrets.present = ("new",)
        check_problem(await http.get("/v1/cluster", headers=shown), 401)


def test_a_session_ends() -> None:
    callers, times = Callers(["s"], ["t"]), ["2026-01-01T00:00:00+00:00"]
    sessions = Sessions(["s"], callers, lambda: times[-1])
    cookie = sessions.begin("t").encode()
    assert sessions.principal(cookie) is callers.identify(b"Bearer t")
    times.append("2026-01-01T11:59:59+00:00")
    assert sessions.principal(cookie) is not None
    times.append("2026-01-01T12:00:00+00:00")
    assert sessions.principal(cookie) is None


async def test_where_everyone_may_look_there_is_nothing_to_sign_in_to(stage: Stage) -> None:
    async with running(stage) as overseer:
        check_problem(await overseer.http.post("/v1/session", json={"token": "x"}), 409)
        assert await overseer.get("/v1/session") == {"name": "anonymous", "signedIn": False}


async def test_over_tls_the_cookie_of_a_session_is_sent_over_tls_only(stage: Stage) -> None:
    async with running(stage, secrets=["geheim"], tokens=["token"]) as overseer:
        answer = await overseer.http.post("https://overseer/v1/session", json={"token": "token"})
        assert answer.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")
        answer = await overseer.http.delete("https://overseer/v1/session")
        assert answer.headers["set-cookie"].endswith("; Max-Age=0; HttpOnly; SameSite=Strict; Secure")


async def test_where_components_show_certificates_a_session_needs_no_secret(stage: Stage) -> None:
    async with running(stage, tokens=["token"], certified=True) as overseer:
        http = overseer.http
        check_problem(await http.post("/v1/session", json={"token": "wrong"}), 401)
        value = (await http.post("/v1/session", json={"token": "token"})).headers["set-cookie"].partition(";")[0]
        http.cookies.clear()
        check_problem(await http.get("/v1/cluster"), 401)
        assert (await http.get("/v1/cluster", headers={"Cookie": value})).status_code == 200
        name, _, content = value.partition("=")
        until, token, _ = content.split(".")
        forged = Sessions([""], overseer.credentials.callers, Runtime().wall_clock).begin("token")
        check_problem(await http.get("/v1/cluster", headers={"Cookie": f"{name}={forged}"}), 401)
        check_problem(await http.get("/v1/cluster", headers={"Cookie": f"{name}={until}.{token}."}), 401)
