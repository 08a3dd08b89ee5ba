"""The programs that make a release, and how they are called."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence


class ReleaseError(Exception):
    """The release cannot be made. The message says what to do."""


def path_of(program: str, remedy: str) -> str:
    """Return where ``program`` is. Raises ReleaseError with ``remedy``."""
    found = shutil.which(program)
    if found is None:
        raise ReleaseError(f"there is no {program} here: {remedy}")
    return found


def run(line: Sequence[str]) -> None:
    """Run a command whose output is for the person at the terminal. Raises ReleaseError."""
    print(f"+ {shlex.join(line)}", file=sys.stderr, flush=True)
    done = subprocess.run(line, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{line[0]} failed with exit code {done.returncode}; its output is above")


def succeeds(*line: str) -> bool:
    """Return whether a command can be run and succeeds."""
    try:
        return subprocess.run(line, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
