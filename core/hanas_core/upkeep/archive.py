"""The format of archives: all keys as lines of JSON, which other tools can read (docs/cli.md).

    {"hanas": 1, "prefix": "", "revision": 7, "epoch": 1, "folderId": "…", "storeRevision": 8, "leases": [[17, 60]]}
    {"key": "greeting", "version": "1-2", "contentType": "text/plain", "value": "aGVsbG8=", "create": 2, "mod": 3,
     "generation": 2, "lease": 17}
    ...
    {"keys": 1, "bytes": 5, "checksum": "…"}

Values are in base64, and so is a key that is no UTF-8, as ``keyBase64``; its ``key`` is empty. The last line proves
that the archive is complete, and its checksum that every byte before it is as it was written. The first line has a
revision if all keys are of one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import msgspec
import xxhash
from msgspec import UNSET, UnsetType

from hanas_core.log.positions import Facts
from hanas_core.state.keytexts import text_or_bytes
from hanas_core.state.leases import MOST_ID, MOST_TTL

FORMAT = 1
_TAIL = b'{"keys"'

_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
_LeaseId = Annotated[int, msgspec.Meta(ge=1, le=MOST_ID)]
_Seconds = Annotated[int, msgspec.Meta(ge=1, le=MOST_TTL)]


class Head(msgspec.Struct, frozen=True, rename="camel"):
    """The first line."""

    hanas: int
    prefix: str = ""
    revision: int | UnsetType = UNSET
    """All keys are as the record with this sequence left them; unset: each is as of the moment of its own read."""
    epoch: int | UnsetType = UNSET
    folder_id: str | UnsetType = UNSET
    store_revision: _Count | UnsetType = UNSET
    """Of the store then (docs/protocol.md, section 3.11); one that is restored goes on behind it."""
    leases: tuple[tuple[_LeaseId, _Seconds], ...] | UnsetType = UNSET
    """Ids of leases and their seconds to live; in a store that is restored they begin anew. Unset: none."""


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """One key with its value."""

    key: str
    value: bytes
    content_type: str = "application/octet-stream"
    version: str = ""
    """The version in the exported cluster; an import assigns a new one."""
    lease: _LeaseId | UnsetType = UNSET
    """Id of the lease that the key ends with; unset: none."""
    key_base64: bytes | UnsetType = UNSET
    """A key that is no UTF-8; then ``key`` is empty."""
    create: _Count | UnsetType = UNSET
    """The revision that created the key; it keeps that in a store that is restored. Unset: not known."""
    mod: _Count | UnsetType = UNSET
    """The revision that wrote it last, for information."""
    generation: _Count | UnsetType = UNSET
    """How many writes have made it since it was created; it keeps that as well."""

    @property
    def name(self) -> bytes:
        """The key."""
        return self.key.encode() if isinstance(self.key_base64, UnsetType) else self.key_base64


def item_of(key: bytes, value: bytes, content_type: str, version: str, facts: Facts) -> Item:
    """Return what stands in an archive for a key."""
    text = text_or_bytes(key)
    revision, create, generation, lease = facts
    fields = value, content_type, version, lease or UNSET
    if isinstance(text, str):
        return Item(text, *fields, UNSET, create, revision, generation)
    return Item("", *fields, text, create, revision, generation)


class Tail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last line."""

    keys: int
    bytes: int
    checksum: str = ""
    """xxh3-128 of all bytes before this line, in hexadecimal; empty in archives of earlier versions."""


class BadArchive(Exception):
    """What was read is not an archive, or is incomplete or damaged. The message is for people."""


class ArchiveWriter:
    """Writes an archive."""

    def __init__(self, write: Callable[[bytes], object], head: Head) -> None:
        """Begin with ``head``; ``write`` takes each line."""
        self._write = write
        self._digest = xxhash.xxh3_128()
        self._keys = self._bytes = 0
        self._line(head)

    def add(self, item: Item) -> None:
        """Write one key."""
        self._line(item)
        self._keys += 1
        self._bytes += len(item.value)

    def finish(self) -> Tail:
        """Write the last line, and return it."""
        tail = Tail(self._keys, self._bytes, self._digest.hexdigest())
        self._write(msgspec.json.encode(tail) + b"\n")
        return tail

    def _line(self, content: Head | Item) -> None:
        line = msgspec.json.encode(content) + b"\n"
        self._digest.update(line)
        self._write(line)


def head_of(line: bytes) -> Head:
    """Return the first line of an archive. Raises BadArchive."""
    try:
        head = msgspec.json.decode(line, type=Head)
    except msgspec.MsgspecError as error:
        raise BadArchive(f"line 1 is not a line of an archive: {error}") from None
    _check_format(head.hanas)
    return head


def read_items(source: Iterable[bytes]) -> Iterator[Item]:
    """Yield the keys of an archive, given by its lines.

    Raises BadArchive at an invalid line, and if the last line is missing or another one than what was read.
    """
    keys = size = 0
    digest, tail = xxhash.xxh3_128(), None
    for number, line in enumerate(source, 1):
        if tail is not None:
            raise BadArchive(f"line {number}: something follows the last line of the archive")
        try:
            if line.startswith(_TAIL) and number > 1:
                tail = msgspec.json.decode(line, type=Tail)
                continue
            digest.update(line)
            if number == 1:
                head_of(line)
                continue
            item = msgspec.json.decode(line, type=Item)
        except msgspec.MsgspecError as error:
            raise BadArchive(f"line {number} is not a line of an archive: {error}") from None
        keys, size = keys + 1, size + len(item.value)
        yield item
    if tail is None or (tail.keys, tail.bytes) != (keys, size):
        total = "nothing" if tail is None else f"{tail.keys} keys with {tail.bytes} bytes"
        content = f"{keys} keys with {size} bytes were read"
        raise BadArchive(f"the archive is incomplete: {content}, and its last line says {total}")
    if tail.checksum not in {"", digest.hexdigest()}:
        raise BadArchive("the archive is damaged: its content is not what its checksum says; use another copy of it")


def _check_format(version: int) -> None:
    if version != FORMAT:
        raise BadArchive(f"an archive of format {version} needs another release: this one reads format {FORMAT}")
