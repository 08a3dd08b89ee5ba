"""A real etcd to compare with, and what is missing for that."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc.aio
import pytest

from tests.unit.waiting import AMPLE_SECONDS

REQUIRED = bool(os.environ.get("HANAS_ETCD_REQUIRED"))


def missing(what: str) -> NoReturn:
    """Skip the test, which cannot be run, unless it must be."""
    if REQUIRED:
        pytest.fail(what)
    pytest.skip(what)


def program(name: str, version: str = "3.6") -> str:
    """Return the path of a program, or skip the test."""
    return shutil.which(name) or missing(f"{name} {version} is not in PATH")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


class Etcd:
    """An etcd with its data in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        clients, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self._command = [
            *(program("etcd"), "--data-dir", str(folder / "etcd"), "--log-level", "error", "--unsafe-no-fsync"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when it answers."""
        self._process = await asyncio.create_subprocess_exec(*self._command)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.max_reconnect_backoff_ms", 200)])
        async with channel, asyncio.timeout(AMPLE_SECONDS):
            await channel.channel_ready()

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def real_etcd(folder: Path) -> AsyncIterator[int]:
    """Run an etcd; its client port is returned."""
    etcd = Etcd(folder)
    try:
        await etcd.start()
        yield etcd.port
    finally:
        await etcd.kill()


_SIDE = {"cluster_id": 0, "member_id": 0, "raft_term": 0}


def comparable(message: Any) -> Any:
    """Return an answer without what differs from one cluster to the next."""
    if hasattr(message, "HasField") and "header" in message.DESCRIPTOR.fields_by_name and message.HasField("header"):
        for field in _SIDE:
            message.header.ClearField(field)
    return message
