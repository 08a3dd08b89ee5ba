"""Redis with Sentinel: one master and two replicas, three sentinels, tuned; every write is synced to disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.peers.system import TRY_SECONDS, Node

from hanas_lab import ports

_DOWN_AFTER_MS = 300
_NAME = "main"


class Sentinel:
    """A replicated Redis with sentinels.

    `appendfsync always` makes an acknowledged write durable at the master. It may not be replicated yet, so
    a failover may lose it: the time is comparable, the guarantee is not.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.name = "redis-sentinel"
        self.settings = (
            f"1 master, 2 replicas, 3 sentinels, down-after-milliseconds {_DOWN_AFTER_MS}, failover-timeout 2000, "
            "appendfsync always"
        )
        self._servers: dict[int, Node] = {}
        self._sentinels: dict[int, Node] = {}

    async def start(self, directory: Path) -> None:
        """Start six processes."""
        taken: set[int] = set()
        master, *replicas = [ports.choose(taken) for _ in range(3)]
        for port in (master, *replicas):
            home = directory / str(port)
            home.mkdir()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
            command += ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
            if port != master:
                command += ["--replicaof", "127.0.0.1", str(master)]
            self._servers[port] = Node(command, directory / f"{port}.log")
            await self._servers[port].start()
        for port in [ports.choose(taken) for _ in range(3)]:
            settings = directory / f"{port}.conf"
            settings.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                f"sentinel monitor {_NAME} 127.0.0.1 {master} 2\n"
                f"sentinel down-after-milliseconds {_NAME} {_DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {_NAME} 2000\nsentinel parallel-syncs {_NAME} 2\n"
            )
            self._sentinels[port] = Node(["redis-sentinel", str(settings)], directory / f"{port}.log")
            await self._sentinels[port].start()
        await self._until_whole()

    async def kill_leader(self) -> None:
        """Kill the master."""
        await self._servers[await self._master()].kill()

    async def write(self, key: str) -> bool:
        """Ask a sentinel for the master and write there."""
        master = await self._master()
        return await _ask(master, "SET", key, "x" * 64) == "+OK"

    async def restore(self) -> None:
        """Restart the killed server; the sentinels make it a replica."""
        for node in self._servers.values():
            if not node.runs:
                await node.start()
        await self._until_whole()

    async def stop(self) -> None:
        """Kill all."""
        await asyncio.gather(*(node.kill() for node in (*self._sentinels.values(), *self._servers.values())))

    async def _master(self) -> int:
        for port in self._sentinels:
            answer = await _ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME, lines=5)
            parts = answer.split("\r\n")
            if len(parts) >= 5 and parts[4].isdigit():
                return int(parts[4])
        return 0

    async def _until_whole(self) -> None:
        """Wait until the master has two replicas in sync and every sentinel knows all others."""
        async with asyncio.timeout(60):
            while True:
                info = await _ask(await self._master(), "INFO", "replication", lines=30)
                masters = [await _ask(port, "SENTINEL", "MASTER", _NAME, lines=90) for port in self._sentinels]
                aware = all(_field(each, "num-slaves") == "2" and _field(each, "flags") == "master" for each in masters)
                others = all(_field(each, "num-other-sentinels") == "2" for each in masters)
                if info.count("state=online") == 2 and aware and others and await self.write("settled"):
                    return
                await asyncio.sleep(0.1)


def _field(answer: str, name: str) -> str:
    """Return the value of a field in an array of names and values."""
    parts = answer.split("\r\n")
    return parts[parts.index(name) + 2] if name in parts else ""


async def _ask(port: int, *command: str, lines: int = 1) -> str:
    """Send one command and return up to `lines` lines of the answer; empty without one in time."""
    request = f"*{len(command)}\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in command)
    read: list[bytes] = []
    try:
        async with asyncio.timeout(TRY_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request.encode())
                while len(read) < lines:
                    line = await (reader.readline() if not read else asyncio.wait_for(reader.readline(), 0.05))
                    if not line:
                        break
                    read.append(line)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    return b"".join(read).decode(errors="replace").rstrip("\r\n")
