"""The host of a process of the lab: the loopback interface, or one that the caller prepared."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """One machine, or a network namespace in its place."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    """Command prefix that runs a command there, such as `nsenter --net=/run/netns/NAME`; empty: here."""
    folder: Path | None = None
    """The mount of the communication folder; None: the lab's own directory."""
    relayed: bool = True
    """Whether a relay in front of the link port cuts links; otherwise the caller cuts the network."""
    listen: Callable[[], socket.socket] | None = None
    """Makes the relay's listening socket there; None: here."""


LOOPBACK = Host()
