"""What a call to the cluster can end with, other than its result.

Every exception here derives from `HanasError`, and its text is one sentence that a person can act on.
"""

from __future__ import annotations


class HanasError(Exception):
    """Anything that the cluster, or the way to it, refused."""


class NotFound(HanasError):
    """The key has no value (404)."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no such key: {key}")
        self.key = key


class Refused(HanasError):
    """The cluster understood the call and will not do it; trying again changes nothing.

    `status` is the HTTP status (4xx, 501, 505 or 507), `title` and `detail` are the words of the problem
    document (RFC 9457) that came with it.
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{title} ({status}): {detail}" if detail else f"{title} ({status})")
        self.status = status
        self.title = title
        self.detail = detail


class PreconditionFailed(Refused):
    """`if_match` or `if_none_match` did not hold (412); nothing was written."""


class Unavailable(HanasError):
    """No main carried the call out before its deadline.

    `outcome_unknown` is true for a write that may have been carried out all the same: one of its tries
    reached a server, and no answer came back. `contacted`: some server answered something. `elapsed` is in
    seconds.
    """

    def __init__(self, message: str, *, outcome_unknown: bool, contacted: bool, tries: int, elapsed: float) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown
        self.contacted = contacted
        self.tries = tries
        self.elapsed = elapsed


class BadAnswer(HanasError):
    """What answered does not speak the cluster's API: a wrong address, or an incompatible version."""
