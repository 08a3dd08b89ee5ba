"""Who calls, and what they may do.

One secret between components, any number of tokens for clients; where none is configured, anyone may do anything.
"""

import hmac
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

_SCHEME = b"bearer "


class Action(Enum):
    """What a caller asks to do."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    DELETE = "delete"
    OBSERVE = "observe"
    """See the state of a worker or of the cluster."""
    OPERATE = "operate"
    """Act as a component of the cluster: keep-alives, reports, takeovers, the pool of members."""


class Principal(NamedTuple):
    """Who calls."""

    name: str
    trusted: bool


ANONYMOUS = Principal("anonymous", trusted=True)
"""Anyone, where no token is configured."""
BEARER = Principal("bearer of a token", trusted=True)
STRANGER = Principal("stranger", trusted=False)
"""Anyone without a valid token, where one is configured."""


def identify(authorization: bytes | None, tokens: Iterable[str]) -> Principal:
    """Return who sends this value of an ``Authorization`` header, where ``tokens`` are configured."""
    valid = list(tokens)
    if not valid:
        return ANONYMOUS
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return STRANGER
    token = authorization[len(_SCHEME) :].strip()
    return BEARER if any(hmac.compare_digest(token, each.encode()) for each in valid) else STRANGER


def may(principal: Principal, action: Action, key: bytes = b"") -> bool:
    """Return whether ``principal`` may do ``action``. ``key``: percent-decoded but not checked; empty without one."""
    del action, key  # no principal has rights to a part yet
    return principal.trusted


def bearer(tokens: Sequence[str]) -> dict[str, str]:
    """Return the header that carries the first token; none if there are none."""
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
