"""Keys, and what is encrypted with them at its place in a file (docs/protocol.md, section 3.9).

A *master key* comes from outside of the folder. Each segment and snapshot has a *data key* of its own, derived from the
master key, a random salt, and what the file is. A piece is encrypted with AES-256-GCM; its nonce is its offset.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hanas_core.volume.errors import Corruption, KeyMissing

KEY_BYTES = 32
TAG_BYTES = 16
"""What the authentication of a piece takes."""
PLAIN = "plain"
"""The first line of a key file that has what is new written unencrypted."""
_ID_BYTES = 8


class Encryption(msgspec.Struct, frozen=True):
    """How a file is encrypted, in its header."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
    """Id of the master key."""
    salt: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    """Random: no other file has the same data key."""


class Cipher:
    """Encrypts the pieces of one file, each for its offset. Used by any thread."""

    def __init__(self, data_key: bytes) -> None:
        """Use a key of the length `KEY_BYTES`."""
        self._aead = AESGCM(data_key)

    def encrypt(self, offset: int, content: bytes | memoryview, about: bytes = b"") -> tuple[memoryview, memoryview]:
        """Return what stands at ``offset`` for ``content``, which has the same length, and its tag.

        To be asked once for an offset, or with the same content. ``about`` is bound to it, and not encrypted.
        """
        sealed = memoryview(self._aead.encrypt(_nonce(offset), content, about))
        return sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]

    def decrypt(
        self, offset: int, content: bytes | memoryview, tag: bytes | memoryview, name: str, about: bytes = b""
    ) -> bytes:
        """Return the content of a piece. Raises Corruption, which says ``name``, if it is not what was encrypted."""
        try:
            return self._aead.decrypt(_nonce(offset), b"".join((content, tag)), about)
        except InvalidTag:
            raise Corruption(
                f"{name}: {len(content)} bytes at offset {offset} are not what was encrypted there; "
                "run 'hanas fsck' on the folder"
            ) from None


class Keys:
    """The master keys at hand."""

    def __init__(self, masters: Mapping[str, bytes] | None = None, current: str | None = None) -> None:
        """``masters``: keys by their ids. ``current``: the id of that which new files get; None: they are plain."""
        self._masters = dict(masters or {})
        self.current = current

    def __eq__(self, other: object) -> bool:
        """Return whether these are the same keys, and the same one is written with."""
        return isinstance(other, Keys) and (self._masters, self.current) == (other._masters, other.current)

    __hash__ = None  # type: ignore[assignment]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the keys."""
        return frozenset(self._masters)

    def beside(self, older: "Keys") -> "Keys":
        """Return these keys, and those of ``older`` to read with."""
        return type(self)({**older._masters, **self._masters}, self.current)

    def begin(self, salt: Callable[[], str]) -> Encryption | msgspec.UnsetType:
        """Return how a new file is encrypted; ``salt`` returns 16 random bytes, in hexadecimal."""
        current = self.current
        return msgspec.UNSET if current is None else Encryption(current, salt())

    def cipher(self, encryption: Encryption | msgspec.UnsetType, about: str, name: str) -> Cipher | None:
        """Return what encrypts and decrypts the file ``name``, None for a plain one. Raises KeyMissing.

        ``about`` is what the file is, in words: a header that was moved or changed leads to another data key.
        """
        if isinstance(encryption, msgspec.UnsetType):
            return None
        master = self._masters.get(encryption.key)
        if master is None:
            raise KeyMissing(name, encryption.key)
        return Cipher(_derived(master, bytes.fromhex(encryption.salt), about.encode(), KEY_BYTES))


NO_KEYS = Keys()


def new_line() -> str:
    """Return a new master key as a line of a key file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse(lines: Sequence[str]) -> Keys:
    """Return the keys of the lines of a key file. Raises ValueError, in words without the line's content."""
    masters = [_master(line, number) for number, line in enumerate(lines, 1) if (line, number) != (PLAIN, 1)]
    by_id = {_id_of(master): master for master in masters}
    current = None if not masters or lines[0] == PLAIN else _id_of(masters[0])
    return Keys(by_id, current)


def _master(line: str, number: int) -> bytes:
    try:
        master = bytes.fromhex(line) if len(line) == 2 * KEY_BYTES else base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        master = b""
    if len(master) != KEY_BYTES:
        raise ValueError(f"line {number} is no key: {KEY_BYTES} bytes in base64 or hexadecimal are expected")
    return master


def _id_of(master: bytes) -> str:
    return _derived(master, None, b"hanas key id", _ID_BYTES).hex()


def _derived(master: bytes, salt: bytes | None, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(master)


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "little")
