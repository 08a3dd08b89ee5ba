"""Digests that come with a value, which is written if they are right: RFC 9530, ``Content-MD5`` and ``Digest``."""

import asyncio
import base64
import binascii
import hashlib
from typing import NamedTuple

from hanas_serving.answers import Headers
from hanas_serving.fields import DIGESTS
from hanas_serving.problems import Problem

_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512": "sha512"}
_MOST_DIGESTS = 16
"""In one header."""
_PIECE_BYTES = 1 << 20
"""That are hashed before others have their turn on the event loop."""


class Digest(NamedTuple):
    """What a client says of its value."""

    header: str
    algorithm: str
    content: bytes


def digests_of(headers: Headers) -> list[Digest]:
    """Return the digests that can be checked; others are ignored (RFC 9530, 2). Raises Problem 400."""
    digests = []
    for name, value in headers:
        if name in DIGESTS:
            header, text = name.decode().title(), value.decode("latin-1")
            parts = (f"md5={text}" if name == b"content-md5" else text).split(",", _MOST_DIGESTS)
            if len(parts) > _MOST_DIGESTS:
                raise Problem(400, f"{header} may hold at most {_MOST_DIGESTS} digests, and nothing was done")
            for part in parts:
                algorithm, _, encoded = part.strip().partition("=")
                if algorithm.lower() in _ALGORITHMS:
                    digests.append(Digest(header, algorithm.lower(), _decoded(header, encoded.strip(":"))))
    return digests


def _decoded(header: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, f"{header} must hold digests in base64, and nothing was done: {encoded[:40]!r}") from None


async def check(digests: list[Digest], value: bytes) -> None:
    """Raise Problem 400 if ``value`` does not have one of the digests."""
    made: dict[str, bytes] = {}
    for digest in digests:
        if digest.algorithm not in made:
            made[digest.algorithm] = await _digest_of(value, digest.algorithm)
        if made[digest.algorithm] != digest.content:
            detail = f"the value that came has another {digest.algorithm} digest than {digest.header} says"
            raise Problem(400, f"{detail}; nothing was written; send it again")


async def _digest_of(value: bytes, algorithm: str) -> bytes:
    state = hashlib.new(_ALGORITHMS[algorithm], usedforsecurity=False)
    for begin in range(0, len(value), _PIECE_BYTES):
        if begin:
            await asyncio.sleep(0)
        state.update(value[begin : begin + _PIECE_BYTES])
    return state.digest()
