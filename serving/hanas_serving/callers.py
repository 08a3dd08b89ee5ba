"""Who calls: from a token or a certificate to a principal."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum

from hanas_serving.clients import Clients
from hanas_serving.principals import ON_KEYS, Action, Principal, Standing

_SCHEME = b"bearer "
_MOST_REMEMBERED = 1024
_LOCATE = frozenset({Action.LOCATE})
_OBSERVE = frozenset({Action.OBSERVE, Action.LOCATE})


class Public(StrEnum):
    """What anyone may see of a cluster whose clients need a token."""

    METRICS = "metrics"
    """The metrics, and the page of the dashboard without its content."""
    ALL = "all"
    """The whole state, but no keys and no values."""
    NONE = "none"
    """Whether a process lives and is ready."""


class Callers:
    """Everybody who is known to one process; `renew` changes them while it runs.

    Where nothing is configured for an action, it is open: strangers may do it, and so may everyone else.
    """

    def __init__(
        self,
        secrets: Iterable[str] = (),
        tokens: Iterable[str] = (),
        clients: Clients | None = None,
        public: Public = Public.METRICS,
    ) -> None:
        """Know the bearers of ``secrets`` and ``tokens``, and those in ``clients``."""
        self._public = public
        self.generation = 0
        """How often others were known."""
        self.renew(secrets, tokens, clients)

    def renew(self, secrets: Iterable[str], tokens: Iterable[str], clients: Clients | None) -> None:
        """Know these, and nobody else, from now on."""
        secret_digests, token_digests = _digests(secrets), _digests(tokens)
        guarded = bool(token_digests) or clients is not None
        opened: frozenset[Action] = frozenset()
        if not guarded:
            opened |= ON_KEYS | _OBSERVE
        elif self._public is Public.ALL:
            opened |= _OBSERVE
        if not secret_digests:
            opened |= {Action.OPERATE, Action.ADMIN}
        self.stranger = Principal("anonymous", Standing.STRANGER, opened)
        """Whoever is not known."""
        bearer = opened | ON_KEYS | _OBSERVE
        component = opened | _OBSERVE | {Action.OPERATE, Action.ADMIN}
        self.generation += 1
        self.digests: dict[bytes, Principal] = {}
        """Everybody who has a token, by its SHA-256."""
        self._subjects: dict[str, Principal] = {}
        for entry in clients.entries if clients is not None else ():
            principal = Principal(entry.name, Standing.LISTED, opened | _LOCATE | entry.everywhere, {**entry.below})
            self.digests |= dict.fromkeys(entry.digests, principal)
            self._subjects |= dict.fromkeys(entry.subjects, principal)
        self.digests |= dict.fromkeys(token_digests, Principal("bearer of a token", Standing.BEARER, bearer))
        self.digests |= dict.fromkeys(secret_digests, Principal("component", Standing.COMPONENT, component))
        both = Principal("component", Standing.COMPONENT, component | bearer)
        self.digests |= dict.fromkeys(token_digests & secret_digests, both)
        self._remembered: dict[bytes, Principal] = {}

    @property
    def keys_are_open(self) -> bool:
        """Whether strangers may do everything with keys. Never changes: there are always tokens where there were."""
        return self.stranger.everywhere >= ON_KEYS

    @property
    def metrics_are_open(self) -> bool:
        """Whether strangers may read the metrics."""
        return self._public is not Public.NONE or Action.OBSERVE in self.stranger.everywhere

    def identify(self, authorization: bytes | None, subject: str = "") -> Principal:
        """Return who sends this value of ``Authorization``, or has shown a certificate for ``subject`` (RFC 4514)."""
        if authorization is not None:
            principal = self._remembered.get(authorization)
            if principal is not None:
                return principal
            principal = self._bearer_of(authorization)
            if principal is not None:
                return principal
        return self._subjects.get(subject, self.stranger) if subject else self.stranger

    def _bearer_of(self, authorization: bytes) -> Principal | None:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        # a digest tells nothing about the tokens that have similar ones, so its comparison need not be constant in time
        principal = self.digests.get(hashlib.sha256(authorization[len(_SCHEME) :].strip()).digest())
        if principal is not None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[authorization] = principal
        return principal


def _digests(tokens: Iterable[str]) -> set[bytes]:
    return {hashlib.sha256(token.encode()).digest() for token in tokens}
