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
