"""A main whose epoch has been sealed acknowledges nothing, shows nothing, and says where it stands."""

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hanas_core.log.claimfile import Seal
from hanas_core.log.claims import highest_claim
from hanas_core.log.seals import write_seal
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", params=["write", "read"])
async def sealed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A lone main that suspects nobody for an hour, not even itself, with a key, and with its seal written."""
    async with running(tmp_path_factory.mktemp("lab"), 1, HANAS_SUSPECT_AFTER="3600") as cluster:
        await cluster.client.put("before", b"value")
        seal(cluster)
        yield cluster


def seal(cluster: Cluster) -> None:
    """End the present epoch, as whoever claimed the next one would."""
    folder = PosixFolder(cluster.lab.communication_folder)
    claim = run(highest_claim(folder))
    assert claim is not None
    run(write_seal(folder, claim.epoch, Seal(claim.epoch + 1, "another", secrets.token_hex(16))))


async def test_a_sealed_main_serves_nobody(sealed: Cluster, request: pytest.FixtureRequest) -> None:
    url = sealed.kv("worker-1", "before")
    if request.node.callspec.params["sealed"] == "write":
        answer = await sealed.http.put(url, content=b"late")
        assert (answer.status_code, answer.headers["hanas-outcome"]) == (503, "unknown")
        assert "it may or may not have been done" in answer.json()["detail"]
    else:
        assert (await sealed.http.get(url)).status_code == 503
    for answer in (
        await sealed.http.get(url),
        await sealed.http.put(url, content=b"later"),
        await sealed.http.delete(url),
        await sealed.http.get(sealed.url("worker-1", "/v1/kv")),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"].startswith("there is no main just now")
        assert "hanas-outcome" not in answer.headers
        assert answer.headers["hanas-epoch"] == "1"
    ready = await sealed.http.get(sealed.url("worker-1", "/readyz"))
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert (await sealed.http.get(sealed.url("worker-1", "/healthz"))).status_code == 200
    assert (await sealed.status("worker-1"))["role"] == "backup"


async def test_a_lone_main_that_was_sealed_claims_anew(alone: Cluster) -> None:
    written = await alone.client.put("kept", b"value")
    epoch = await alone.epoch()
    seal(alone)
    # The write in flight was in the log already, so the next epoch logs it again, with the version that it had there.
    in_flight = await alone.client.put("in-flight", b"value")
    assert in_flight.version.startswith(f"{epoch}-")
    after = await alone.client.put("after", b"value")
    assert after.version.startswith(f"{epoch + 1}-")
    assert (await alone.client.get("kept")).version == written.version
    assert (await alone.client.get("in-flight")).version == in_flight.version

    async def told() -> bool:
        newest = await alone.latest_takeover()
        return (newest.epoch, newest.verdict) == (epoch + 1, "PrimaryFailed")

    await eventually(told)
