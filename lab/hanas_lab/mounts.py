"""A separate mount of one real directory for each worker, which can hang, break or be read-only (bindfs, FUSE).

The lab's folder is one directory of one file system, and fails for all workers or for none. With a bindfs of its own a
worker's folder fails for this worker only, in the ways of network file systems.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from hanas_lab.faults import LabError

_ATTACH_SECONDS = 10.0
_POLL_SECONDS = 0.01
_TRIES = 500
_STOPPED = "T"
"""The state of a thread that a signal has stopped."""
_CONNECTIONS = Path("/sys/fs/fuse/connections")
NAMES_CACHED = ("entry_timeout=60", "negative_timeout=60", "attr_timeout=60")
"""Options: the kernel caches names, missing names and attributes for a minute, as NFS may do."""


def obstacle() -> str | None:
    """Return the reason why such mounts are impossible here, None if they are possible."""
    for tool, package in (("bindfs", "bindfs"), ("fusermount3", "fuse3")):
        if shutil.which(tool) is None:
            return f"{tool} is missing; install the package {package}"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be used; run on a machine or in a container that has FUSE"
    return None


@dataclass(eq=False, slots=True)
class Mount:
    """The directory `source` at the mount point `point`, through a process that can be stopped and killed."""

    source: Path
    point: Path
    options: tuple[str, ...] = ()
    read_only: bool = field(default=False, init=False)
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def attach(self, *, read_only: bool = False) -> None:
        """Mount the directory. Raises LabError."""
        self.point.mkdir(parents=True, exist_ok=True)
        self.read_only = read_only
        options = ",".join((*self.options, "ro" if read_only else "rw"))
        self.process = await asyncio.create_subprocess_exec(
            *("bindfs", "-f", "--multithreaded", "-o", options, self.source, self.point),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                while not _is_mounted(self.point):
                    if self.process.returncode is not None:
                        raise LabError(f"bindfs ended with {self.process.returncode}: {self.point} is not mounted")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise LabError(f"{self.point} was not mounted within {_ATTACH_SECONDS:.0f} s") from None
        _show_connections()

    def hang(self) -> None:
        """Make every call on it wait.

        None is in the hands of the process then: whoever waits for such a call cannot be killed before it is answered,
        unlike on NFS. Only root can find that out; for others the mount hangs as it comes.
        """
        for _ in range(_TRIES):
            self._signal(signal.SIGSTOP)
            if not self._has_calls():
                return
            self._signal(signal.SIGCONT)
            time.sleep(_POLL_SECONDS)
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the waiting calls continue."""
        self._signal(signal.SIGCONT)

    async def break_off(self) -> None:
        """Kill its process: every call fails with "transport endpoint is not connected"."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    async def replace(self, *, read_only: bool = False) -> None:
        """Remount, as an administrator would after a failure."""
        await self.detach()
        await self.attach(read_only=read_only)

    async def detach(self) -> None:
        """Unmount, in any state."""
        await self.break_off()
        self.process = None
        while _is_mounted(self.point):
            release = await asyncio.create_subprocess_exec("fusermount3", "-u", "-z", self.point)
            if await release.wait() != 0:
                raise LabError(f"{self.point} cannot be unmounted")

    def _has_calls(self) -> bool:
        """Return whether the process has stopped with calls in its hands, or some came to the kernel since."""
        connection = _connection(self.point)
        if self.process is None or connection is None or not connection.exists():
            return False
        tasks = Path(f"/proc/{self.process.pid}/task")
        with contextlib.suppress(FileNotFoundError):
            while any(_state(task) != _STOPPED for task in tasks.iterdir()):
                time.sleep(_POLL_SECONDS / 10)
            return int(connection.read_text(encoding="ascii")) > 0
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def _state(task: Path) -> str:
    return (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def _connection(point: Path) -> Path | None:
    """Return the file of the kernel that tells how many calls wait at the mount `point`; None without a mount."""
    device = _device(point)
    return None if device is None else _CONNECTIONS / device.partition(":")[2] / "waiting"


def _show_connections() -> None:
    """Mount the file system of the kernel that tells of FUSE, if nobody has and this is allowed."""
    if _CONNECTIONS.is_dir() and not _CONNECTIONS.is_mount():
        command = ("mount", "-t", "fusectl", "fusectl", str(_CONNECTIONS))
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def _is_mounted(point: Path) -> bool:
    return _device(point) is not None


def _device(point: Path) -> str | None:
    """Return the device of the last mount at `point`, None without one.

    From the table of mounts: a call to the file system itself could hang.
    """
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    devices = [fields[2] for fields in (line.split(" ") for line in table.splitlines()) if fields[4] == str(point)]
    return devices[-1] if devices else None
