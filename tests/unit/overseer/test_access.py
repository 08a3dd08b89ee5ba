"""Who may call what."""

import time
from pathlib import Path

import pytest

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
