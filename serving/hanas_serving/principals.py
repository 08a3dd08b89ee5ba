"""Who calls, and what they may do.

One secret between components, any number of tokens for clients; where none is configured, anyone may do anything.
Where callers are asked for certificates, one takes the place of a token, and only one with a component's names takes
that of the secret.
"""

import hmac
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from hanas_serving.peer import Peer

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
    operates: bool = True
    """It may act as a component, if it is trusted."""


ANONYMOUS = Principal("anonymous", trusted=True)
"""Anyone, where no token is configured."""
BEARER = Principal("bearer of a token", trusted=True)
STRANGER = Principal("stranger", trusted=False)
"""Anyone without a valid token, where one is configured."""


def identify(authorization: bytes | None, tokens: Iterable[str], peer: Peer | None = None) -> Principal:
    """Return who sends this value of an ``Authorization`` header, where ``tokens`` are configured.

    ``peer``: whose certificate was shown; None where nobody is asked for one.
    """
    if peer is not None and peer.shown:
        return Principal(peer.subject, trusted=True, operates=bool(peer.names))
    principal = _bearer_of(authorization, list(tokens))
    if peer is None:
        return principal
    return principal._replace(operates=False) if principal is BEARER else STRANGER


def speaks_for(peer: Peer, member: str) -> bool:
    """Return whether the holder of a certificate may operate as ``member``."""
    return member in peer.names


def _bearer_of(authorization: bytes | None, valid: list[str]) -> Principal:
    if not valid:
        return ANONYMOUS
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return STRANGER
    token = authorization[len(_SCHEME) :].strip()
    return BEARER if any(hmac.compare_digest(token, each.encode()) for each in valid) else STRANGER


def may(principal: Principal, action: Action, key: bytes = b"") -> bool:
    """Return whether ``principal`` may do ``action``. ``key``: percent-decoded but not checked; empty without one."""
    del key  # no principal has rights to a part yet
    return principal.trusted and (principal.operates or action is not Action.OPERATE)


def bearer(tokens: Sequence[str]) -> dict[str, str]:
    """Return the header that carries the first token; none if there are none."""
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
