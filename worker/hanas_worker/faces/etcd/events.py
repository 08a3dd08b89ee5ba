"""Changes as messages: each is encoded once for all who watch it."""

from collections.abc import Sequence

import msgspec

from hanas_worker.faces.etcd.messages.kv_pb2 import Event, KeyValue
from hanas_worker.faces.etcd.revisions import Change, Span
from hanas_worker.faces.etcd.translation import message_of

_MOST_BYTES = 4 << 20
"""Encoded events that are kept."""
_OF_ENTRY = 200
"""What one takes beside its text, bytes."""
_MOST_BATCHES = 16
_TAG = b"\x5a"
"""Of an event in a response to a watch: field 11, which is the last."""


class Kind(msgspec.Struct, frozen=True):
    """What those who get the same events have in common."""

    span: Span
    previous: bool
    """With the pair before."""
    puts: bool = True
    deletes: bool = True

    def chosen(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Return the changes that are wanted of those of the span."""
        if self.puts and self.deletes:
            return changes
        return [change for change in changes if (self.deletes if change.deleted else self.puts)]


class Events:
    """Encoded events, those that were needed last: each by itself, and batches of a kind."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: dict[tuple[int, bytes, bool, int | None], bytes] = {}
        self._batches: dict[tuple[Kind, int, int], list[bytes]] = {}
        self._size = 0

    def batch(self, changes: Sequence[Change], kind: Kind) -> list[bytes]:
        """Return the whole revisions ``changes``, which are what ``kind`` wants of them, as fields of a response."""
        key = kind, changes[0].pair.modified, changes[-1].pair.modified
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = self.encoded(changes, previous=kind.previous)
            if len(self._batches) > _MOST_BATCHES:
                del self._batches[next(iter(self._batches))]
        return batch

    def encoded(self, changes: Sequence[Change], *, previous: bool) -> list[bytes]:
        """Return each of ``changes`` as a field of a response; ``previous``: with the pair before."""
        kept, fields = self._kept, []
        for change in changes:
            before = None
            if previous:
                before = 0 if change.previous is None else change.previous.modified
            key = change.pair.modified, change.pair.key, change.deleted, before
            field = kept.get(key)
            if field is None:
                field = kept[key] = _field(change, previous=previous)
                self._size += len(field) + _OF_ENTRY
            fields.append(field)
        if self._size > _MOST_BYTES:
            kept.clear()
            self._batches.clear()
            self._size = 0
        return fields


def _field(change: Change, *, previous: bool) -> bytes:
    pair = change.pair
    if change.deleted:
        event = Event(type=Event.DELETE, kv=KeyValue(key=pair.key, mod_revision=pair.modified))
    else:
        event = Event(kv=message_of(pair))
    creation = not change.deleted and pair.created == pair.modified  # also of what the same revision has deleted
    if previous and change.previous is not None and not creation:
        event.prev_kv.CopyFrom(message_of(change.previous))
    content = event.SerializeToString()
    return _TAG + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
