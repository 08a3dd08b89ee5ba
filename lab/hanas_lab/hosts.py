"""The host of a process of the lab: the loopback interface, or one that the caller prepared."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Sequence
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


def on_mounts(mounts: Sequence[Path], folder: str, workers: int) -> dict[str, Host]:
    """Return hosts whose processes use the directory `folder` of one volume, each by a mount of its own.

    Worker N has mount N, and if there are more workers than mounts, they take turns; the overseer has the last mount.
    """
    turns = itertools.islice(itertools.cycle(mounts), workers)
    hosts = {f"worker-{number}": Host(folder=mount / folder) for number, mount in enumerate(turns, start=1)}
    return hosts | {"overseer": Host(folder=mounts[-1] / folder)}
