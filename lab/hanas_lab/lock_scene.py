"""The scene of the demo in which two processes want to run the same job, by `hanas lock`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from hanas_client import transactions as tx
from hanas_client.asynchronous import AsyncClient
from hanas_lab.process import Guard

_NAME = "job"
_JOB = """
import fcntl, os, sys, time
os.chdir(sys.argv[1])
ledger, busy = open("ledger", "a"), open("busy", "w")
try:
    fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    alone = "alone"
except BlockingIOError:
    alone = "overlapping"
ledger.write(f"{os.environ['HANAS_LOCK_REVISION']} {alone}\\n")
ledger.close()
while not os.path.exists("end"):
    time.sleep(0.02)
"""
"""Notes its fencing token, and whether another one runs; the kernel frees `busy` when a process is gone."""


class LockScene:
    """Two processes of `hanas lock`. Use it as an asynchronous context manager."""

    def __init__(
        self,
        client: AsyncClient,
        overseer: str,
        directory: Path,
        ttl: int,
        tell: Callable[[str], None],
        until: Callable[[str, Callable[[], Awaitable[bool]]], Awaitable[bool]],
    ) -> None:
        """Play on the cluster of ``client``, with files in ``directory``; ``until`` waits for a condition."""
        self._client, self._overseer, self._directory, self._ttl = client, overseer, directory, ttl
        self._tell, self._until = tell, until
        self._guard = Guard()
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        for file in ("ledger", "end"):
            (self._directory / file).unlink(missing_ok=True)
        await self._guard.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self._guard.close()

    async def begin(self) -> None:
        """One process gets the lock, the other one waits."""
        await self._start()
        await self._until("the first process runs the job", lambda: self._has_begun(1))
        await self._start()
        await self._until("the second process waits", self._two_want_it)
        self._tell(f"a process runs the job with the fencing token {self.tokens[0]}, another one waits for the lock")

    async def goes_on(self) -> None:
        """The lease goes on at the new main."""
        await self._until("the lease is renewed at the new main", self._is_renewed)
        self._tell("the first process has renewed its lease there and still runs the job; the second one waits")

    async def moves_on(self) -> str:
        """The holder dies, and the other one runs the job; return what is wrong, if anything."""
        began = time.monotonic()
        self._processes[0].kill()
        self._tell("the first process is killed (kill -9): nobody renews its lease any more")
        await self._until("the second process runs the job", lambda: self._has_begun(2))
        took = time.monotonic() - began
        first, second = self.tokens
        self._tell(f"the lease of {self._ttl} s expired: the second process runs the job after {took:.1f} s")
        (self._directory / "end").touch()
        code = await self._processes[1].wait()
        if code != 0:
            return f"the second process ended with {code}"
        if second <= first or "overlapping" in self._ledger():
            return f"no two jobs ran at once: {self._ledger()!r}"
        self._tell(f"its fencing token is {second}, after {first}; the two jobs never ran at the same time")
        return ""

    @property
    def tokens(self) -> list[int]:
        """The fencing tokens of the jobs that have begun."""
        return [int(line.split()[0]) for line in self._ledger().splitlines()]

    def _ledger(self) -> str:
        file = self._directory / "ledger"
        return file.read_text(encoding="ascii") if file.exists() else ""

    async def _start(self) -> None:
        job = (sys.executable, "-I", "-S", "-c", _JOB, str(self._directory))
        with (self._directory / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hanas_client.cli", "lock", _NAME, "--ttl", str(self._ttl)),
                *("--overseer", self._overseer, "--", *job),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._processes.append(process)
        self._guard.report("+", process.pid)

    async def _rows(self) -> tuple[tx.KeyState, ...]:
        return (await self._client.txn((), [tx.get(prefix=f"{_NAME}/")])).results[0].keys

    async def _has_begun(self, count: int) -> bool:
        return len(self.tokens) >= count

    async def _two_want_it(self) -> bool:
        return len(await self._rows()) == 2

    async def _is_renewed(self) -> bool:
        (lease,) = [row.lease for row in await self._rows() if row.create == self.tokens[0]]
        return (await self._client.show_lease(lease)).remaining == self._ttl
