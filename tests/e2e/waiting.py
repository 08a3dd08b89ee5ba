"""Waiting for a condition of a cluster, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.e2e.commands import CommandFailed

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""Ample for pods that start on a busy machine."""
_POLL_SECONDS = 0.2


def eventually(what: str, condition: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first answer that is something; a command that fails just now is given again."""
    deadline = time.monotonic() + seconds
    answer: object = "none yet"
    while True:
        try:
            answer = found = condition()
            if found:
                return found
        except CommandFailed as error:
            answer = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; the last answer was {answer}")
        time.sleep(_POLL_SECONDS)


def holds(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Check that a condition holds all the time; a command that fails just now tells nothing."""
    deadline = time.monotonic() + seconds
    looked = 0
    while time.monotonic() < deadline:
        try:
            assert condition(), f"{what}: not any more"
            looked += 1
        except CommandFailed:
            continue
        finally:
            time.sleep(_POLL_SECONDS)
    assert looked, f"{what}: could not be looked at"
