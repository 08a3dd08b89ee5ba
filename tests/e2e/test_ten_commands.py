"""docs/kubernetes.md: from nothing to a link failure on kind, its own commands, one after the other."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import NODE_IMAGE, Cluster
from tests.e2e.commands import ROOT, run
from tests.e2e.waiting import eventually

HEADING = "## From nothing to a link failure, on kind"
_SHARED = Path("/tmp/hanas-kind")


def _blocks() -> list[list[str]]:
    """The commands of each block under the heading."""
    text = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    section = text.partition(HEADING)[2].partition("\n## ")[0]
    return [
        block.strip().splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine without a cluster of that name; the cluster goes in the end."""
    if cluster.nodes is None:
        pytest.skip("these commands make a kind cluster; KUBECONFIG names another one")
    if "hanas" in run("kind", "get", "clusters").split() or _SHARED.exists():
        pytest.fail(f"there is a kind cluster 'hanas' already, or its folder {_SHARED}: it would be in the way")
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    yield environment
    run("kind", "delete", "cluster", "--name", "hanas", environment=environment, seconds=120)
    shutil.rmtree(_SHARED, ignore_errors=True)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_command_works_as_it_is_written(environment: dict[str, str]) -> None:
    commands, looks = _blocks()
    assert len(commands) == 10
    for command in commands:
        typed = command.replace("docker build ", "docker build --network host ")
        if command.startswith("kind create") and NODE_IMAGE in os.environ:
            typed += f" --image {os.environ[NODE_IMAGE]}"
        print(run("bash", "-ec", typed, environment=environment, seconds=600))

    def seen() -> bool:
        said = run("bash", "-ec", looks[0], environment=environment)
        return "Active, LinkFailed" in said

    eventually("the failure is seen", seen, 60.0)
    for look in looks:
        print(run("bash", "-ec", look, environment=environment))
