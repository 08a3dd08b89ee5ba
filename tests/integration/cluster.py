"""A lab of real processes, and the questions that the stories ask of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hanas_client import AsyncClient, Policy
from hanas_client.documents import Alert, Takeover
from hanas_lab import Lab
from hanas_lab.hosts import Host
from tests.integration.places import PRESET, hosts_of
from tests.integration.waiting import PATIENCE_SECONDS, SLOWNESS, eventually

HEALTHY = "Healthy"


@dataclass
class Cluster:
    """A running lab, a client of it, and plain HTTP without redirects or retries."""

    lab: Lab
    client: AsyncClient
    http: httpx.AsyncClient

    @property
    def names(self) -> list[str]:
        return list(self.lab.urls)

    def url(self, name: str, path: str = "") -> str:
        return self.lab.urls[name] + path

    def kv(self, name: str, key: str) -> str:
        """The URL of a key, which is not encoded here, at one worker."""
        return self.url(name, f"/v1/kv/{key}")

    async def main(self) -> str:
        """The main, once there is one that serves."""
        return await eventually(self._serving)

    async def _serving(self) -> str | None:
        main = (await self.client.cluster()).main
        if main is None or main.state != "serving":
            return None
        return main.member if (await self.status(main.member))["role"] == "main" else None

    async def main_url(self, path: str = "") -> str:
        return self.url(await self.main(), path)

    async def main_kv(self, key: str) -> str:
        return self.kv(await self.main(), key)

    async def a_backup(self) -> str:
        main = await self.main()
        return next(name for name in self.running() if name != main)

    async def epoch(self) -> int:
        return (await self.client.cluster()).epoch or 0

    def running(self) -> list[str]:
        """The workers whose processes run."""
        return [worker["name"] for worker in self.lab.status()["workers"] if worker["state"] == "running"]

    async def status(self, name: str) -> dict[str, Any]:
        return await self.client.status(self.url(name))

    async def until_verdict(self, name: str, verdict: str) -> None:
        """Wait until a backup says so."""

        async def told() -> bool:
            status = await self.status(name)
            return bool(status["role"] == "backup" and status["verdict"] == verdict)

        await eventually(told)

    async def settle(self) -> str:
        """Bring everything up that is not, wait until all is well, and return the main."""
        for worker in self.lab.status()["workers"]:
            if worker["state"] == "stopped":
                await self.lab.resume(worker["name"])
            elif worker["state"] == "ended":
                await self.lab.start_worker(worker["name"])
        main = await self.main()
        for name in self.names:
            if name != main:
                await self.until_verdict(name, HEALTHY)
        return main

    async def alert(self, kind: str, about: str) -> Alert | None:
        alerts = await self.client.alerts()
        return next((alert for alert in alerts if (alert.kind, alert.about) == (kind, about)), None)

    async def latest_takeover(self) -> Takeover:
        return (await self.client.takeovers())[-1]

    async def stale_list(self, name: str) -> dict[str, str]:
        """Every key with its version as one worker, whatever it is, has applied it."""
        found: dict[str, str] = {}
        after = ""
        while True:
            parameters = {"consistency": "stale", "limit": "1000", "after": after}
            response = await self.http.get(self.url(name, "/v1/kv"), params=parameters)
            response.raise_for_status()
            page = response.json()
            found |= {entry["key"]: entry["version"] for entry in page["keys"]}
            if page["next"] is None:
                return found
            after = page["next"]

    async def until_alike(self) -> dict[str, str]:
        """Wait until every running worker has the main's keys with the main's versions; return them."""
        main = await self.main()

        async def alike() -> dict[str, str] | None:
            lists = [await self.stale_list(name) for name in [main, *self.running()]]
            return lists[0] if all(other == lists[0] for other in lists) else None

        return await eventually(alike)


@asynccontextmanager
async def running(
    directory: Path, workers: int, hosts: Mapping[str, Host] | None = None, **environment: str
) -> AsyncIterator[Cluster]:
    """Run a cluster in `directory` on free ports; `environment` is for all of its processes."""
    async with _started(_lab(directory, workers, hosts, environment, tls=False)) as cluster:
        yield cluster


@asynccontextmanager
async def running_etcd(directory: Path, workers: int, **environment: str) -> AsyncIterator[Cluster]:
    """Run a cluster whose workers speak etcd's API, too."""
    async with _started(_lab(directory, workers, None, environment, tls=False, etcd=True)) as cluster:
        yield cluster


@asynccontextmanager
async def secured(
    directory: Path, workers: int, hosts: Mapping[str, Host] | None = None, **environment: str
) -> AsyncIterator[Cluster]:
    """Run a cluster whose processes, and clients, show certificates."""
    async with _started(_lab(directory, workers, hosts, environment, tls=True)) as cluster:
        yield cluster


def _lab(
    directory: Path,
    workers: int,
    hosts: Mapping[str, Host] | None,
    environment: Mapping[str, str],
    *,
    tls: bool,
    etcd: bool = False,
) -> Lab:
    return Lab(
        directory,
        workers,
        overseer_port=0,
        first_port=0,
        preset=PRESET,
        environment=environment,
        hosts=hosts_of(directory, workers) if hosts is None else hosts,
        patience=PATIENCE_SECONDS,
        tls=tls,
        etcd=etcd,
    )


@asynccontextmanager
async def _started(lab: Lab) -> AsyncIterator[Cluster]:
    async with (
        lab,
        lab.client(Policy(deadline=PATIENCE_SECONDS, read=2.0 * SLOWNESS)) as client,
        httpx.AsyncClient(verify=lab.trust, trust_env=False, timeout=PATIENCE_SECONDS) as http,
    ):
        yield Cluster(lab, client, http)
