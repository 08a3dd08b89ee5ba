"""What a process takes from outside: threads, entropy, the time of day, and HTTP.

`__main__` makes them and hands them in; the simulator hands in its own. They belong to the event loop, as does
monotonic time, which is the loop's.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from hanas_core.volume import names
from hanas_serving.lanes import StartThread, SystemThread
from hanas_serving.lines import Keys, Receiver

Agree = Callable[[str, str], tuple[Receiver, Keys]]


class Declined(ConnectionError):
    """Another status was answered than that which was asked for."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url} answers with status {status}")
        self.status = status


class Outbound(Protocol):
    """Requests to the other processes of a cluster, with this one's secret."""

    async def post(
        self, url: str, body: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send JSON on a fresh connection, with further ``headers``; return status and body of the answer.

        Raises OSError; TimeoutError, which is one, after ``timeout`` seconds.
        """

    async def until_closed(self, url: str, timeout: float, headers: Mapping[str, str]) -> None:
        """Connect to ``url`` and return as soon as the other side closes the idle connection.

        Raises OSError if there is none, or no answer of status 204 on it, within ``timeout`` seconds.
        """

    async def line(self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float) -> None:
        """Open a line at ``url`` and return when it has ended; cancelled, it ends.

        ``agree`` gets the nonce and the proof of the answer, and returns who gets what comes, and the keys; it raises
        ConnectionError. Raises OSError if there is no connection within ``connect`` seconds, or no answer of status
        101 within ``timeout`` seconds; Declined for another status.
        """


def wall_clock() -> str:
    """Return the time of day in ISO 8601, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Runtime(msgspec.Struct, frozen=True):
    """Threads, entropy, and the time of day: the operating system's, if no others are given."""

    thread: StartThread = SystemThread
    nonce: Callable[[], str] = names.nonce
    """Returns 16 random bytes in hexadecimal, for what is no file's: an incarnation, or the nonce of a probe."""
    wall_clock: Callable[[], str] = wall_clock
