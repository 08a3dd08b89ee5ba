"""A real etcd and the face on the model, side by side."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.unit.waiting import AMPLE_SECONDS

REQUIRED = bool(os.environ.get("HANAS_ETCD_REQUIRED"))


def program(name: str) -> str:
    """Return the path of a program of etcd's, or skip the test."""
    path = shutil.which(name)
    if path is None:
        if REQUIRED:
            pytest.fail(f"{name} 3.6 is not in PATH")
        pytest.skip(f"{name} 3.6 is not in PATH")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@asynccontextmanager
async def real_etcd(folder: Path) -> AsyncIterator[int]:
    """Run an etcd; its client port is returned."""
    port, peers = free_port(), free_port()
    clients, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    process = await asyncio.create_subprocess_exec(
        program("etcd"),
        *("--data-dir", str(folder / "etcd"), "--log-level", "error", "--unsafe-no-fsync"),
        *("--listen-client-urls", clients, "--advertise-client-urls", clients),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(AMPLE_SECONDS):
            await channel.channel_ready()
        yield port
    finally:
        process.kill()
        await process.wait()


_SIDE = {"cluster_id": 0, "member_id": 0, "raft_term": 0}


def comparable(message: Any) -> Any:
    """Return an answer without what differs from one cluster to the next."""
    if hasattr(message, "HasField") and "header" in message.DESCRIPTOR.fields_by_name and message.HasField("header"):
        for field in _SIDE:
            message.header.ClearField(field)
    return message
