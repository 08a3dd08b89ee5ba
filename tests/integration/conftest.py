"""Clusters that the stories of one module share. Such a module runs on one event loop: `pytestmark = ONE_LOOP`."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster, running
from tests.integration.places import MOUNTS, PATIENT
from tests.integration.waiting import SLOWNESS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test more time on a slow machine, as `--timeout` does where it names no time of its own."""
    for item in items:
        marker = item.get_closest_marker("timeout")
        if marker is not None and SLOWNESS != 1:
            item.add_marker(pytest.mark.timeout(marker.args[0] * SLOWNESS), append=False)


@pytest.fixture(scope="module", autouse=True)
def _room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """On NFS, give the export its room back after each module: pytest keeps what it made until all tests have run."""
    yield
    if MOUNTS:
        for folder in tmp_path_factory.getbasetemp().glob("*[0-9]/communication"):
            shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One worker, which is the main: enough for what the API means."""
    async with running(tmp_path_factory.mktemp("lab"), 1) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A main and a backup."""
    async with running(tmp_path_factory.mktemp("lab"), 2, None, **PATIENT) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A main and two backups."""
    async with running(tmp_path_factory.mktemp("lab"), 3, None, **PATIENT) as cluster:
        yield cluster
