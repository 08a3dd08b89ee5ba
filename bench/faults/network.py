"""Hosts in network namespaces on one bridge; nftables cuts their links and drops packets at random.

Use it inside separate network and mount namespaces (`bench.faults.world.enter_namespaces`): then nothing is visible
outside, and everything ends with the process.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from hanas_lab.hosts import Host

OVERSEER_ADDRESS, _CLIENTS_ADDRESS = "10.77.0.254", "10.77.0.253"
"""Both belong to the bridge. The clients' is its first, so that packets to a worker come from it."""
LOSS_PERCENT = 20
_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/run/netns")
_RULES = f"""
table inet hanas {{
  set cut {{ type ipv4_addr; }}
  set lossy {{ type ipv4_addr; }}
  chain input {{
    type filter hook input priority 0; policy accept;
    ip saddr @cut drop
    ip saddr @lossy numgen random mod 100 < {LOSS_PERCENT} drop
  }}
}}
"""


def obstacle() -> str | None:
    """Return the reason why such a network is impossible here, None if it is possible."""
    if os.geteuid() != 0:
        return "only root may create network namespaces"
    for tool in ("ip", "nft", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is missing; install iproute2, nftables and util-linux"
    return None


class Network:
    """One namespace for each name, with an address; the names are those of workers."""

    def __init__(self, names: list[str]) -> None:
        """Create nothing yet."""
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, start=1)}
        self.addresses["overseer"] = OVERSEER_ADDRESS

    async def build(self) -> None:
        """Create the bridge and the namespaces."""
        _NAMESPACES.mkdir(exist_ok=True)
        await _run("mount", "-t", "tmpfs", "none", str(_NAMESPACES))
        await _run("ip", "link", "set", "lo", "up")
        await _run("ip", "link", "add", "br0", "type", "bridge")
        for address in (_CLIENTS_ADDRESS, OVERSEER_ADDRESS):
            await _run("ip", "address", "add", f"{address}/24", "dev", "br0")
        await _run("ip", "link", "set", "br0", "up")
        for number, (name, address) in enumerate(self.addresses.items(), start=1):
            if address == OVERSEER_ADDRESS:
                continue
            await _run("ip", "netns", "add", name)
            await _run("ip", "link", "add", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            await _run("ip", "link", "set", f"veth{number}", "master", "br0", "up")
            await self._inside(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            await self._inside(name, "ip", "link", "set", "eth0", "up")
            await self._inside(name, "ip", "link", "set", "lo", "up")
            await self._inside(name, "nft", "-f", "-", stdin=_RULES)

    def host(self, name: str, folder: Path, *, relayed: bool = False) -> Host:
        """Return the host `name`, which mounts the communication folder at `folder`."""
        enter = () if name == "overseer" else _enter(name)
        return Host(self.addresses[name], enter, folder, relayed, self._listener(name) if relayed else None)

    async def cut(self, sender: str, receiver: str) -> None:
        """Drop every packet from `sender` to `receiver`, which is a worker."""
        await self._add("cut", sender, receiver)

    async def lose(self, sender: str, receiver: str) -> None:
        """Drop `LOSS_PERCENT` of the packets at random."""
        await self._add("lossy", sender, receiver)

    async def clear(self) -> None:
        """Undo every cut and every loss."""
        for name, address in self.addresses.items():
            if address != OVERSEER_ADDRESS:
                for kind in ("cut", "lossy"):
                    await self._inside(name, "nft", "flush", "set", "inet", "hanas", kind)

    async def _add(self, kind: str, sender: str, receiver: str) -> None:
        element = f"{{ {self.addresses[sender]} }}"
        await self._inside(receiver, "nft", "add", "element", "inet", "hanas", kind, element)

    async def _inside(self, name: str, *command: str, stdin: str | None = None) -> None:
        await _run(*_enter(name), *command, stdin=stdin)

    def _listener(self, name: str) -> Callable[[], socket.socket]:
        """Return a function that opens a listening socket in the namespace; a socket stays in its namespace."""

        def listen() -> socket.socket:
            sockets: list[socket.socket] = []

            def make() -> None:
                with (_NAMESPACES / name).open("rb") as namespace:
                    # For this thread only. os.setns exists since Python 3.12.
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                sockets.append(socket.create_server((self.addresses[name], 0)))

            thread = threading.Thread(target=make)
            thread.start()
            thread.join()
            return sockets[0]

        return listen


def _enter(name: str) -> tuple[str, ...]:
    return ("nsenter", f"--net={_NAMESPACES / name}")


async def _run(*command: str, stdin: str | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate(None if stdin is None else stdin.encode())
    if process.returncode != 0:
        raise OSError(f"{' '.join(command)}: {errors.decode().strip()}")
