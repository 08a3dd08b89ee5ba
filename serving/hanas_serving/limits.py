"""What a client may take of a process: connections, which are descriptors, and time."""

import resource

import msgspec

from hanas_serving.settings import SettingError

_MOST_CONNECTIONS = 10_000
_LEAST_CONNECTIONS = 16
_KEPT = 96
"""Descriptors for the folder, the log, the other processes, and connections that end."""
_KEPT_SHARE = _LINK_SHARE = 8
"""... and one in so many of all; as many are for the link."""
_MOST_LINKS = 1024
_LEAST_LINKS = 32
_AMPLE = 1 << 20
"""Descriptors, where the system has no limit."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the connections of one endpoint may take."""

    connections: int = 1024
    """Open at the same time."""
    idle_seconds: float = 75.0
    """How long a connection may be idle between two requests."""
    slow_seconds: float = 30.0
    """How long a request's head may take, and the first one may fail to come; see also ``least_rate``."""
    least_rate: int = 16 << 10
    """A body or an answer that takes longer than ``slow_seconds`` must move by so many bytes a second."""


class Descriptors(msgspec.Struct, frozen=True):
    """How the open files that this process may have are divided."""

    limit: int

    @property
    def links(self) -> int:
        """Connections to the link port of a worker."""
        return min(_MOST_LINKS, max(_LEAST_LINKS, self.limit // _LINK_SHARE))

    @property
    def most_connections(self) -> int:
        """Connections of clients that there is room for."""
        return self.limit - _KEPT - self.limit // _KEPT_SHARE - self.links

    def connections(self, wanted: int | None) -> int:
        """Return the connections that clients may have: ``wanted``, or what fits. Raises SettingError."""
        most = self.most_connections
        if most < _LEAST_CONNECTIONS:
            raise SettingError(f"this process may open {self.limit} files only (ulimit -n): allow at least 1024")
        if wanted is None:
            return min(most, _MOST_CONNECTIONS)
        if wanted > most:
            raise SettingError(
                f"HANAS_CONNECTIONS={wanted}: this process may open {self.limit} files (ulimit -n), which leaves "
                f"{most} for clients; allow more files, or fewer connections"
            )
        return wanted


def descriptors() -> Descriptors:
    """Return what this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Descriptors(_AMPLE if soft == resource.RLIM_INFINITY else soft)


def raise_descriptors() -> None:
    """Let this process open as many files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _AMPLE if hard == resource.RLIM_INFINITY else hard
    if most != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
