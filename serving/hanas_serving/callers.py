"""Who calls: from a token or a certificate to a principal."""

import hashlib
from collections.abc import Iterable

from hanas_serving.clients import Clients
from hanas_serving.peer import NOBODY, Peer
from hanas_serving.principals import ON_KEYS, Action, Principal, Standing
from hanas_serving.settings import Public

_SCHEME = b"bearer "
_MOST_REMEMBERED = 1024
_MOST_CHARS = 200
"""Of the name of a holder."""
_LOCATE = frozenset({Action.LOCATE})
_OBSERVE = frozenset({Action.OBSERVE, Action.LOCATE})
_OPERATE = frozenset({Action.OPERATE, Action.ADMIN})


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
        *,
        certified: bool = False,
    ) -> None:
        """Know the bearers of ``secrets`` and ``tokens``, and those in ``clients``.

        ``certified``: callers are asked for certificates, which take the place of the secret.
        """
        self._public = public
        self._certified = certified
        self.generation = 0
        """How often others were known."""
        self.renew(secrets, tokens, clients)

    def renew(self, secrets: Iterable[str], tokens: Iterable[str], clients: Clients | None) -> None:
        """Know these, and nobody else, from now on."""
        secret_digests, token_digests = _digests(secrets), _digests(tokens)
        guarded = bool(token_digests) or clients is not None or self._certified
        opened: frozenset[Action] = frozenset()
        if not guarded:
            opened |= ON_KEYS | _OBSERVE
        elif self._public is Public.ALL:
            opened |= _OBSERVE
        if not (secret_digests or self._certified):
            opened |= _OPERATE
        self.stranger = Principal("anonymous", Standing.STRANGER, opened)
        """Whoever is not known."""
        bearer = opened | ON_KEYS | _OBSERVE
        component = opened | _OBSERVE | (frozenset() if self._certified else _OPERATE)
        holder = bearer if clients is None else opened
        self._holders = holder, holder | _OBSERVE | _OPERATE
        """What a certificate permits that the file does not name: that of a client, and that of a component."""
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

    @property
    def take_tokens(self) -> bool:
        """Whether a token, beside the secret, makes somebody known."""
        return any(principal.standing is not Standing.COMPONENT for principal in self.digests.values())

    def identify(self, authorization: bytes | None, peer: Peer | None = None) -> Principal:
        """Return who sends this value of ``Authorization``, or has shown the certificate of ``peer``.

        A component's certificate counts before a token, and a valid token before a client's certificate. One that the
        file of clients names is that of this client, whatever names it has.
        """
        holder = self._holder_of(peer or NOBODY)
        if authorization is None or (holder.standing is Standing.CERTIFIED and Action.OPERATE in holder.everywhere):
            return holder
        return self._remembered.get(authorization) or self._bearer_of(authorization) or holder

    def _holder_of(self, peer: Peer) -> Principal:
        if not peer.shown:
            return self.stranger
        listed = self._subjects.get(peer.subject)
        if listed is not None:
            return listed
        name = peer.subject or " ".join(sorted(peer.names))
        return Principal(name[:_MOST_CHARS], Standing.CERTIFIED, self._holders[bool(peer.names)])

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
