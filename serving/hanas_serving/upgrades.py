"""Requests that offer to go on in another protocol, as Java's client does with ``Upgrade: h2c``: it is declined.

httptools takes whatever comes behind the head of such a request, its body too, for the other protocol. A PUT would
write an empty value and be acknowledged. So the head is parsed once more, without the offer.
"""

from collections.abc import Iterable


def without_offer(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request as it would have come without ``Upgrade``."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    lines += [b"%b: %b" % (name, value) for name, value in headers if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
