"""The images: what is in them, and that they run as confined as can be."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.compose.conftest import ROOT
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

TARGETS = {
    "overseer": "hanas-overseer",
    "worker": "hanas-worker",
    "hanas": "hanas-worker",
    "operator": "hanas-operator",
    "client": "hanas",
}
SHARED = {"certificates", "events", "facts", "settings", "tls_files"}
CONFINED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
_UNUSED = re.compile(r"/kubernetes/(aio/)?client/(api|models)/")
PREFIX = f"hanas-image-{os.getpid()}"


class Failed(Exception):
    """A docker command ended with an error; the message is what it said."""


async def docker(*words: str) -> str:
    """Run a docker command; return what it wrote. Raises Failed."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *words,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, trouble = await process.communicate()
    if process.returncode:
        raise Failed(f"docker {' '.join(words)}: {trouble.decode()}{said.decode()}")
    return said.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=TARGETS)
async def image(engine: None, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The name of a target's image, just built."""
    name = f"hanas-drill-image:{request.param}"
    await docker("build", "--quiet", "--network", "host", "--target", request.param, "--tag", name, ".")
    yield name


@pytest_asyncio.fixture(loop_scope="module")
async def removed(engine: None) -> AsyncIterator[None]:
    """Containers, networks and volumes whose names begin with PREFIX go at the end."""
    yield
    for containers in [(await docker("ps", "--all", "--quiet", "--filter", f"name={PREFIX}")).split()]:
        if containers:
            await docker("rm", "--force", "--volumes", *containers)
    for kind in ("network", "volume"):
        found = (await docker(kind, "ls", "--quiet", "--filter", f"name={PREFIX}")).split()
        if found:
            await docker(kind, "rm", *found)


async def in_shell(image: str, script: str) -> str:
    return await docker("run", "--rm", "--network", "none", *CONFINED, "--entrypoint", "sh", image, "-c", script)


async def test_what_the_image_says_of_itself(image: str) -> None:
    inspected: list[dict[str, Any]] = json.loads(await docker("image", "inspect", image))
    config = inspected[0]["Config"]
    target = image.partition(":")[2]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [TARGETS[target]]
    assert not config.get("Volumes"), "a container without the shared volume would get one of its own"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == "0.1.0"
    assert labels["title"].startswith("HANas")
    assert labels["description"]


async def test_nobody_builds_or_is_root_in_it(image: str) -> None:
    assert (await in_shell(image, "id -u; id -g")).split() == ["65532", "65532"]
    assert not (await in_shell(image, "command -v gcc cc g++ ld make || true")).strip()
    assert not (await in_shell(image, "find /opt/hanas -writable")).strip()


async def test_every_module_is_compiled(image: str) -> None:
    script = (
        "import importlib.util, os, pathlib\n"
        "for path in pathlib.Path('/opt/hanas').rglob('*.py'):\n"
        "    if not os.path.exists(importlib.util.cache_from_source(path)): print(path)\n"
    )
    said = await docker("run", "--rm", "--network", "none", *CONFINED, "--entrypoint", "python", image, "-c", script)
    assert not [path for path in said.split() if not _UNUSED.search(path)]


async def test_a_component_carries_nothing_of_another(image: str) -> None:
    """The image of the operator's pods has all that they run: worker, overseer, and the command for backups."""
    target = image.partition(":")[2]
    packages = set((await in_shell(image, "cd /opt/hanas && ls -d hanas_*")).split())
    own = {"hanas_worker", "hanas_overseer", "hanas_client"} if target == "hanas" else {f"hanas_{target}"}
    assert packages == {"hanas_core", "hanas_serving"} | own
    if target == "client":  # of the servers it has the reader of event streams, and certificates, only
        modules = (await in_shell(image, "cd /opt/hanas/hanas_serving && ls *.py")).split()
        assert modules == ["__init__.py", *(f"{name}.py" for name in sorted(SHARED))]


async def test_it_starts_as_far_as_it_can_alone(image: str) -> None:
    """Every import is there: what ends it is a setting, said in one line."""
    helpful = {"hanas-drill-image:operator": "--kubeconfig", "hanas-drill-image:client": "takeovers"}
    if image in helpful:
        assert helpful[image] in await docker("run", "--rm", "--network", "none", *CONFINED, image, "--help")
        return
    with pytest.raises(Failed, match="HANAS_PRESET=slow: must be one of") as failed:
        await docker("run", "--rm", "--network", "none", *CONFINED, "--env", "HANAS_PRESET=slow", image)
    assert "Traceback" not in str(failed.value)


@pytest.mark.parametrize("image", ["hanas"], indirect=True)
async def test_overseer_and_worker_of_one_image_run_confined_and_stop_in_order(image: str, removed: None) -> None:
    volume = ["--volume", f"{PREFIX}:/communication"]
    await docker("network", "create", PREFIX)
    common = ["--detach", "--network", PREFIX, *CONFINED, *volume]
    await docker("run", *common, "--name", f"{PREFIX}-overseer", "--entrypoint", "hanas-overseer", image)
    overseer = f"http://{PREFIX}-overseer:4000"
    await docker("run", *common, "--name", f"{PREFIX}-worker", "--env", f"OVERSEER_IP={overseer}", image)

    async def written() -> bool:
        script = (
            "import urllib.request as u; "
            "print(u.urlopen(u.Request('http://localhost:3001/v1/kv/k', b'v', method='PUT'), timeout=5).status)"
        )
        try:
            return (await docker("exec", f"{PREFIX}-worker", "python", "-c", script)).split() in (["201"], ["204"])
        except Failed:
            return False

    await eventually(written, 60.0)
    for name in (f"{PREFIX}-worker", f"{PREFIX}-overseer"):
        await docker("stop", "--time", "20", name)
        assert (await docker("inspect", "--format", "{{.State.ExitCode}}", name)).strip() == "0"


@pytest.mark.parametrize("image", ["overseer", "worker"], indirect=True)
async def test_a_folder_that_cannot_be_written_is_told_in_one_line(image: str) -> None:
    with pytest.raises(Failed, match="COMMUNICATION_FOLDER=/communication: cannot be written"):
        await docker("run", "--rm", "--network", "none", *CONFINED, image)
