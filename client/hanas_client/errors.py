"""The errors of a call to the cluster.

Each derives from `HanasError`, and its text is one sentence for people.
"""

from __future__ import annotations


class HanasError(Exception):
    """The base of all errors of the cluster and of the connection to it."""


class NotFound(HanasError):
    """The key has no value (404)."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no such key: {key}")
        self.key = key


class Refused(HanasError):
    """The cluster rejected the call; a repetition would give the same answer.

    `status` is the HTTP status (4xx, 501, 505 or 507); `title` and `detail` come from the problem document
    (RFC 9457).
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{title} ({status}): {detail}" if detail else f"{title} ({status})")
        self.status = status
        self.title = title
        self.detail = detail


class PreconditionFailed(Refused):
    """`if_match` or `if_none_match` did not hold (412); nothing was written."""


class Compacted(Refused):
    """The cluster has forgotten that revision (410); `compacted` is the lowest one that can be read."""

    def __init__(self, title: str, detail: str, compacted: int) -> None:
        super().__init__(410, title, detail)
        self.compacted = compacted


class NoLease(HanasError):
    """There is no such lease, or it has expired; nothing was done."""

    def __init__(self, lease: int | None = None) -> None:
        name = "a lease of the transaction" if lease is None else f"the lease {lease}"
        super().__init__(f"{name} is not there, or has expired; nothing was done")
        self.lease = lease


class LeaseLost(HanasError):
    """The time of a lease is over by the clock of its holder, or the cluster has ended it.

    Whatever depends on it, such as a lock, may be somebody else's now.
    """


class NotAcquired(HanasError):
    """The lock was not obtained, or the election not won, within the time limit."""


class Unavailable(HanasError):
    """No main executed the call before its deadline.

    `outcome_unknown` is true for a write that may have been executed: an attempt reached a server, and no answer
    came back. `contacted`: some server answered. `elapsed` is in seconds.
    """

    def __init__(self, message: str, *, outcome_unknown: bool, contacted: bool, tries: int, elapsed: float) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown
        self.contacted = contacted
        self.tries = tries
        self.elapsed = elapsed


class BadAnswer(HanasError):
    """The server does not speak the API of HANas: a wrong address, or an incompatible version."""
