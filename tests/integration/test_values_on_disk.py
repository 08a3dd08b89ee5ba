"""More data than a worker may keep in memory: values come from their segments, in part where a part is asked for."""

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

MIB = 1 << 20
SIZES = [0, 1, 4096, 65_536, 65_537, 300_001, 3 * MIB]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running(tmp_path_factory.mktemp("lab"), 2, HANAS_CACHE_BYTES="0") as cluster:
        yield cluster


def content(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


async def written(cluster: Cluster) -> None:
    for size in SIZES:
        await cluster.client.put(f"v/{size}", content(size))


async def test_values_are_read_from_their_segments(forgetful: Cluster) -> None:
    await forgetful.settle()
    await written(forgetful)
    for size in SIZES:
        assert (await forgetful.client.get(f"v/{size}")).value == content(size)
    await forgetful.until_alike()
    backup = await forgetful.a_backup()
    for size in SIZES:
        response = await forgetful.http.get(forgetful.kv(backup, f"v/{size}"), params={"consistency": "stale"})
        assert response.content == content(size)


@pytest.mark.parametrize("part", ["0-0", "65535-65536", "131072-200000", "-5", "2000000-2999999", "0-"])
async def test_parts_of_a_large_value(forgetful: Cluster, part: str) -> None:
    await forgetful.settle()
    await written(forgetful)
    whole = content(3 * MIB)
    response = await forgetful.http.get(await forgetful.main_kv(f"v/{3 * MIB}"), headers={"Range": f"bytes={part}"})
    assert response.status_code == 206
    begin, end = response.headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
    assert response.content == whole[int(begin) : int(end) + 1]
    assert response.headers["content-length"] == str(len(response.content))


async def test_a_head_tells_the_size_and_reads_nothing(forgetful: Cluster) -> None:
    await forgetful.settle()
    await written(forgetful)
    response = await forgetful.http.head(await forgetful.main_kv(f"v/{3 * MIB}"))
    assert response.headers["content-length"] == str(3 * MIB)
    assert response.content == b""


async def test_a_takeover_serves_what_it_has_never_had_in_memory(forgetful: Cluster) -> None:
    main = await forgetful.settle()
    await written(forgetful)
    await forgetful.until_alike()
    await forgetful.lab.kill(main)
    for size in SIZES:
        assert (await forgetful.client.get(f"v/{size}")).value == content(size)
    await forgetful.lab.start_worker(main)

    async def read() -> bool:
        response = await forgetful.http.get(forgetful.kv(main, "v/4096"), params={"consistency": "stale"})
        return response.content == content(4096)

    await eventually(read)


async def test_a_value_that_rotted_on_the_volume_is_never_served(forgetful: Cluster) -> None:
    await forgetful.settle()
    secret = b"a value that can be found on the volume"
    await forgetful.client.put("rotten", secret)
    await forgetful.until_alike()  # a backup would refuse to read on from a damaged batch
    for segment in (forgetful.lab.communication_folder / "segments").iterdir():
        at = segment.read_bytes().find(secret)
        if at >= 0:
            with segment.open("r+b") as file:
                file.seek(at)
                file.write(b"A")
    response = await forgetful.http.get(await forgetful.main_kv("rotten"))
    assert response.status_code == 503
    assert "segments/" in response.json()["detail"]
    assert "hanas fsck" in response.json()["detail"]
    await forgetful.client.put("rotten", b"written anew")
    assert (await forgetful.client.get("rotten")).value == b"written anew"
