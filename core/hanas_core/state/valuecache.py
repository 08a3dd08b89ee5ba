"""The values that were written or read last, as many as fit (docs/architecture.md)."""

from collections import OrderedDict

DEFAULT_BYTES = 256 << 20
_ENTRY_BYTES = 200
"""What an entry takes beside its key and value, about."""
_LARGEST_SHARE = 8
"""A value larger than this part of the cache is not kept: it would drive out too many others."""


class ValueCache:
    """Values by key; the one that was not used for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        """Keep up to ``most_bytes``, keys and what Python needs for them included."""
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._most_bytes = most_bytes
        self.used_bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None if it is not kept."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep the value of ``key``."""
        values = self._values
        size = _ENTRY_BYTES + len(key) + len(value)
        if size * _LARGEST_SHARE > self._most_bytes:
            self.drop(key)
            return
        old = values.get(key)
        values[key] = value
        if old is None:
            self.used_bytes += size
        else:
            values.move_to_end(key)
            self.used_bytes += len(value) - len(old)
        while self.used_bytes > self._most_bytes:
            oldest, dropped = values.popitem(last=False)
            self.used_bytes -= _ENTRY_BYTES + len(oldest) + len(dropped)

    def drop(self, key: bytes) -> None:
        """Forget the value of ``key``."""
        value = self._values.pop(key, None)
        if value is not None:
            self.used_bytes -= _ENTRY_BYTES + len(key) + len(value)
