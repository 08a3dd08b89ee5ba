"""Who has signed in to the dashboard: a sealed cookie that shows the state, and can do nothing else.

It holds no token, but names the one it was begun with in a way that only the holders of the components' secret can
read, so every overseer takes it, and it ends with that token, with the secret, or after some hours.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from urllib.parse import unquote_to_bytes

from hanas_serving.callers import Callers
from hanas_serving.principals import Principal

COOKIE = b"hanas-session"
LIFETIME_SECONDS = 12 * 3600
_MOST_CHARS = 200
_PURPOSE = "hanas dashboard"


class Sessions:
    """The sessions of all overseers that have the same secret."""

    def __init__(self, secrets: Sequence[str], callers: Callers, wall_clock: Callable[[], str]) -> None:
        """Seal with the first of ``secrets``, and take what any of them has sealed for one of ``callers``."""
        self._secrets = secrets
        self._callers = callers
        self._wall_clock = wall_clock
        self._named: tuple[object, Mapping[str, Principal]] = (None, {})

    def begin(self, token: str) -> str:
        """Return the cookie of a session of the bearer of ``token``, who is known."""
        secret = self._secrets[0]
        name = _seal(secret, "token", hashlib.sha256(token.strip().encode()).hexdigest())
        content = f"{int(self._now()) + LIFETIME_SECONDS}.{name}"
        return f"{content}.{_seal(secret, 'session', content)}"

    def principal(self, cookie: bytes | None) -> Principal | None:
        """Return whose session ``cookie`` is, None without a valid one."""
        if cookie is None or len(cookie) > _MOST_CHARS:
            return None
        content, _, seal = cookie.decode("latin-1").rpartition(".")
        until, _, name = content.partition(".")
        for secret in self._secrets:
            if hmac.compare_digest(_seal(secret, "session", content).encode(), seal.encode()):
                return self._names(secret).get(name) if int(until) > self._now() else None
        return None

    def _now(self) -> float:
        return datetime.fromisoformat(self._wall_clock()).timestamp()

    def _names(self, secret: str) -> Mapping[str, Principal]:
        """Return everybody by name of the token, of which each secret gives another one."""
        which = secret, self._callers.generation
        if self._named[0] != which:
            digests = self._callers.digests.items()
            self._named = which, {_seal(secret, "token", digest.hex()): each for digest, each in digests}
        return self._named[1]


def cookie_of(headers: Mapping[bytes, bytes], wanted: bytes) -> bytes | None:
    """Return the content of a cookie, if it is there. The standard library's parser takes seconds for some cookies."""
    for part in headers.get(b"cookie", b"").split(b";"):
        name, sign, value = part.strip().partition(b"=")
        if sign and name == wanted:
            return unquote_to_bytes(value.strip(b'"'))
    return None


def _seal(secret: str, kind: str, content: str) -> str:
    return hmac.new(secret.encode(), f"{_PURPOSE}\n{kind}\n{content}".encode(), hashlib.sha256).hexdigest()
