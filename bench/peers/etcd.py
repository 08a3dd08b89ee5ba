"""etcd: three nodes; writes go through the HTTP gateways of the running ones by turns."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from bench.peers.system import TRY_SECONDS, Node

from hanas_lab import ports


class Etcd:
    """A cluster of etcd with the given heartbeat and election timings, milliseconds; None: etcd's own."""

    def __init__(
        self, name: str, timings: tuple[int, int] | None, *, program: str = "etcd", options: Sequence[str] = ()
    ) -> None:
        """Start nothing yet. `options` are added to the command of every node."""
        self.name = name
        self._timings = timings
        self._program = program
        self._options = options
        words = "" if timings is None else f", heartbeat-interval {timings[0]} ms, election-timeout {timings[1]} ms"
        self.settings = f"3 nodes, HTTP gateway{words or ', default timings'}"
        self._nodes: list[Node] = []
        self._urls: list[str] = []
        self._http = httpx.AsyncClient(trust_env=False)
        self._turn = itertools.count()

    async def start(self, directory: Path) -> None:
        """Start three nodes."""
        taken: set[int] = set()
        addresses = [(ports.choose(taken), ports.choose(taken)) for _ in range(3)]
        cluster = ",".join(f"n{number}=http://127.0.0.1:{peer}" for number, (_, peer) in enumerate(addresses))
        for number, (client, peer) in enumerate(addresses):
            command = [self._program, "--name", f"n{number}", "--data-dir", str(directory / f"n{number}")]
            for option, port in (("client", client), ("peer", peer)):
                listen, advertise = (
                    f"--listen-{option}-urls",
                    f"--{'initial-' * (option == 'peer')}advertise-{option}-urls",
                )
                command += [listen, f"http://127.0.0.1:{port}", advertise, f"http://127.0.0.1:{port}"]
            command += ["--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error"]
            command += self._options
            if self._timings is not None:
                command += ["--heartbeat-interval", str(self._timings[0]), "--election-timeout", str(self._timings[1])]
            self._urls.append(f"http://127.0.0.1:{client}")
            self._nodes.append(Node(command, directory / f"n{number}.log"))
        await asyncio.gather(*(node.start() for node in self._nodes))
        await self._until_whole()

    async def kill_leader(self) -> None:
        """Kill the leader."""
        node, _ = await self._leader()
        await node.kill()

    async def leader_url(self) -> str:
        """Return the URL of the leader for clients."""
        _, url = await self._leader()
        return url

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of all nodes for clients."""
        return tuple(self._urls)

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the running nodes."""
        return tuple(node.process.pid for node in self._nodes if node.process is not None and node.runs)

    async def _leader(self) -> tuple[Node, str]:
        for node, url in zip(self._nodes, self._urls, strict=True):
            status = await self._status(url)
            if status is not None and status["leader"] == status["header"]["member_id"]:
                return node, url
        raise SystemExit("etcd has no leader although it accepts writes")

    async def write(self, key: str) -> bool:
        """Write through one of the running nodes."""
        running = [url for node, url in zip(self._nodes, self._urls, strict=True) if node.runs]
        url = running[next(self._turn) % len(running)]
        body = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(b"x" * 64).decode()}
        try:
            response = await self._http.post(f"{url}/v3/kv/put", json=body, timeout=TRY_SECONDS)
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    async def restore(self) -> None:
        """Restart the killed node."""
        await asyncio.gather(*(node.start() for node in self._nodes if not node.runs))
        await self._until_whole()

    async def stop(self) -> None:
        """Kill all."""
        await asyncio.gather(*(node.kill() for node in self._nodes))
        await self._http.aclose()

    async def _until_whole(self) -> None:
        async with asyncio.timeout(60):
            while True:
                statuses = [await self._status(url) for url in self._urls]
                leaders = {status["leader"] if status else None for status in statuses}
                if len(leaders) == 1 and leaders.isdisjoint({None, "0"}) and await self.write("settled"):
                    return
                await asyncio.sleep(0.1)

    async def _status(self, url: str) -> dict[str, Any] | None:
        try:
            response = await self._http.post(f"{url}/v3/maintenance/status", json={}, timeout=1.0)
        except httpx.HTTPError:
            return None
        return {"leader": "0", **response.json()} if response.status_code == 200 else None
