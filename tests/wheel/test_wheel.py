"""The wheel in an empty environment, as `pip install hanas` makes one: every command runs."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_lab import ports
from tests.integration.programs import started
from tests.integration.waiting import PATIENCE_SECONDS, within

ROOT = Path(__file__).parents[2]
PYTHONS = os.environ.get("HANAS_PYTHONS", sys.executable).split()
"""The interpreters to install for."""
TIMEOUT = 300
"""Seconds; the first installation downloads the dependencies."""
pytestmark = pytest.mark.timeout(TIMEOUT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=PYTHONS)
def commands(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in an environment that holds the wheel and its dependencies only."""
    environment = tmp_path_factory.mktemp("environment")
    python: str = request.param
    subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
    target = ["--python", str(environment / "bin/python")]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--quiet", *target, str(wheel)], check=True)
    return environment / "bin"


async def said(command: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, standard output and standard error."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        command, *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    output, errors = await within(PATIENCE_SECONDS, process.communicate())
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest_asyncio.fixture
async def overseer(commands: Path, tmp_path: Path) -> AsyncIterator[str]:
    """An overseer and a worker, started by their commands; the URL of the overseer."""
    taken: set[int] = set()
    port, worker_port, link_port = (str(ports.choose(taken)) for _ in range(3))
    folder = tmp_path / "communication"
    folder.mkdir()
    common = {"COMMUNICATION_FOLDER": str(folder)}
    url = f"http://127.0.0.1:{port}"
    own = {
        "PORT": worker_port,
        "LINK_PORT": link_port,
        "OVERSEER_IP": url,
        "ADVERTISE_URL": f"http://127.0.0.1:{worker_port}",
        "LINK_URL": f"http://127.0.0.1:{link_port}",
    }
    async with started(str(commands / "hanas-overseer"), tmp_path, PORT=port, **common) as serving:
        await serving.says("serving the folder")
        async with started(str(commands / "hanas-worker"), tmp_path, **own, **common) as worker:
            yield url
            assert await worker.stop() == 0, worker.said
        assert await serving.stop() == 0, serving.said


async def test_a_value_is_written_and_read(commands: Path, overseer: str) -> None:
    code, output, errors = await said(commands / "hanas", "put", "greeting", "hello", OVERSEER_IP=overseer)
    assert (code, output, errors) == (0, "created greeting, version 1-1\n", "")
    assert await said(commands / "hanas", "get", "greeting", OVERSEER_IP=overseer) == (0, "hello", "")


async def test_the_command_knows_its_version_and_all_subcommands(commands: Path, wheel: Path) -> None:
    version = wheel.name.split("-")[1]
    assert await said(commands / "hanas", "--version") == (0, f"hanas {version}\n", "")
    assert await said(commands / "kubectl-hanas", "--version") == (0, f"kubectl hanas {version}\n", "")
    for arguments in (["--help"], ["lab", "--help"], ["demo", "--help"], ["fsck", "--help"], ["bench", "--help"]):
        code, output, errors = await said(commands / "hanas", *arguments)
        assert (code, errors) == (0, ""), arguments
        assert output.startswith("usage: hanas")


async def test_the_operator_names_its_extra_in_one_line(commands: Path) -> None:
    words = "hanas-operator: needs kopf and kubernetes; install with: pip install 'hanas[operator]'\n"
    assert await said(commands / "hanas-operator") == (1, "", words)


def test_the_wheel_names_every_extra(commands: Path) -> None:
    assert shutil.which("hanas", path=str(commands))
    (metadata,) = commands.parent.glob("lib/*/site-packages/hanas-*.dist-info/METADATA")
    extras = {line.split(": ")[1] for line in metadata.read_text().splitlines() if line.startswith("Provides-Extra")}
    assert {"overseer", "worker", "client", "operator", "s3", "all"} <= extras
