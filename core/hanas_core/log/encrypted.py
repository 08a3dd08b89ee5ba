"""A batch as it stands in an encrypted segment (docs/protocol.md, section 3.9).

    length of the records u32 | tag of the records | the records | for each value: tags of its parts | its parts

Everything but the length and the tags is encrypted, piece by piece, each for its offset in the segment.
"""

import struct
from collections.abc import Iterable, Sequence

from hanas_core.log import cells, records
from hanas_core.log.batches import HEADER_BYTES, Batch, Kind
from hanas_core.log.cells import sums_of, sums_size, tags_size, widening
from hanas_core.log.records import PREFIX_BYTES
from hanas_core.volume import names
from hanas_core.volume.encryption import TAG_BYTES, Cipher
from hanas_core.volume.errors import Corruption

_ABOUT = struct.Struct("<HQQI")
ENCRYPTED_HEADER_BYTES = HEADER_BYTES + TAG_BYTES
"""So much further than the begin of the batch everything lies that lies at the begin of a plain payload."""


def encrypt(batch: Batch, cipher: Cipher) -> bytes:
    """Return the payload of ``batch`` as it stands at its place."""
    if not batch.payload:
        return b""
    payload, at = memoryview(batch.payload), records.cells_at(batch.payload)
    offset = batch.offset + ENCRYPTED_HEADER_BYTES + PREFIX_BYTES
    head, tag = cipher.encrypt(offset, payload[PREFIX_BYTES:at], _about(batch))
    parts: list[bytes | memoryview] = [payload[:PREFIX_BYTES], tag, head]
    offset += len(head)
    for size in _sizes(batch):
        at += sums_size(size)
        offset += tags_size(size)
        parts += cells.encrypt(payload[at : at + size], offset, cipher)
        at += size
        offset += size
    return b"".join(parts)


def decrypt(stored: Batch, cipher: Cipher) -> Batch:
    """Return the batch that was encrypted as ``stored``. Raises Corruption if it is something else."""
    if not stored.payload:
        return stored._replace(encrypted=True)
    name, payload = names.segment(stored.epoch, stored.number), memoryview(stored.payload)
    at, offset = PREFIX_BYTES + TAG_BYTES, stored.offset + HEADER_BYTES
    end = records.cells_at(stored.payload) + TAG_BYTES
    head = cipher.decrypt(offset + at, payload[at:end], payload[PREFIX_BYTES:at], name, _about(stored))
    parts: list[bytes | memoryview] = [payload[:PREFIX_BYTES], head]
    at, sizes = end, _sizes(stored._replace(payload=b"".join(parts)))
    if at + sum(size + tags_size(size) for size in sizes) != len(payload):
        raise Corruption(f"{name}: the batch at offset {stored.offset} has another length than its records say")
    for size in sizes:
        tags = payload[at : at + tags_size(size)]
        at += len(tags)
        value = cells.decrypt(tags, payload[at : at + size], offset + at, cipher, name)
        parts += (sums_of(value), value)
        at += size
    return stored._replace(payload=b"".join(parts), encrypted=True)


def space_of(batch: Batch) -> int:
    """Return the length of what `encrypt` returns, bytes."""
    return len(batch.payload) + growth(_sizes(batch)) if batch.payload else 0


def growth(sizes: Iterable[int]) -> int:
    """Return how much longer a payload with values of these sizes is when it is encrypted, bytes."""
    return TAG_BYTES + sum(map(widening, sizes))


def sizes_in(changes: Sequence[records.Record] | Sequence[records.Merged]) -> list[int]:
    """Return the sizes of the values behind these records."""
    sizes: list[int] = []
    for change in changes:
        if isinstance(change, records.Put | records.Kept):
            sizes.append(change.size)
        elif isinstance(change, records.Transacted):
            sizes += sizes_in(change.changes)
    return sizes


def _sizes(batch: Batch) -> list[int]:
    if batch.kind is Kind.MERGED:
        return sizes_in(records.decode_merged(batch)[0])
    return sizes_in(records.decode(batch)[0])


def _about(batch: Batch) -> bytes:
    """Return what the header says of the records: its checksum proves nothing to whom the file is not safe from."""
    return _ABOUT.pack(batch.kind | batch.format << 8, batch.origin, batch.first_sequence, batch.count)
