"""HANas itself: three workers and an overseer on one folder, preset `lan`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hanas_client import AsyncClient, Policy
from hanas_client.errors import HanasError
from hanas_lab.cluster import Lab


class Hanas:
    """A lab with the preset `lan`, and with the given timings changed, seconds."""

    def __init__(self, name: str, **timings: float) -> None:
        """Start nothing yet."""
        self.name = name
        words = "".join(f", {timing} {seconds:g} s" for timing, seconds in timings.items())
        self.settings = f"3 workers, 1 overseer, preset lan{words}"
        self._environment = {f"HANAS_{timing.upper()}": str(seconds) for timing, seconds in timings.items()}
        self._lab: Lab | None = None
        self._client: AsyncClient | None = None
        self._killed = ""

    async def start(self, directory: Path) -> None:
        """Start the lab."""
        self._lab = Lab(directory / "lab", 3, overseer_port=0, first_port=0, environment=self._environment)
        await self._lab.start()
        urls = list(self._lab.urls.values())
        self._client = AsyncClient(self._lab.overseer_url, urls, policy=Policy(deadline=30.0, read=1.0))
        await self._until_whole()

    async def kill_leader(self) -> None:
        """Kill the main."""
        lab, _ = self._parts()
        self._killed = await lab.main() or ""
        await lab.kill(self._killed)

    async def write(self, key: str) -> bool:
        """Write with the client, which retries by itself."""
        _, client = self._parts()
        try:
            await client.put(key, b"x" * 64)
        except HanasError:
            return False
        return True

    async def restore(self) -> None:
        """Restart the killed worker."""
        lab, _ = self._parts()
        await lab.start_worker(self._killed)
        await self._until_whole()

    async def stop(self) -> None:
        """End the lab."""
        if self._client is not None:
            await self._client.close()
        if self._lab is not None:
            await self._lab.stop()

    def _parts(self) -> tuple[Lab, AsyncClient]:
        assert self._lab is not None
        assert self._client is not None
        return self._lab, self._client

    async def _until_whole(self) -> None:
        lab, client = self._parts()
        async with asyncio.timeout(60):
            while True:
                statuses = [await client.status(url) for url in lab.urls.values()]
                answers = sorted((str(status["role"]), str(status["verdict"])) for status in statuses)
                if answers == [("backup", "Healthy"), ("backup", "Healthy"), ("main", "Healthy")]:
                    return
                await asyncio.sleep(0.1)
