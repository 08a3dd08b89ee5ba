"""A lab of three workers behind each of the proxies of docs/proxies.md, with the configurations of that page.

A proxy that is not installed is skipped; with HANAS_PROXIES_REQUIRED (`make test-proxies` sets it to those of Debian)
a missing one of these fails.
"""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.cluster import running
from tests.integration.places import PATIENT
from tests.proxies.proxied import PROXIES, Proxied, proxied


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROXIES)
async def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxied]:
    """A proxy in front of a main, two backups and their overseer."""
    name = request.param
    if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        missing = f"{name} is not installed"
        if name in os.environ.get("HANAS_PROXIES_REQUIRED", "").split():
            pytest.fail(missing)
        pytest.skip(missing)
    directory = tmp_path_factory.mktemp(name)
    async with (
        running(tmp_path_factory.mktemp("lab"), 3, None, **PATIENT) as cluster,
        proxied(name, cluster, directory) as started,
    ):
        yield started
