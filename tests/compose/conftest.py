"""A project of its own for compose.yaml, on the engine of DOCKER_HOST; without an engine, a skip that says so."""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from hanas_client import AsyncClient, Policy
from tests.compose.stack import ETCD_PORTS, OVERSEER_PORT, PATIENCE_SECONDS, WORKER_PORTS, Stack
from tests.compose.terminal import blocks, opened

ROOT = Path(__file__).parents[2]
REQUIRED = "HANAS_COMPOSE_REQUIRED"
"""Set: without an engine the drills fail."""


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine with compose."""
    missing = _missing()
    if missing and os.environ.get(REQUIRED):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def _missing() -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker command here: the drills of docs/compose.md are not played"
    host = os.environ.get("DOCKER_HOST", "the default one")
    needs = {"Docker engine answers": ["version"], "docker compose is installed": ["compose", "version"]}
    for what, command in needs.items():
        done = subprocess.run(["docker", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"no {what} (DOCKER_HOST: {host}): {''.join(done.stderr.strip().splitlines()[-1:])}"
    return None


def _free_port(taken: set[int]) -> int:
    """Below the ports that the kernel gives to connections."""
    while True:
        port = random.randint(20_000, 30_000)
        with socket.socket() as probe:
            if port not in taken and probe.connect_ex(("127.0.0.1", port)):
                taken.add(port)
                return port


def free_ports(*more: int) -> dict[int, int]:
    """A free port for each that compose.yaml publishes, and for `more`."""
    taken: set[int] = set()
    return {port: _free_port(taken) for port in (OVERSEER_PORT, *WORKER_PORTS.values(), *more)}


def override_of(ports: dict[int, int], scheme: str = "http") -> str:
    """What differs from compose.yaml: free ports, and builds that may use the network of this machine."""
    lines = [
        "services:",
        "  overseer:",
        "    build: {network: host}",
        f'    ports: !override ["127.0.0.1:{ports[OVERSEER_PORT]}:{OVERSEER_PORT}"]',
    ]
    for worker, port in WORKER_PORTS.items():
        published, etcd = [f'"127.0.0.1:{ports[port]}:{port}"'], ports.get(ETCD_PORTS[worker])
        if etcd is not None:
            published.append(f'"127.0.0.1:{etcd}:2379"')
        lines += [
            f"  {worker}:",
            "    build: {network: host}",
            f"    ports: !override [{', '.join(published)}]",
            f'    environment: {{ADVERTISE_URL: "{scheme}://localhost:{ports[port]}"}}',
        ]
    return "\n".join([*lines, ""])


def environment_of(project: str) -> dict[str, str]:
    """What `docker compose` is called with."""
    return {
        **os.environ,
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_PROGRESS": "plain",
        "HANAS_VERSION": "drill",
        # Patient timings: on a busy machine the fast ones can take a slow main for a dead one.
        "HANAS_PRESET": os.environ.get("HANAS_PRESET", "cloud"),
    }


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[Stack]:
    """A project that does not exist yet: the first drill starts it. All of it is removed at the end."""
    ports = free_ports()
    override = directory / "override.yaml"
    override.write_text(override_of(ports))
    project = f"hanas-drill-{os.getpid()}"
    environment = environment_of(project) | {"COMPOSE_FILE": f"{ROOT / 'compose.yaml'}:{override}"}
    workers = [f"http://localhost:{ports[port]}" for port in WORKER_PORTS.values()]
    async with (
        opened(ROOT, directory, environment) as terminal,
        AsyncClient(
            f"http://localhost:{ports[OVERSEER_PORT]}", workers, policy=Policy(deadline=PATIENCE_SECONDS, read=2.0)
        ) as client,
        httpx.AsyncClient(trust_env=False, timeout=5.0) as http,
    ):
        try:
            yield Stack(project, ports, blocks(ROOT / "docs/compose.md"), terminal, client, http)
        finally:
            await terminal.play("docker compose --profile more down --volumes --timeout 5")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One project for all drills of a module."""
    async with started(tmp_path_factory.mktemp("compose")) as stack:
        yield stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A drill that failed shows what the containers logged."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        names = ["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name={stack.project}"]
        for name in subprocess.run(names, capture_output=True, text=True, check=False).stdout.split():
            done = subprocess.run(
                ["docker", "logs", "--tail", "40", name],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            report.sections.append((f"log of {name}", done.stdout))
    return report
