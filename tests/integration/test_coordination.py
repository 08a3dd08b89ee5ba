"""The client's watches, transactions and locks on real processes, over the death of the main and of holders."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hanas_client import Changes, Client, LeaseLost
from hanas_client import transactions as tx
from hanas_lab.writers import Writers
from tests.integration.cluster import Cluster
from tests.integration.programs import COMMANDS
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

_PATIENCE_SECONDS = 3 * PATIENCE_SECONDS
"""For what begins with the start of a program or two: each takes a second of the processor, on a busy machine many."""

JOB = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
directory, code = sys.argv[1], int(sys.argv[2])
os.chdir(directory)
log, busy = open("log", "a"), open("busy", "w")
try:
    fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it when this process is gone
except BlockingIOError:
    log.write("overlap ")
log.write(f"{os.environ['HANAS_LOCK_REVISION']} {os.environ['HANAS_LOCK_KEY']} {os.getpid()}\\n")
log.close()
while not os.path.exists(f"end-{os.environ['HANAS_LOCK_REVISION']}"):
    time.sleep(0.01)
sys.exit(code)
"""
"""Writes a line to a log, and runs until a file with its revision in the name is there."""


def revisions_of(seen: list[Changes]) -> list[int]:
    return [changes.revision for changes in seen]


async def present(cluster: Cluster) -> int:
    revision = (await cluster.client.page()).revision
    assert revision is not None
    return revision


async def write_over_the_death_of_the_main(cluster: Cluster, prefix: str) -> None:
    main, epoch = await cluster.settle(), await cluster.epoch()
    async with Writers(cluster.client, prefix=prefix, writers=3, rest=0.01) as load:
        await within(PATIENCE_SECONDS, load.more(20))
        await cluster.lab.kill(main)
        await within(PATIENCE_SECONDS, load.acknowledged_after(epoch))
        await within(PATIENCE_SECONDS, load.more(20))
    assert load.failed == []


@pytest.mark.long
async def test_watches_of_both_clients_miss_nothing_over_the_death_of_the_main(trio: Cluster) -> None:
    await trio.settle()
    first = await present(trio) + 1
    seen: list[Changes] = []
    blocking: list[Changes] = []
    ended = False

    async def watch() -> None:
        async with trio.client.watch("watched/", start=first, progress=True) as changes:
            async for each in changes:
                seen.append(each)  # noqa: PERF401

    def watch_blocking() -> None:
        with Client(trio.lab.overseer_url) as client, client.watch("watched/", start=first, progress=True) as changes:
            while not ended:
                blocking.append(next(changes))

    watching = asyncio.create_task(watch())
    thread = asyncio.create_task(asyncio.to_thread(watch_blocking))
    await write_over_the_death_of_the_main(trio, "watched")
    last = await present(trio)

    async def caught_up() -> bool:
        if watching.done():
            await watching
        if thread.done():
            await thread
        return all(bool(each) and each[-1].revision >= last for each in (seen, blocking))

    await eventually(caught_up)
    ended = True
    await within(PATIENCE_SECONDS, thread)  # with the next progress
    watching.cancel()
    for told in (seen, blocking):
        assert revisions_of(told) == sorted(revisions_of(told))
        changed = [each.revision for each in told if each.changes]
        assert changed == list(range(first, changed[-1] + 1)), "nobody else writes"
        assert changed[-1] >= last, "a write that was under way at the end may come behind it"
    keys = [change.key for each in seen for change in each.changes]
    assert set(keys) == {entry.key async for entry in trio.client.list("watched/")}


async def test_a_transaction_that_is_tried_again_is_carried_out_once(trio: Cluster) -> None:
    await trio.settle()
    ended = asyncio.Event()
    counted: list[str] = []

    async def count(who: int) -> None:
        number = 0
        while not ended.is_set():
            key = f"counted/{who}/{number}"
            found = (await trio.client.txn((), [tx.get("counter")])).results[0].keys
            mod, value = (found[0].mod, int(found[0].value)) if found else (0, 0)
            done = await trio.client.txn(
                [tx.compare("counter", "mod", "=", mod)],
                [tx.put("counter", b"%d" % (value + 1)), tx.put(key, b"")],
            )
            if done.succeeded:
                counted.append(key)
                number += 1

    counting = [asyncio.create_task(count(who)) for who in range(3)]
    await write_over_the_death_of_the_main(trio, "beside")
    ended.set()
    await within(PATIENCE_SECONDS, asyncio.gather(*counting))
    (row,) = (await trio.client.txn((), [tx.get("counter")])).results[0].keys
    assert int(row.value) == row.version == len(counted)
    assert sorted(counted) == [entry.key async for entry in trio.client.list("counted/")]


