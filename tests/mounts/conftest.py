"""Clusters whose workers each have a mount of their own over one real folder: skipped where there is no FUSE.

With HANAS_MOUNTS_REQUIRED=1 (`make test-mounts` sets it) nothing is skipped.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_lab.mounts import NAMES_CACHED, obstacle
from tests.mounts.mounted import Mounted, mounted


@pytest.fixture(scope="session", autouse=True)
def _mounts() -> None:
    reason = obstacle()
    if reason is not None and os.environ.get("HANAS_MOUNTS_REQUIRED"):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mounts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mounted]:
    """Three workers, each behind a mount of its own."""
    async with mounted(tmp_path_factory.mktemp("mounts")) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cached(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mounted]:
    """The same, with mounts that believe for a minute what they once knew of names."""
    async with mounted(tmp_path_factory.mktemp("cached"), NAMES_CACHED) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def small(tmp_path: Path) -> AsyncIterator[Mounted]:
    """The same on a volume of 64 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small volume")
    async with mounted(tmp_path, volume_mib=64) as cluster:
        yield cluster
