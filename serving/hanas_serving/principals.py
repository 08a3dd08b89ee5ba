"""Who calls, and what they may do: the one decision that every call and every key of a list goes through.

`hanas_serving.callers` finds out who calls; `may` decides, and knows nothing but the principal's own rights.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec


class Action(StrEnum):
    """What a caller asks to do. All but the last two are rights that a file of clients grants."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    DELETE = "delete"
    WATCH = "watch"
    OBSERVE = "observe"
    """See the state of a worker or of the cluster."""
    ADMIN = "admin"
    """Change the cluster as people do: a switchover, forgetting a member."""
    LOCATE = "locate"
    """Ask where the main is; whoever is somebody here may."""
    OPERATE = "operate"
    """Act as a component of the cluster: keep-alives, reports, claims, takeovers."""


ON_KEYS = frozenset({Action.READ, Action.LIST, Action.WRITE, Action.DELETE, Action.WATCH})
"""The actions that concern keys, and may be granted for a part of them."""
ON_CLUSTER = frozenset({Action.OBSERVE, Action.ADMIN})
"""The actions that are granted for the whole cluster only."""


class Standing(StrEnum):
    """How a caller is known."""

    STRANGER = "stranger"
    """Not at all: any rights are those of everyone."""
    BEARER = "bearer"
    """By a token of clients, which has no name and opens all keys."""
    COMPONENT = "component"
    """By the secret of the components."""
    LISTED = "listed"
    """By name, in the file of clients."""
    CERTIFIED = "certified"
    """By a certificate that the file of clients does not name."""


class Principal(msgspec.Struct, frozen=True):
    """Who calls, with all rights."""

    name: str
    standing: Standing
    everywhere: frozenset[Action] = frozenset()
    """What is allowed on all keys, or on the cluster."""
    below: Mapping[Action, tuple[bytes, ...]] = {}
    """What is allowed on keys with one of these prefixes; none of them begins with another one of the same action."""


def may(principal: Principal, action: Action, key: bytes = b"") -> bool:
    """Return whether ``principal`` may do ``action``. ``key``: as the store knows it, in UTF-8; empty without one."""
    return action in principal.everywhere or key.startswith(principal.below.get(action, ()))


def may_somewhere(principal: Principal, action: Action) -> bool:
    """Return whether there can be a key on which ``principal`` may do ``action``."""
    return action in principal.everywhere or action in principal.below


def parts(principal: Principal, action: Action, prefix: bytes) -> tuple[bytes, ...]:
    """Return the prefixes, in order, of all keys with ``prefix`` on which ``principal`` may do ``action``."""
    if may(principal, action, prefix):
        return (prefix,)
    return tuple(granted for granted in principal.below.get(action, ()) if granted.startswith(prefix))


def disjoint(prefixes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the prefixes in order, without those that begin with another one."""
    kept: list[bytes] = []
    for prefix in sorted(prefixes):
        if not (kept and prefix.startswith(kept[-1])):
            kept.append(prefix)
    return tuple(kept)


def bearer(tokens: Sequence[str]) -> dict[str, str]:
    """Return the header that carries the first token; none if there are none."""
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
