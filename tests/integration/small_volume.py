"""A small volume that can be filled, a real one: ext4 in a file, on a loop device."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import Refused
from tests.integration.cluster import Cluster
from tests.integration.waiting import within

MIB = 1 << 20
VOLUME_BYTES = 96 * MIB
VALUE_BYTES = 256 << 10
SETTINGS = {"HANAS_SEGMENT_BYTES": str(2 * MIB), "HANAS_VALUE_BYTES": str(MIB), "HANAS_CACHE_BYTES": "0"}
PATIENCE_SECONDS = 60.0


def call(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def small_volume(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Iterator[Path]:
    """A lab's directory whose communication folder is a small ext4 volume; `options` are for `mkfs.ext4`."""
    directory = tmp_path_factory.mktemp("lab")
    image, mounted = tmp_path_factory.mktemp("image") / "ext4", directory / "communication"
    if not all(shutil.which(program) for program in ("mkfs.ext4", "mount", "umount")):
        pytest.skip("there is no mkfs.ext4 or no mount here: a full volume is not tried on a real one")
    with image.open("wb") as file:
        file.truncate(VOLUME_BYTES)
    mounted.mkdir()
    try:
        # Without an index a directory is full exactly when its blocks are.
        call("mkfs.ext4", "-q", "-m", "0", "-O", "^dir_index", *options, str(image))
        call("mount", "-o", "loop", str(image), str(mounted))
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"no loop device can be mounted here, which needs root ({error}): a full volume is not tried")
    try:
        yield directory
    finally:
        call("umount", "--lazy", str(mounted))


async def fill(cluster: Cluster, prefix: str, most: int = 1000) -> dict[str, bytes]:
    """Write until the volume is full; return what was acknowledged."""
    written: dict[str, bytes] = {}
    for number in range(most):
        key, value = f"{prefix}/{number:04}", number.to_bytes(4, "big") * (VALUE_BYTES // 4)
        try:
            await within(PATIENCE_SECONDS, cluster.client.put(key, value))
        except Refused as refusal:
            if refusal.status != 507:
                raise
            return written
        written[key] = value
    raise AssertionError("the volume never was full")


async def expect(cluster: Cluster, written: dict[str, bytes]) -> None:
    for key, value in written.items():
        assert (await cluster.client.get(key)).value == value


async def writes(cluster: Cluster, key: str, written: dict[str, bytes]) -> bool:
    try:
        await cluster.client.put(key, b"there is room again")
    except Refused:
        return False
    written[key] = b"there is room again"
    return True


async def has_room(cluster: Cluster) -> bool:
    return not (await cluster.status(await cluster.main()))["folder"]["full"]
