"""The blocks of docs/security.md about compose.tls.yaml, and what must then be so."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.compose.conftest import ROOT, environment_of, free_ports, override_of
from tests.compose.stack import PATIENCE_SECONDS, WORKER_PORTS, translated
from tests.compose.terminal import blocks, opened
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

[UP, CLIENT, RENEWAL] = blocks(ROOT / "docs/security.md")["With compose"]
Play = Callable[[str], Awaitable[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """Types commands, with the names and ports of a project of its own, which is removed at the end."""
    directory = tmp_path_factory.mktemp("compose")
    ports, override = free_ports(), directory / "override.yaml"
    override.write_text(override_of(ports, "https") + "  certificates:\n    build: {network: host}\n")
    names = {"compose.tls.yaml": f"compose.tls.yaml:{override}", "certs/": f"{directory}/certs/"}
    names["mkdir -p certs"] = f"mkdir -p {directory}/certs"
    async with opened(ROOT, directory, environment_of(f"hanas-tls-{os.getpid()}")) as terminal:
        try:
            yield lambda commands: terminal.play(translated(commands, names, ports))
        finally:
            await terminal.play("docker compose --profile more down --volumes --timeout 5")


async def test_a_secured_cluster_from_nothing(play: Play) -> None:
    await play(UP)
    assert (await play(CLIENT)).split()[-1] == "hello"


async def test_who_shows_no_certificate_or_speaks_no_tls_is_refused(play: Play) -> None:
    status = "-s -o /dev/null -w '%{http_code}'"
    for port, path in ((4000, "/v1/cluster"), (3001, "/v1/kv/greeting")):
        assert (await play(f"curl {status} --cacert certs/ca.crt https://localhost:{port}{path}")).strip() == "401"
        assert (await play(f"curl {status} http://localhost:{port}{path}")).strip() == "400"
    script = (
        "import socket, ssl\n"
        "trust = ssl.create_default_context(cafile='/tls/ca.crt')\n"
        "host = 'worker-2.link.internal'\n"
        "with trust.wrap_socket(socket.create_connection((host, 4001), 5), server_hostname=host) as link:\n"
        "    link.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "    print(link.recv(100))\n"
    )
    said = await play(f'docker compose exec -T worker-1 python -c "{script}" 2>&1 || true')
    assert "certificate required" in said.lower()


async def test_nobody_has_the_keys_of_others(play: Play) -> None:
    for name in ("overseer", *sorted(WORKER_PORTS)[:3]):
        said = await play(f"docker compose exec -T {name} sh -c 'ls /tls; stat -c %a:%u /tls/tls.key'")
        assert said.split() == ["ca.crt", "tls.crt", "tls.key", "600:65532"]


async def test_all_certificates_are_renewed_while_the_cluster_runs(play: Play) -> None:
    async def serial() -> str:
        shown = "openssl s_client -connect localhost:3001 -CAfile certs/ca.crt </dev/null 2>/dev/null"
        return (await play(f"{shown} | openssl x509 -noout -serial")).strip()

    before = await serial()
    await play(RENEWAL)

    async def renewed() -> bool:
        return await serial() != before

    await eventually(renewed, PATIENCE_SECONDS)
    assert (await play(CLIENT)).split()[-1] == "hello"


async def test_a_main_that_is_killed_is_replaced(play: Play) -> None:
    main = "curl --config certs/curl -fsS https://localhost:4000/v1/main"
    await play(f'docker compose kill $({main} | sed \'s/.*"member":"\\([^"]*\\)".*/\\1/\')')

    async def answered() -> bool:
        asked = [f"curl --config certs/curl -fsS -L https://localhost:{port}/v1/kv/greeting" for port in (3001, 3002)]
        return "hello" in await play(f"{' || '.join(asked)} || true")

    await eventually(answered, PATIENCE_SECONDS)
