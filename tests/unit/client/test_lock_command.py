"""The guard of `hanas lock`: it ends a command in time, whatever becomes of the process that holds the lock."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import lock_guard
from hanas_client.lock_guard import clock

WAITS = 'echo "$$" > pid; echo ready; exec sleep 60'
DEFIES = 'trap "" TERM; echo "$$" > pid; echo ready; while :; do sleep 0.05; done'


class Keeper:
    """The other end of the guard's socket."""

    def __init__(self, directory: Path, *command: str) -> None:
        self.link, theirs = socket.socketpair()
        self.link.settimeout(30)
        self.pid_file = directory / "pid"
        with theirs:
            arguments = ["-I", "-S", lock_guard.__file__, str(theirs.fileno()), *command]
            self.guard = subprocess.Popen(
                [sys.executable, *arguments], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, cwd=directory
            )
        assert self.guard.stdout is not None
        self.output = self.guard.stdout
        self.lines = self.link.makefile("r")

    def promise(self, terminate: float, kill: float) -> None:
        self.tell(f"until {clock() + terminate} {clock() + kill}")

    def tell(self, line: str) -> None:
        self.link.sendall(f"{line}\n".encode())

    def begun(self) -> int:
        """Wait until the command runs; its process id."""
        word, pid = self.lines.readline().split()
        assert (word, self.output.readline()) == ("started", b"ready\n")
        assert int(pid) == int(self.pid_file.read_text())
        return int(pid)

    def ended(self) -> list[str]:
        """Wait for the last line and the end of the guard."""
        *_, last = self.lines.read().splitlines()
        assert self.guard.wait(30) == 0
        return last.split()

    def close(self) -> None:
        self.guard.kill()
        self.guard.wait()
        self.lines.close()
        self.link.close()
        self.output.close()


@pytest.fixture(name="keepers")
def _keepers(tmp_path: Path) -> Iterator["Keepers"]:
    keepers = Keepers(tmp_path)
    yield keepers
    for keeper in keepers.all:
        keeper.close()


class Keepers:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: list[Keeper] = []

    def __call__(self, *command: str) -> Keeper:
        self.all.append(Keeper(self.directory, *command))
        return self.all[-1]

    def of(self, script: str) -> Keeper:
        return self("sh", "-c", script)


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_a_command_that_ends_in_time(keepers: Keepers, code: int) -> None:
    keeper = keepers.of(f"exit {code}")
    keeper.promise(50, 60)
    assert keeper.ended() == ["ended", str(code), "0"]


def test_a_command_gets_sigterm_when_the_lease_may_end_soon(keepers: Keepers) -> None:
    keeper = keepers.of(WAITS)
    keeper.promise(50, 60)
    keeper.begun()
    keeper.promise(0, 60)
    assert keeper.ended() == ["ended", "-15", "1"]


def test_a_command_that_defies_sigterm_is_killed(keepers: Keepers) -> None:
    keeper = keepers.of(DEFIES)
    keeper.promise(50, 60)
    keeper.begun()
    keeper.promise(0, 0.2)
    assert keeper.ended() == ["ended", "-9", "1"]


def test_a_renewal_in_time_lets_the_command_run_on(keepers: Keepers) -> None:
    keeper = keepers.of('echo "$$" > pid; echo ready; until test -e end; do sleep 0.05; done; exit 3')
    keeper.promise(50, 60)
    keeper.begun()
    ends_at = clock() + 2
    keeper.tell(f"until {ends_at} {ends_at}")
    keeper.promise(50, 60)
    time.sleep(ends_at - clock())
    (keepers.directory / "end").touch()
    assert keeper.ended() == ["ended", "3", "0"]


def test_a_promise_after_the_loss_changes_nothing(keepers: Keepers) -> None:
    keeper = keepers.of(DEFIES.replace('""', '"echo told"'))
    keeper.promise(50, 60)
    keeper.begun()
    keeper.promise(0, 1)
    assert keeper.output.readline() == b"told\n"
    keeper.promise(50, 60)
    assert keeper.ended() == ["ended", "-9", "1"]


def test_without_its_keeper_the_command_ends(keepers: Keepers) -> None:
    keeper = keepers.of(WAITS)
    keeper.promise(50, 60)
    pid = keeper.begun()
    keeper.lines.close()
    keeper.link.close()
    assert keeper.guard.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_all_of_the_process_group_ends(keepers: Keepers) -> None:
    keeper = keepers.of('sleep 60 & echo "$!" > child; echo "$$" > pid; echo ready; exit 5')
    keeper.promise(50, 60)
    keeper.begun()
    assert keeper.ended() == ["ended", "5", "0"]
    child = int((keepers.directory / "child").read_text())
    assert keeper.output.read() == b"", "nobody has its standard output any more"
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().split()[2] in {"Z", "X"}


def test_signals_reach_the_command_and_end_no_guard(keepers: Keepers) -> None:
    keeper = keepers.of('trap "exit 9" INT; echo "$$" > pid; echo ready; while :; do sleep 0.05; done')
    keeper.promise(50, 60)
    keeper.begun()
    keeper.guard.send_signal(signal.SIGTERM)
    keeper.tell(f"signal {int(signal.SIGINT)}")
    assert keeper.ended() == ["ended", "9", "0"]


def test_a_lock_that_is_lost_already_begins_nothing(keepers: Keepers) -> None:
    keeper = keepers.of("touch begun")
    keeper.promise(-1, 60)
    assert keeper.ended() == ["ended", "0", "1"]
    assert not (keepers.directory / "begun").exists()


@pytest.mark.parametrize(("command", "code"), [("/nonexistent", 127), ("/", 126)])
def test_a_command_that_cannot_run(keepers: Keepers, command: str, code: int) -> None:
    keeper = keepers(command)
    keeper.promise(50, 60)
    word, told, _ = keeper.ended()
    assert (word, told) == ("failed", str(code))
