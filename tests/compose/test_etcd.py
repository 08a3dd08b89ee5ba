"""The blocks of docs/etcd.md about compose.etcd.yaml, and what must then be so."""

import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.compose.conftest import ROOT, environment_of, free_ports, override_of
from tests.compose.stack import ETCD_PORTS, PATIENCE_SECONDS, translated
from tests.compose.terminal import blocks, opened
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

[UP, USE] = blocks(ROOT / "docs/etcd.md")["With compose"]
Play = Callable[[str], Awaitable[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """Types commands, with the names and ports of a project of its own, which is removed at the end."""
    directory = tmp_path_factory.mktemp("compose")
    ports, override = free_ports(*ETCD_PORTS.values()), directory / "override.yaml"
    override.write_text(override_of(ports))
    names = {"compose.etcd.yaml": f"compose.etcd.yaml:{override}"}
    async with opened(ROOT, directory, environment_of(f"hanas-etcd-{os.getpid()}")) as terminal:
        try:
            yield lambda commands: terminal.play(translated(commands, names, ports))
        finally:
            await terminal.play("docker compose --profile more down --volumes --timeout 5")


async def test_what_one_worker_takes_another_one_has_and_the_other_api(play: Play) -> None:
    await play(UP)
    put, ranged, value = filter(None, (await play(USE)).splitlines())
    assert int(json.loads(put)["header"]["revision"]) > 1
    (there,) = json.loads(ranged)["kvs"]
    assert base64.b64decode(there["value"]) == b"hello"
    assert value == "hello"


async def test_containers_reach_all_workers_by_one_name(play: Play) -> None:
    script = (
        "import os, urllib.request\n"
        "url = 'http://etcd:' + os.environ['HANAS_ETCD_PORT'] + '/health'\n"
        "print(urllib.request.urlopen(url, timeout=5).read().decode())\n"
    )
    assert json.loads(await play(f'docker compose exec -T worker-2 python -c "{script}"'))["health"] == "true"


async def test_it_is_there_again_when_the_main_was_killed(play: Play) -> None:
    main = 'curl -fsS http://localhost:4000/v1/main | sed \'s/.*"member":"\\([^"]*\\).*/\\1/\''
    killed = (await play(main)).strip()
    await play(f"docker compose kill {killed}")
    port = next(port for worker, port in ETCD_PORTS.items() if worker != killed)

    async def answered() -> bool:
        asked = f"""curl -fsS -d '{{"key": "Z3JlZXRpbmc="}}' http://localhost:{port}/v3/kv/range || true"""
        return "aGVsbG8=" in await play(asked)

    await eventually(answered, PATIENCE_SECONDS)
