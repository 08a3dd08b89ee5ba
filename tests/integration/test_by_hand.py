"""The cluster as a person makes it: two commands in an empty directory, with a port each and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.programs import Program, free_port, started
from tests.integration.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        yield http


async def until_ready(http: httpx.AsyncClient, port: int) -> None:
    async def ready() -> bool:
        return (await http.get(f"http://localhost:{port}/readyz")).status_code == 200

    await eventually(ready)


def overseer_port() -> int:
    return free_port(4500, 4999)


def worker_port() -> int:
    """Its link port is 1000 above."""
    return free_port(3001, 3499, also=1000)


async def test_an_overseer_and_two_workers(tmp_path: Path, http: httpx.AsyncClient) -> None:
    port, first, second = str(overseer_port()), worker_port(), worker_port()
    async with started("hanas-overseer", tmp_path, PORT=port) as overseer:
        await overseer.says("initialised the empty folder")
        overseer_url = f"http://localhost:{port}"
        async with started("hanas-worker", tmp_path, PORT=str(first), OVERSEER_IP=overseer_url) as main:
            await main.says("serving epoch 1 with 0 keys")
            answer = await http.put(f"http://localhost:{first}/v1/kv/greeting", content=b"hello")
            assert (answer.status_code, answer.headers["etag"]) == (201, '"1-1"')
            async with started("hanas-worker", tmp_path, PORT=str(second), OVERSEER_IP=overseer_url) as backup:
                await until_ready(http, second)
                answer = await http.get(f"http://localhost:{second}/v1/kv/greeting")
                assert answer.status_code == 307
                assert answer.headers["location"] == f"http://localhost:{first}/v1/kv/greeting"
                assert (await http.get(answer.headers["location"])).content == b"hello"

                async def pool() -> bool:
                    members = (await http.get(f"{overseer_url}/v1/pool")).json()["members"]
                    return [(member["role"], member["linkUrl"]) for member in members] == [
                        ("main", f"http://localhost:{first + 1000}"),
                        ("backup", f"http://localhost:{second + 1000}"),
                    ]

                await eventually(pool)
                assert [await program.stop() for program in (backup, main, overseer)] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["communication"]
    for program in (overseer, main, backup):
        assert_no_traceback(program)


async def test_a_worker_waits_for_the_overseer_to_make_the_folder(tmp_path: Path, http: httpx.AsyncClient) -> None:
    port, worker = overseer_port(), worker_port()
    async with started("hanas-worker", tmp_path, PORT=str(worker), OVERSEER_IP=f"http://localhost:{port}") as waiting:
        await waiting.says("waiting: there is no folder communication yet: an overseer makes it at its first start")
        ready = await http.get(f"http://localhost:{worker}/readyz")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
        assert "there is no folder communication yet" in ready.json()["detail"]
        assert (await http.get(f"http://localhost:{worker}/healthz")).status_code == 200
        early = await http.put(f"http://localhost:{worker}/v1/kv/early", content=b"x")
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        async with started("hanas-overseer", tmp_path, PORT=str(port)):
            await until_ready(http, worker)
            assert (await http.put(f"http://localhost:{worker}/v1/kv/early", content=b"x")).status_code == 201
        assert await waiting.stop() == 0


async def test_a_worker_that_waits_can_be_stopped(tmp_path: Path) -> None:
    environment = {"PORT": str(worker_port()), "OVERSEER_IP": f"http://localhost:{overseer_port()}"}
    async with started("hanas-worker", tmp_path, **environment) as waiting:
        await waiting.says("waiting: there is no folder")
        assert await waiting.stop() == 0
    assert_no_traceback(waiting)
    assert list(tmp_path.iterdir()) == []


def assert_no_traceback(program: Program) -> None:
    assert not any("Traceback" in line or " ERROR " in line for line in program.said), program.said
