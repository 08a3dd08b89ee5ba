"""Every process answers at all times, whatever the file server does, and ends when it is told to."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bench.faults.export import Export

from hanas_core.members.timing import PRESETS
from hanas_lab.hosts import on_mounts
from tests.integration.cluster import Cluster, running
from tests.integration.places import MOUNTS, PRESET
from tests.integration.waiting import eventually
from tests.nfs.listening import KEY, asked, closing
from tests.nfs.mounts import version

_FOLDER_TIMEOUT = PRESETS[PRESET].folder_timeout
_HOLD_SECONDS = 20.0
"""So long the server stays away once the main has dropped its files: who waits for their close is deaf all the time."""
_MOST_SILENCE_SECONDS = 10.0
"""Usually 2: one processor for server, clients, cluster and those who ask."""
_LEAVE_SECONDS = _FOLDER_TIMEOUT + 10.0
"""A second of that is for closing files, the rest is what four processes take from one processor as they end."""
_COLLECTS = """
import atexit, gc, signal
signal.signal(signal.SIGALRM, lambda *_: gc.collect())
signal.setitimer(signal.ITIMER_REAL, 1, 1)
atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
"""
"""Python drops what is in a cycle at any time, on any thread; here on the event loop's, within a second."""

pytestmark = [
    pytest.mark.skipif("HANAS_NFS_FAULT" not in os.environ, reason="HANAS_NFS_FAULT is not set: no faults"),
    pytest.mark.timeout(600),
]


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A main and two backups, each on a mount of its own; their logs are on none."""
    folder = f"never-deaf-{secrets.token_hex(4)}"
    (MOUNTS[-1] / folder).mkdir(mode=0o700)
    (tmp_path / "sitecustomize.py").write_text(_COLLECTS)
    hosts = on_mounts(MOUNTS, folder, 3)
    try:
        async with running(tmp_path, 3, hosts, PYTHONPATH=str(tmp_path)) as cluster:
            yield cluster
    finally:
        for log in sorted((tmp_path / "logs").iterdir()):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")


@pytest.fixture
async def export(trio: Cluster) -> AsyncIterator[Export]:
    """The export, which is well again before the cluster ends."""
    made = Export(MOUNTS)
    yield made
    await made.mend()


async def a_main_that_all_follow(trio: Cluster) -> str:
    async def followed() -> str | None:
        roles = {name: (await trio.status(name))["role"] for name in trio.names}
        mains = [name for name, role in roles.items() if role == "main"]
        return mains[0] if sorted(roles.values()) == ["backup", "backup", "main"] else None

    return await eventually(followed)


@pytest.mark.parametrize("verb", ["cut", "server-stop"])
async def test_nobody_is_deaf_while_a_file_that_was_dropped_waits_for_the_server(
    trio: Cluster, export: Export, verb: str
) -> None:
    """The main's epoch ends when its reads have waited for `folder_timeout`; then its event loop drops the files."""

    async def the_epoch_has_ended() -> bool:
        return "ended here" in trio.lab.log_of(main).read_text()

    async def a_close_waits() -> bool:
        return any(closing(pid) for pid in pids(trio))

    main = await a_main_that_all_follow(trio)
    await trio.client.put("key", b"before")
    async with asked(trio, verb) as silence:
        await export.fail(verb, *([str(trio.names.index(main))] if verb == "cut" else []))
        await eventually(the_epoch_has_ended)
        if version() >= 4:
            await eventually(a_close_waits)
        await asyncio.sleep(_HOLD_SECONDS)
        waiting = {pid: closing(pid) for pid in pids(trio)}
        print(f"threads that wait for a close: {waiting}")
        await export.mend()
        await trio.client.put("key", b"after")
    assert not [pid for pid, threads in waiting.items() if pid in threads], "the event loop's thread waits"
    assert silence.pop(KEY) < _FOLDER_TIMEOUT + _MOST_SILENCE_SECONDS
    assert max(silence.values()) < _MOST_SILENCE_SECONDS


async def test_a_main_that_is_cut_off_answers_who_waits_when_another_one_serves(trio: Cluster, export: Export) -> None:
    main = await a_main_that_all_follow(trio)
    await trio.client.put("key", b"before")
    await export.fail("cut", str(trio.names.index(main)))
    response = await trio.http.put(trio.kv(main, "key"), content=b"waits")
    assert response.status_code == 503
    assert (await trio.client.put("key", b"after")).version
    log = trio.lab.log_of(main).read_text()
    assert "ended here: a member knows epoch" in log, "it was not an operation that took longer than `folder_timeout`"


async def test_everyone_ends_in_time_while_the_server_is_away(trio: Cluster, export: Export) -> None:
    await a_main_that_all_follow(trio)
    await trio.client.put("key", b"value")
    await export.fail("server-stop")
    servers = trio.lab._servers
    async with asyncio.timeout(_LEAVE_SECONDS):
        await asyncio.gather(*map(trio.lab.terminate, servers))
    assert {server.process.returncode for server in servers.values() if server.process} == {0}


def pids(cluster: Cluster) -> list[int]:
    return [worker["pid"] for worker in cluster.lab.status()["workers"]]
