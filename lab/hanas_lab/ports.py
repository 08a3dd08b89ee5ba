"""TCP ports for the lab's servers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Iterator

from hanas_lab.faults import LabError

# Below the range from which systems take ports for outgoing connections (Linux: 32768, macOS: 49152), so that
# a port stays free while its server is down.
FREE_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200
_first = os.getpid() * 997 % len(FREE_RANGE)  # a prime number: processes that start together begin far from each other
_ports: Iterator[int] = itertools.cycle([*FREE_RANGE[_first:], *FREE_RANGE[:_first]])
"""A walk of this process's own. A port that looks free may be that of a server which is about to start, or is down."""


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` now, on the loopback interface and on all interfaces."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return False
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EACCES:
                    raise LabError(f"port {port} needs privileges; choose one above 1023") from None
                return False
    return True


def require_free(port: int, option: str) -> None:
    """Raise LabError if `port` is in use; `option` is the argument for another one."""
    if not 0 < port < 65_536:
        raise LabError(f"{port} is no TCP port; choose another one with {option}")
    if not is_free(port):
        raise LabError(f"port {port} is in use: end what listens there (another lab?), or choose others with {option}")


def choose(used: set[int]) -> int:
    """Return a free port outside `used`, and add it there."""
    for port in itertools.islice(_ports, _ATTEMPTS):
        if port not in used and is_free(port):
            used.add(port)
            return port
    raise LabError(f"no port is free between {FREE_RANGE.start} and {FREE_RANGE.stop}")
