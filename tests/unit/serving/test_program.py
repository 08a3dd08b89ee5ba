"""How a process ends."""

import subprocess
import sys
from pathlib import Path

ENDS = """
import os, sys
from hanas_serving import program
files = [open(sys.argv[1], "a") for _ in range(3)]
program.close_files()
print(*sorted(os.listdir("/proc/self/fd"), key=int)[:4])
"""
"""Lists what is open at its end: the standard streams and the list itself."""


def test_a_process_closes_its_files_before_it_ends(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, tmp_path / "file"], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert ended.stdout.split() == [b"0", b"1", b"2", b"3"]


def test_a_file_server_that_is_away_keeps_no_process_from_ending(tmp_path: Path) -> None:
    """No call that a thread waits in keeps it: here the reading of a pipe that nobody writes into."""
    waits = ENDS.replace(
        "program.close_files()", "os.closerange = lambda *_: os.read(os.pipe()[0], 1)\nprogram.close_files()"
    )
    subprocess.run([sys.executable, "-c", waits, tmp_path / "file"], capture_output=True, check=True, timeout=30)