# ---------------------------------------------------------------------- hanas lock


@dataclass
class Jobs:
    """Processes of `hanas lock` with one lock, and the log of their commands."""

    cluster: Cluster
    directory: Path
    name: str
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, *options: str, code: int = 0) -> asyncio.subprocess.Process:
        job = (sys.executable, "-I", "-S", "-c", JOB, str(self.directory), str(code))
        process = await asyncio.create_subprocess_exec(
            COMMANDS / "hanas",
            *("lock", self.name, *options, "--", *job),
            env={"OVERSEER_IP": self.cluster.lab.overseer_url, "PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def log(self) -> list[list[str]]:
        file = self.directory / "log"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    async def begun(self, count: int) -> int:
        """Wait until so many commands have begun, none beside another one; the revision of the last one."""

        async def enough() -> bool:
            return len(self.log()) >= count

        await eventually(enough, _PATIENCE_SECONDS)
        revisions = [int(revision) for revision, _, _ in self.log()]
        assert len(revisions) == count
        assert revisions == sorted(set(revisions)), "a fencing token grows from holder to holder"
        return revisions[-1]

    async def queued(self, count: int) -> None:
        async def there() -> bool:
            return len([entry async for entry in self.cluster.client.list(f"{self.name}/")]) == count

        await eventually(there, _PATIENCE_SECONDS)

    def end(self, revision: int) -> None:
        (self.directory / f"end-{revision}").touch()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """The exit code, and what was said."""
    _, said = await within(_PATIENCE_SECONDS, process.communicate())
    assert process.returncode is not None
    assert b"Traceback" not in said
    return process.returncode, said.decode()


def runs(pid: str) -> bool:
    """Whether there is such a process, and it is not only still to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def jobs(cluster: Cluster, directory: Path, name: str) -> AsyncIterator[Jobs]:
    await cluster.settle()
    played = Jobs(cluster, directory, name)
    try:
        yield played
        for _, _, pid in played.log():
            assert not runs(pid), "a command outlived its lock"
    finally:
        for process in played.processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.mark.long
async def test_a_holder_keeps_its_lock_over_the_death_of_the_main(trio: Cluster, tmp_path: Path) -> None:
    async with jobs(trio, tmp_path, "kept") as played:
        first = await played.start("--ttl", "30", code=7)
        revision = await played.begun(1)
        second = await played.start("--ttl", "30")
        await played.queued(2)
        (lease,) = [row.lease for row in await rows(trio, "kept/") if row.create == revision]
        main, epoch = await trio.main(), await trio.epoch()
        await trio.lab.kill(main)

        async def renewed() -> bool:
            if await trio.epoch() == epoch:
                return False
            return (await trio.client.show_lease(lease)).remaining == 30

        await eventually(renewed)
        assert await played.begun(1) == revision
        played.end(revision)
        assert await ended(first) == (7, "")
        later = await played.begun(2)
        played.end(later)
        assert await ended(second) == (0, "")
        await played.queued(0)


async def rows(cluster: Cluster, prefix: str) -> tuple[tx.KeyState, ...]:
    return (await cluster.client.txn((), [tx.get(prefix=prefix)])).results[0].keys


@pytest.mark.long
async def test_holders_that_are_stopped_or_killed_never_overlap_with_the_next_one(
    trio: Cluster, tmp_path: Path
) -> None:
    async with jobs(trio, tmp_path, "moved") as played:
        first = await played.start("--ttl", "4")
        await played.begun(1)
        second = await played.start("--ttl", "4")
        await played.queued(2)
        first.send_signal(signal.SIGSTOP)
        await trio.lab.kill(await trio.main())
        await played.begun(2)
        first.send_signal(signal.SIGCONT)
        assert await ended(first) == (125, "hanas: the lock moved is lost: the command was ended, or not begun\n")
        third = await played.start("--ttl", "4", code=3)
        await played.queued(2)
        second.kill()
        revision = await played.begun(3)
        assert (await ended(second))[0] == -signal.SIGKILL
        played.end(revision)
        assert await ended(third) == (3, "")


async def test_a_command_whose_guard_is_stopped_ends_with_the_lock(trio: Cluster, tmp_path: Path) -> None:
    async with jobs(trio, tmp_path, "stopped") as played:
        process = await played.start("--ttl", "6")
        revision = await played.begun(1)
        (guard,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(guard), signal.SIGSTOP)
        (lease,) = [row.lease for row in await rows(trio, "stopped/")]
        await trio.client.revoke_lease(lease)
        assert await ended(process) == (125, "hanas: the lock stopped is lost: the command was ended, or not begun\n")
        assert await played.begun(1) == revision


@pytest.mark.long
async def test_signals_and_limits_of_hanas_lock(trio: Cluster, tmp_path: Path) -> None:
    async with jobs(trio, tmp_path, "asked") as played:
        first = await played.start()
        revision = await played.begun(1)
        assert played.log()[0][1].startswith("asked/")
        late = await played.start("--timeout", "0.5")
        assert await ended(late) == (124, "hanas: asked is held by another one: not obtained within 0.5 s\n")
        waiting = await played.start()
        await played.queued(2)
        waiting.terminate()
        assert await ended(waiting) == (128 + signal.SIGTERM, "")
        await played.queued(1)
        first.send_signal(signal.SIGINT)
        assert await ended(first) == (128 + signal.SIGINT, "")
        await played.queued(0)
        assert await played.begun(1) == revision


async def test_a_lock_of_the_library_is_handed_on_and_told_lost(trio: Cluster) -> None:
    await trio.settle()
    async with trio.client.lock("library", 30) as held:
        waiting = asyncio.create_task(trio.client.lock("library", 30).__aenter__())
        await eventually(lambda: _two(trio))
        assert not waiting.done()
        await trio.client.revoke_lease(held.lease.id)
        follower = await within(PATIENCE_SECONDS, waiting)
        assert follower.revision > held.revision
        assert not (await trio.client.txn([held.holds], [tx.put("written", b"late")])).succeeded
        with pytest.raises(LeaseLost):
            await held.lease.keep_alive()
        assert held.lost
        await follower.__aexit__(None, None, None)


async def _two(cluster: Cluster) -> bool:
    return len(await rows(cluster, "library/")) == 2


@pytest.mark.long
async def test_the_commands_on_a_running_cluster(trio: Cluster, tmp_path: Path) -> None:
    await trio.settle()
    environment = {"OVERSEER_IP": trio.lab.overseer_url, "PATH": os.environ["PATH"]}

    async def hanas(*arguments: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            COMMANDS / "hanas", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await within(_PATIENCE_SECONDS, process.communicate())
        assert process.returncode == code
        return out.decode()

    lease = (await hanas("lease", "grant", "900")).strip()
    body = tmp_path / "txn.json"
    body.write_text(json.dumps({"then": [{"put": {"key": "shop/a", "text": "1", "lease": int(lease)}}]}))
    made = json.loads(await hanas("txn", str(body)))["revision"]
    await hanas("put", "shop/a", "2", "--lease", lease)
    assert await hanas("get", "shop/a", "--revision", str(made)) == "1"
    shown = json.loads(await hanas("lease", "show", lease, "--json"))
    assert (shown["ttl"], shown["keys"]) == (900, ["shop/a"])
    assert await hanas("lease", "keepalive", lease, "--once") == f"{lease} lives for 900 s\n"
    await hanas("lease", "revoke", lease)
    await hanas("lease", "show", lease, code=1)
    watch = await asyncio.create_subprocess_exec(
        *(COMMANDS / "hanas", "watch", "shop/", "--from", str(made), "--prev"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=_take_ctrl_c,
    )
    assert watch.stdout is not None
    lines = [(await within(_PATIENCE_SECONDS, watch.stdout.readline())).decode().split("\t") for _ in range(3)]
    watch.send_signal(signal.SIGINT)
    assert (await ended_without_words(watch)) == 0
    assert [line[1:] for line in lines] == [
        ["put", "shop/a", "1", "–\n"],
        ["put", "shop/a", "2", "1\n"],
        ["delete", "shop/a", "–", "2\n"],
    ]
    assert int(lines[0][0]) == made


def _take_ctrl_c() -> None:
    """Have a program end by Ctrl-C also where these tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def ended_without_words(process: asyncio.subprocess.Process) -> int:
    await within(_PATIENCE_SECONDS, process.communicate())
    assert process.returncode is not None
    return process.returncode
