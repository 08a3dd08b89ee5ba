"""Bearer tokens: one secret between components, any number of tokens for clients. None configured: open."""

import hmac
from collections.abc import Iterable

_SCHEME = b"bearer "


def allowed(authorization: bytes | None, tokens: Iterable[str]) -> bool:
    """Tell whether the value of an ``Authorization`` header carries one of ``tokens``; always, if there are none."""
    wanted = list(tokens)
    if not wanted:
        return True
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return False
    given = authorization[len(_SCHEME) :].strip()
    return any(hmac.compare_digest(given, token.encode()) for token in wanted)


def bearer(tokens: tuple[str, ...]) -> dict[str, str]:
    """Return the header that carries the first token; none if there are none."""
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
