"""Tests on NFS mounts: skipped without HANAS_NFS_MOUNTS; `make test-nfs` sets it."""

import pytest

from tests.integration.places import MOUNTS


@pytest.fixture(scope="session", autouse=True)
def _mounts() -> None:
    if not MOUNTS:
        pytest.skip("HANAS_NFS_MOUNTS is not set: no NFS mounts")
