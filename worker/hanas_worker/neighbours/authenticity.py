"""Whether a message over the link is true: made by a member of this folder, and made just now.

Each incarnation shows a random key in its presence block. Whoever sends to it proves with an HMAC under that key that
it can read the folder. Each answer carries the time of the receiver's clock, under the same key, and the next message
carries it back as its echo. So the receiver knows by its own clock alone that a message was made after that moment:
what was recorded, repeated or held back counts as little as what was invented (docs/protocol.md, section 4).
"""

import hmac
from collections.abc import Callable

from hanas_serving.lines import Keys

MAC_HEADER = "HANas-Mac"
NONCE_HEADER = "HANas-Nonce"


def mac(key: str, what: str, content: bytes) -> str:
    """Return the proof that whoever made ``content``, which is a ``what``, knew ``key``: hexadecimal digits."""
    return hmac.digest(key.encode(), what.encode() + b"\n" + content, "sha256").hex()


def is_proof(text: str, key: str, what: str, content: bytes) -> bool:
    """Return whether ``text`` is the `mac` of the content."""
    return hmac.compare_digest(text.encode(), mac(key, what, content).encode())


class Verifier:
    """Judges what is sent to one incarnation."""

    def __init__(self, key: str, fresh_seconds: float, clock: Callable[[], float]) -> None:
        """``fresh_seconds``: how old an echo may be; ``clock``: monotonic seconds."""
        assert key, "anyone can make a proof with an empty key"
        self._key = key
        self._fresh_seconds = fresh_seconds
        self._clock = clock

    def proves(self, text: str, what: str, content: bytes) -> bool:
        """Return whether the sender of ``content`` knows the key."""
        return is_proof(text, self._key, what, content)

    def prove(self, what: str, content: bytes) -> str:
        """Return the proof for an answer."""
        return mac(self._key, what, content)

    def line_keys(self, nonces: tuple[str, str]) -> Keys:
        """Return the keys of a line that another process has opened here."""
        return Keys.derive(self._key.encode(), nonces, caller=False)

    @property
    def time(self) -> int:
        """The time that an answer carries, milliseconds on this process's clock."""
        return int(self._clock() * 1000)

    def is_fresh(self, echo: int | None) -> bool:
        """Return whether a message with this echo was made within the last `fresh_seconds`."""
        return echo is not None and 0 <= self.time - echo <= self._fresh_seconds * 1000
