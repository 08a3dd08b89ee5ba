"""Where a process of the lab runs: on the loopback interface as it is, or on a host that somebody prepared."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """One machine, or what stands for one."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    """Command that runs another one there, such as `nsenter --net=/run/netns/NAME`; empty: here."""
    folder: Path | None = None
    """Where it mounts the communication folder; None: the lab's own directory."""
    relayed: bool = True
    """A relay that can be cut stands in front of a worker's link port; otherwise the network itself is cut."""
    listen: Callable[[], socket.socket] | None = None
    """Makes the relay's listening socket there; None: here."""


LOOPBACK = Host()
