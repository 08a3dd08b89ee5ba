"""Ports for servers inside of a test."""

from hanas_lab import ports

_taken: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that is given out once."""
    return ports.choose(_taken)
