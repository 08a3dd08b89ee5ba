"""Runs the command of `hanas lock`, and ends it in time, whatever becomes of the process that holds the lock.

That process starts this file as a program, with the number of a socket and the command, and says in lines how long the
lock is certain: `until TERM KILL`, times of `clock` at which the command gets SIGTERM and SIGKILL. `signal N` is passed
on. If the socket ends, that process is dead: the command gets SIGTERM at once. The answers are `started PID`, then
`ended CODE LOST`, or `failed CODE ERRNO`. The command leads a process group of its own, all of which gets the signals;
what is left of it when the command has ended is killed.

It imports nothing of this package, so it starts within milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""The exit codes that shells have."""


def clock() -> float:
    """Return the seconds of a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Guard:
    """The command, and until when it may run."""

    def __init__(self, link: socket.socket, command: list[str]) -> None:
        self._link, self._command = link, command
        self._rest = b""
        self._terminate_at = self._kill_at = float("inf")
        self._lost = self._orphaned = False
        self._group = 0
        self._early: list[int] = []
        """Signals that came before the command began."""

    def run(self) -> None:
        """Run the command until it ends."""
        if not self._may_begin():
            self._say("ended 0 1")
            return
        woken, waking = socket.socketpair()
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            process = subprocess.Popen(self._command, process_group=0)
        except OSError as error:
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            self._say(f"failed {code} {error.errno or 0}")
            return
        self._group = process.pid
        self._say(f"started {process.pid}")
        for number in self._early:
            self._send(number)
        while not _has_ended(process.pid):
            self._judge()
            listening = [woken] if self._orphaned else [woken, self._link]
            ready, _, _ = select.select(listening, [], [], self._patience())
            if woken in ready:
                woken.recv(4096)
            if self._link in ready:
                self._listen()
        self._send(signal.SIGKILL)  # before the end is collected: until then no other group can have this number
        self._say(f"ended {process.wait()} {int(self._lost)}")

    def _may_begin(self) -> bool:
        while self._terminate_at == float("inf"):
            self._listen()
        return not self._orphaned and clock() < self._terminate_at

    def _patience(self) -> float | None:
        """Return the seconds until the next signal is due, None without one."""
        due = self._kill_at if self._lost else self._terminate_at
        return None if due == float("inf") else max(due - clock(), 0.0)

    def _judge(self) -> None:
        """Send the signals that are due."""
        if not self._lost and clock() >= self._terminate_at:
            self._lost = True
            self._send(signal.SIGTERM)
        if self._lost and clock() >= self._kill_at:
            self._kill_at = float("inf")
            self._send(signal.SIGKILL)

    def _listen(self) -> None:
        """Take the lines that have come."""
        content = self._link.recv(4096)
        if not content:
            self._orphaned = True
            self._terminate_at = 0.0
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            word, *values = line.split()
            if word == b"until" and not self._lost:  # what is lost stays lost
                self._terminate_at, self._kill_at = (float(value) for value in values)
            elif word == b"signal":
                self._send(int(values[0]))

    def _send(self, number: int) -> None:
        if not self._group:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._link.sendall(f"{line}\n".encode())


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended; it is not collected."""
    result: object = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return bool(result)


def main() -> None:
    """Run the command in the arguments."""
    for number in (*_FORWARDED, signal.SIGCHLD):  # handled, not ignored: the command begins with none of that
        signal.signal(number, lambda *_: None)
    with socket.socket(fileno=int(sys.argv[1])) as link:
        Guard(link, sys.argv[2:]).run()


if __name__ == "__main__":
    main()
