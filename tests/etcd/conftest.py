"""Client libraries of etcd, each in a directory of its own: how to start a program that uses one."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.etcd.sides import missing, program

CLIENTS = Path(__file__).parent / "clients"
REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "etcd-clients.txt"


def fetch(what: str, directory: Path, *command: str | Path) -> None:
    """Run a command that downloads; a test that goes without what it brings is skipped."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"{what} cannot be had: {(done.stderr or done.stdout).strip()[-1000:]}")


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flows in Go."""
    compiler, flows = program("go", "1.26"), tmp_path_factory.mktemp("go") / "flows"
    fetch("etcd's client library for Go", CLIENTS / "go", compiler, "mod", "download")
    subprocess.run([compiler, "build", "-o", flows, "."], cwd=CLIENTS / "go", check=True)
    return [str(flows)]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flows in JavaScript."""
    interpreter, installer = program("node", "18"), program("npm", "9")
    directory = shutil.copytree(CLIENTS / "node", tmp_path_factory.mktemp("node") / "flows")
    fetch("etcd's client library for Node", directory, installer, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return [interpreter, str(directory / "flows.js")]


@pytest.fixture(scope="session")
def etcd3gw(environment: Path) -> list[str]:
    """The flows by JSON."""
    return [str(environment / "python"), str(CLIENTS / "python" / "etcd3gw_flows.py")]


@pytest.fixture(scope="session")
def aetcd(environment: Path) -> list[str]:
    """The flows in Python."""
    return [str(environment / "python"), str(CLIENTS / "python" / "aetcd_flows.py")]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a Python environment with libraries of etcd's clients, and Patroni."""
    directory = tmp_path_factory.mktemp("python")
    venv.create(directory)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", directory, "install", "--quiet")
    fetch("what uses etcd in Python", directory, *pip, "--no-deps", "--require-hashes", "-r", REQUIREMENTS)
    return directory / "bin"
