"""`hanas lock`: a command that runs while this process holds a lock."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable

from hanas_client import commands, lock_guard
from hanas_client.asynchronous import AsyncClient
from hanas_client.errors import HanasError, LeaseLost, NotAcquired
from hanas_client.lock_guard import clock
from hanas_client.locks import DEFAULT_TTL, Lock
from hanas_client.plain import plain

NOT_ACQUIRED, LOST = 124, 125
"""Exit codes; others are those of the command, or of any call."""
KEY, REVISION = "HANAS_LOCK_KEY", "HANAS_LOCK_REVISION"
_CALL_SECONDS = 30.0
_LEAST_TTL = 2
_TERMINATE_SHARE, _KILL_SHARE = 1 / 4, 1 / 10
"""Of the time to live: so long before the lease can have ended the command gets SIGTERM and SIGKILL."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the lock; its keys are NAME/...")
    parser.add_argument("program", metavar="COMMAND", nargs="+", help="behind --: the command and its arguments")
    parser.add_argument(
        "--ttl", type=_ttl, default=DEFAULT_TTL, metavar="SECONDS", help=f"of the lease ({DEFAULT_TTL})"
    )
    parser.add_argument("--value", metavar="TEXT", default="", help="what the key of the lock holds")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Wait for the lock, run the command, and return its exit code."""
    limit, arguments.timeout = arguments.timeout, _CALL_SECONDS
    try:
        return asyncio.run(_lock(arguments, limit))
    except NotAcquired as error:
        return _say(f"{error}: not obtained within {limit:g} s", NOT_ACQUIRED)
    except LeaseLost as error:
        return _say(str(error), LOST)


async def _lock(arguments: argparse.Namespace, limit: float | None) -> int:
    signals = _Signals()
    try:
        async with (
            commands.connect(AsyncClient, arguments) as client,
            client.lock(arguments.name, arguments.ttl, value=os.fsencode(arguments.value), timeout=limit) as lock,
        ):
            return await _Holding(arguments.name, lock, arguments.program).run(signals)
    except asyncio.CancelledError:
        if signals.received is None:
            raise
        return 128 + signals.received


class _Signals:
    """Signals that end this process before the command runs, and reach the command then."""

    def __init__(self) -> None:
        self.received: int | None = None
        task = asyncio.current_task()
        assert task is not None
        self.forward: Callable[[int], object] = lambda _: task.cancel()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._take, number)

    def _take(self, number: int) -> None:
        self.received = number
        self.forward(number)


class _Holding:
    """A lock that is held, and the guard that runs the command."""

    def __init__(self, name: str, lock: Lock, program: list[str]) -> None:
        self._name, self._lock, self._program = name, lock, program
        self._link, self._theirs = socket.socketpair()
        self._link.setblocking(False)
        self._group = 0
        self._lost = False

    async def run(self, signals: _Signals) -> int:
        """Run the command; return the exit code."""
        arguments = ("-I", "-S", lock_guard.__file__, str(self._theirs.fileno()), *self._program)
        own = {KEY: self._lock.key, REVISION: str(self._lock.revision)}
        # The command is in no foreground group, so reading the terminal would stop it.
        stdin = asyncio.subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None
        with self._theirs:
            guard = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                pass_fds=[self._theirs.fileno()],
                env={**os.environ, **own},
                stdin=stdin,
                process_group=0,  # Ctrl-Z stops this process only, and the command is ended in time
            )
        signals.forward = lambda number: self._tell(f"signal {number}")
        self._lock.lease.on_renewal = self._promise
        self._promise(self._lock.lease.until)
        losing = asyncio.create_task(self._end_in_time(guard))
        try:
            return await self._outcome()
        finally:
            losing.cancel()
            self._link.close()
            await guard.wait()

    async def _outcome(self) -> int:
        async for word, first, *others in self._answers():
            if word == "started":
                self._group = int(first)
            elif word == "failed":
                return _say(f"{self._program[0]}: {os.strerror(int(others[0]))}", int(first))
            elif others[0] == "1":
                return self._tell_loss()
            else:
                return int(first) if int(first) >= 0 else 128 - int(first)
        if self._lost:
            return self._tell_loss()
        self._kill()  # somebody killed the guard, and nothing would end the command in time
        raise HanasError("the process that ran the command was killed, and the command with it")

    async def _answers(self) -> AsyncIterator[list[str]]:
        """Yield the words of each line that the guard says."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while content := await asyncio.get_running_loop().sock_recv(self._link, 4096):
                *lines, rest = (rest + content).split(b"\n")
                for line in lines:
                    yield line.decode().split()

    async def _end_in_time(self, guard: asyncio.subprocess.Process) -> None:
        """End the command when the lock is lost, or about to be: at once, and if the guard is stopped, without it."""
        lease = self._lock.lease
        margin = lease.ttl * _KILL_SHARE / 2
        while not lease.lost and (left := lease.until - margin - clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await lease.wait_lost()
        self._tell("until 0 0")
        await asyncio.sleep(margin / 2)  # an answer ends this task: what has ended already must not be killed
        self._lost = True
        self._kill()
        guard.kill()

    def _kill(self) -> None:
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)

    def _tell_loss(self) -> int:
        return _say(f"the lock {self._name} is lost: the command was ended, or not begun", LOST)

    def _promise(self, until: float) -> None:
        """Tell the guard until when the command may run."""
        ttl = self._lock.lease.ttl
        self._tell(f"until {until - ttl * _TERMINATE_SHARE} {until - ttl * _KILL_SHARE}")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the guard has ended, and its last answer is still to be read
            self._link.send(f"{line}\n".encode())


def _ttl(text: str) -> int:
    ttl = int(text)
    if ttl < _LEAST_TTL:
        raise argparse.ArgumentTypeError(f"must be at least {_LEAST_TTL} seconds")
    return ttl


def _say(message: str, code: int) -> int:
    print(f"hanas: {plain(message)}", file=sys.stderr)
    return code
