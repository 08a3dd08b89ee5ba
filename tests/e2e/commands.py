"""Commands of other programs, as a user types them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


class CommandFailed(Exception):
    """A command ended with an error; the text has what it wrote."""


def run(
    *words: str, given: str | None = None, environment: Mapping[str, str] | None = None, seconds: float = 60.0
) -> str:
    """Run a command in the project's folder; return what it wrote. Raises CommandFailed."""
    try:
        done = subprocess.run(
            words,
            cwd=ROOT,
            input=given or "",
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(words)}: not done after {seconds:.0f} s") from error
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: {done.stderr.strip()} {done.stdout.strip()}")
    return done.stdout
