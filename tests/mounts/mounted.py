"""A lab whose workers each have a mount of their own, and what can be asked of their processes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hanas_client.documents import Alert
from hanas_lab.hosts import Host
from hanas_lab.mounts import Mount
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import SLOWNESS, eventually

FOLDER_UNAVAILABLE = "FolderUnavailable"
WORKERS = 3
AT_ONCE_SECONDS = 3.0 * SLOWNESS
"""On a busy machine."""
SMALL_SEGMENTS = {"HANAS_SEGMENT_BYTES": str(2 << 20), "HANAS_VALUE_BYTES": str(1 << 20)}


@dataclass
class Mounted(Cluster):
    """A running lab, and each worker's mount by the worker's name."""

    mounts: dict[str, Mount]
    volume: Path

    def threads(self, name: str) -> int:
        """How many threads a worker's process has."""
        pid = next(worker["pid"] for worker in self.lab.status()["workers"] if worker["name"] == name)
        return len(list(Path(f"/proc/{pid}/task").iterdir()))

    async def quick(self, name: str, path: str) -> httpx.Response:
        """Ask a worker; it must answer at once whatever its folder does, which hangs until the test lets it go on."""
        return await self.http.get(self.url(name, path), timeout=AT_ONCE_SECONDS, follow_redirects=False)

    async def own_verdict(self, name: str) -> str:
        return str((await self.quick(name, "/v1/status")).json()["verdict"])

    async def until_own_verdict(self, name: str, verdict: str) -> None:
        async def told() -> bool:
            return await self.own_verdict(name) == verdict

        await eventually(told)

    async def raised(self, name: str) -> Alert:
        """The alert that a worker cannot use its folder, as an overseer shows it."""
        return await eventually(lambda: self.alert(FOLDER_UNAVAILABLE, about=name))

    async def until_cleared(self) -> None:
        async def none() -> bool:
            return await self.client.alerts() == ()

        await eventually(none)

    async def restore(self) -> str:
        """Let every mount work, every process run, and return the main once all is well."""
        for mount in self.mounts.values():
            mount.go_on()
            if mount.read_only or mount.process is None or mount.process.returncode is not None:
                await mount.replace()
        return await self.settle()


@asynccontextmanager
async def mounted(
    directory: Path, options: Sequence[str] = (), *, volume_mib: int | None = None
) -> AsyncIterator[Mounted]:
    """Run a cluster of three workers, each with its mount; `volume_mib`: on a volume of that size."""
    volume = directory / "volume"
    volume.mkdir()
    async with AsyncExitStack() as stack:
        if volume_mib is not None:
            await _run("mount", "-t", "tmpfs", "-o", f"size={volume_mib}m", "none", volume)
            stack.push_async_callback(_run, "umount", "-l", volume)
        mounts = {f"worker-{n}": Mount(volume, directory / f"mount-{n}", tuple(options)) for n in range(1, WORKERS + 1)}
        for mount in mounts.values():
            await mount.attach()
            stack.push_async_callback(mount.detach)
        hosts = {name: Host(folder=mount.point) for name, mount in mounts.items()}
        hosts["overseer"] = Host(folder=volume)
        cluster = await stack.enter_async_context(
            running(directory / "lab", WORKERS, hosts, **SMALL_SEGMENTS, **PATIENT)
        )
        for mount in mounts.values():
            stack.callback(mount.go_on)  # so that the workers end in order
        yield Mounted(cluster.lab, cluster.client, cluster.http, mounts, volume)


async def _run(*command: Any) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command
