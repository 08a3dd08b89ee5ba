"""One server of the lab as a process of its own, with its log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hanas_lab import guard
from hanas_lab.faults import LabError

State = Literal["running", "stopped", "ended"]


class Guard:
    """The pipe to the guard, which survives the death of the lab; see `hanas_lab.guard`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the guard. It is isolated from Python's environment and in its own session."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *("-I", "-S", guard.__file__), stdin=asyncio.subprocess.PIPE, start_new_session=True
        )

    def report(self, mark: Literal["+", "-"], pid: int) -> None:
        """Report the start (`+`) or the end (`-`) of a process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{mark}{pid}\n".encode())

    async def close(self) -> None:
        """End the guard, which kills the remaining processes."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await process.wait()


@dataclass(eq=False, slots=True)
class ServerProcess:
    """A process that can be killed, stopped, continued and restarted with the same arguments."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    url: str
    log: Path
    guard: Guard
    enter: Sequence[str] = ()
    """Command prefix that runs the process on its host."""
    process: asyncio.subprocess.Process | None = None
    paused: bool = False
    _reaper: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """`stopped` means SIGSTOP; `ended` also before the first start."""
        if self.process is None or self.process.returncode is not None:
            return "ended"
        return "stopped" if self.paused else "running"

    @property
    def pid(self) -> int | None:
        """The process id while there is a process."""
        return self.process.pid if self.process is not None and self.state != "ended" else None

    def description(self) -> dict[str, object]:
        """Return its state, ready for JSON."""
        return {"name": self.name, "url": self.url, "state": self.state, "pid": self.pid, "log": str(self.log)}

    async def launch(self) -> None:
        """Start the process; its output is appended to its log. Raises LabError while one runs."""
        if self.state != "ended":
            raise LabError(f"{self.name} runs already (it is {self.state}); kill it first")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.enter,
                sys.executable,
                *self.arguments,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.paused = False
        self.guard.report("+", self.process.pid)
        # The guard must also forget a process that ends by itself: another one may get its number.
        self._reaper = asyncio.create_task(self._reaped(self.process))

    async def kill(self) -> None:
        """SIGKILL, and wait for the end. Raises LabError without a process."""
        self._signal(signal.SIGKILL)
        await self.ended()

    async def terminate(self) -> None:
        """SIGTERM, and wait for the end. Raises LabError without a process."""
        self._signal(signal.SIGTERM)
        await self.ended()

    def pause(self) -> None:
        """SIGSTOP: the process keeps its connections and does nothing."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.paused = False

    async def end(self, patience_seconds: float) -> None:
        """SIGCONT and SIGTERM, and SIGKILL after `patience_seconds`; nothing without a process."""
        with contextlib.suppress(LabError):
            self.resume()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), patience_seconds)
            await self.kill()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the process has ended and the guard knows it."""
        if self._reaper is not None:
            await asyncio.shield(self._reaper)

    async def _reaped(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.guard.report("-", process.pid)

    def last_words(self) -> str:
        """Return the last line of the log, for an error message."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None or self.state == "ended":
            raise LabError(f"{self.name} does not run; start it with: hanas lab start {self.name}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
