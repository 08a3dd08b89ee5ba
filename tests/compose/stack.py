"""What compose.yaml starts, seen from outside: by a client, and by plain HTTP at each worker."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from hanas_client import AsyncClient
from hanas_client.documents import Alert, Cluster
from tests.compose.terminal import Terminal
from tests.integration.waiting import eventually

PATIENCE_SECONDS = 60.0
OVERSEER_PORT = 4000
WORKER_PORTS = {"worker-1": 3001, "worker-2": 3002, "worker-3": 3003, "worker-4": 3004}
ETCD_PORTS = {"worker-1": 2379, "worker-2": 22379, "worker-3": 32379, "worker-4": 42379}
"""Where compose.etcd.yaml publishes etcd's API."""
FIRST_THREE = frozenset({"worker-1", "worker-2", "worker-3"})


def translated(commands: str, names: Mapping[str, str], ports: Mapping[int, int]) -> str:
    """Return commands of a document for a project with other names, and other ports."""
    for name, other in names.items():
        commands = commands.replace(name, other)
    documented = "|".join(map(str, ports))
    return re.sub(rf"\b({documented})\b", lambda port: str(ports[int(port[1])]), commands)


@dataclass
class Stack:
    """The containers of one project. `ports`: where a port of compose.yaml is published here."""

    project: str
    ports: dict[int, int]
    drills: dict[str, list[str]]
    terminal: Terminal
    client: AsyncClient
    http: httpx.AsyncClient

    async def play(self, heading: str, block: int = 0) -> str:
        """Type a command block of the document, with the names and ports of this project."""
        names = {f"hanas_{network}": f"{self.project}_{network}" for network in ("link", "all")}
        return await self.terminal.play(translated(self.drills[heading][block], names, self.ports))

    def url(self, worker: str, path: str = "") -> str:
        return f"http://localhost:{self.ports[WORKER_PORTS[worker]]}{path}"

    async def cluster(self) -> Cluster:
        return await self.client.cluster()

    async def main(self) -> str:
        """The main, once one serves."""

        async def serving() -> str | None:
            main = (await self.cluster()).main
            return main.member if main is not None and main.state == "serving" else None

        return await eventually(serving, PATIENCE_SECONDS)

    async def epoch(self) -> int:
        return (await self.cluster()).epoch or 0

    async def until_well(self, members: frozenset[str] = FIRST_THREE) -> str:
        """Wait until these and no others live, every backup hears the main, and no alert is open; return the main."""

        async def well() -> str | None:
            cluster = await self.cluster()
            alive = {member.member: member.verdict for member in cluster.members if member.alive}
            calm = set(alive) == members and set(alive.values()) == {"Healthy"} and not cluster.alerts
            serving = cluster.main is not None and cluster.main.state == "serving"
            return cluster.main.member if calm and serving and cluster.main is not None else None

        return await eventually(well, PATIENCE_SECONDS)

    async def until_verdict(self, verdict: str, *workers: str) -> None:
        """Wait until these workers show it in the folder, as the overseer tells."""

        async def shown() -> bool:
            members = {member.member: member.verdict for member in (await self.cluster()).members}
            return all(members.get(worker) == verdict for worker in workers)

        await eventually(shown, PATIENCE_SECONDS)

    async def until_alert(self, kind: str, about: str) -> Alert:
        """Wait for an open alert."""

        async def raised() -> Alert | None:
            alerts = await self.client.alerts()
            return next((alert for alert in alerts if (alert.kind, alert.about) == (kind, about)), None)

        return await eventually(raised, PATIENCE_SECONDS)

    async def until_other_main(self, former: str) -> str:
        """Wait until somebody else serves."""

        async def followed() -> str | None:
            main = await self.main()
            return main if main != former else None

        return await eventually(followed, PATIENCE_SECONDS)

    async def address_in(self, network: str, worker: str) -> str:
        """The address of a worker's container in a network."""
        form = f'{{{{(index .NetworkSettings.Networks "{self.project}_{network}").IPAddress}}}}'
        return (await self.terminal.play(f"docker inspect --format '{form}' \"$(container {worker})\"")).strip()

    async def link_address(self, worker: str, seen_from: str) -> str:
        """What the host name in a worker's LINK_URL means to another worker."""
        script = f"import socket; print(socket.gethostbyname('{worker}.link.internal'))"
        return (await self.terminal.play(f'docker compose exec -T {seen_from} python -c "{script}"')).strip()
