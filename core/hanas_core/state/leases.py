"""Leases: keys that go together when their owner stops saying that it lives (docs/protocol.md, section 3.14).

Changed by records of the log only, in their order. Nothing here knows a time: deadlines are the main's.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from hanas_core.log.positions import Version

MOST_LEASES = 131_072
"""More are refused."""
MOST_TTL = 9_000_000_000
"""Of a lease, seconds."""
MOST_ID = (1 << 63) - 1
MOST_KEY_BYTES = 192 << 10
"""What the keys of a lease may take in the record that deletes them: less than the log keeps free for deletes."""
_KEY_BYTES = 8
"""What a key takes in that record beside itself, at most."""

_RECORD_BYTES = 96
"""What a record takes in a batch, at most."""
_LEFT_BYTES = 24
"""What the remaining time of a lease takes in a record, at most."""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A lease, as the log tells it. There may be many, so it holds nothing that the garbage collector looks at."""

    origin: int
    sequence: int
    ttl: int
    """Seconds from a grant or a renewal to the expiry."""
    remaining: int
    """A new main gives it so many seconds at least."""
    noted: int
    """Sequence of the record that tells ``remaining``."""

    @property
    def granted(self) -> Version:
        """Version of the grant: an id may be granted again after a revoke."""
        return Version(self.origin, self.sequence)


class Grant(msgspec.Struct, frozen=True):
    """A wish for a lease with this id and these seconds to live."""

    lease: int
    ttl: int
    value: ClassVar[bytes] = b""
    """As a put, it may not use the log's last room."""
    size: ClassVar[int] = _RECORD_BYTES
    """What it takes in a batch, bytes, at most."""


class Revoke(msgspec.Struct, frozen=True):
    """A wish to end a lease and to delete its keys. ``granted``: only if it is the one of this version."""

    lease: int
    granted: Version | None = None
    value: ClassVar[None] = None
    """There is none: like a delete, it may use the log's last room."""
    size: ClassVar[int] = _RECORD_BYTES
    """What it takes in a batch beside its keys (`Leases.cost`), bytes, at most."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A wish to note the seconds that remain: of each lease its id, the version of its grant, and the seconds."""

    left: tuple[tuple[int, Version, int], ...]
    value: ClassVar[None] = None
    """There is none: like a delete, it may use the log's last room."""

    @property
    def size(self) -> int:
        """What it takes in a batch, bytes, at most."""
        return _RECORD_BYTES + _LEFT_BYTES * len(self.left)


LeaseRequest = Grant | Revoke | Checkpoint


def cost_of(key: bytes) -> int:
    """Return what the delete of a key takes in the record of a revoke, bytes, at most."""
    return _KEY_BYTES + len(key)


class Leases:
    """All leases, and which keys are attached to which.

    A key may be attached to a lease that is not in the table: who reads a log that was compacted meets the put behind
    which the lease was revoked, and not its grant.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._leases: dict[int, Lease] = {}
        self.attached: dict[bytes, int] = {}
        """The lease of each key that has one."""
        self._keys: dict[int, dict[bytes, None]] = {}
        self._bytes: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of leases."""
        return len(self._leases)

    def get(self, lease: int) -> Lease | None:
        """Return a lease, None if there is none with this id."""
        return self._leases.get(lease)

    def all(self) -> list[tuple[int, Lease]]:
        """Return all of them with their ids."""
        return list(self._leases.items())

    def keys(self, lease: int) -> Iterable[bytes]:
        """Return the keys that are attached to a lease."""
        return self._keys.get(lease, ())

    def cost(self, lease: int) -> int:
        """Return what the keys of a lease take in the record of its revoke, bytes, at most."""
        return self._bytes.get(lease, 0)

    def grant(self, lease: int, ttl: int, version: Version) -> None:
        """Begin a lease."""
        self._leases[lease] = Lease(*version, ttl, ttl, version.sequence)

    def put(self, lease: int, content: Lease) -> None:
        """Begin a lease of a snapshot."""
        self._leases[lease] = content

    def checkpoint(self, left: Sequence[tuple[int, int]], sequence: int) -> None:
        """Note what remains of leases, seconds; of one that is not in the table nothing."""
        for lease, remaining in left:
            if (present := self._leases.get(lease)) is not None:
                self._leases[lease] = replace(present, remaining=remaining, noted=sequence)

    def revoke(self, lease: int) -> None:
        """End a lease. Its keys are deleted on their own."""
        self._leases.pop(lease, None)

    def attach(self, key: bytes, lease: int) -> None:
        """Attach a key to a lease, and no longer to the one before; 0: to none."""
        before = self.attached.get(key, 0)
        if before == lease:
            return
        if before:
            keys = self._keys[before]
            del keys[key], self.attached[key]
            self._bytes[before] -= cost_of(key)
            if not keys:
                del self._keys[before], self._bytes[before]
        if lease:
            self.attached[key] = lease
            self._keys.setdefault(lease, {})[key] = None
            self._bytes[lease] = self._bytes.get(lease, 0) + cost_of(key)

    def check_invariants(self, attached: dict[bytes, int]) -> None:
        """Assert what must hold between two records. ``attached``: as the entries of the keys tell it."""
        assert self.attached == attached
        assert {key: lease for lease, keys in self._keys.items() for key in keys} == attached
        assert self._bytes == {lease: sum(map(cost_of, keys)) for lease, keys in self._keys.items()}
        assert all(self._keys.values())
        for lease, content in self._leases.items():
            assert 0 < lease <= MOST_ID
            assert 0 < content.remaining <= content.ttl <= MOST_TTL


class LeaseOverlay:
    """Leases as the next write of a batch finds them."""

    def __init__(self, leases: Leases) -> None:
        """Begin with the committed ones."""
        self._committed = leases
        self._changed: dict[int, Version | None] = {}
        """The grants of the batch; None: revoked."""
        self._count = len(leases)
        self._keys: dict[int, dict[bytes, None]] = {}
        """Keys that the batch may have attached to a lease."""
        self._bytes: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """There can be no more leases."""
        return self._count >= MOST_LEASES

    def granted(self, lease: int) -> Version | None:
        """Return the version of the grant of a lease, None if there is none with this id."""
        if lease in self._changed:
            return self._changed[lease]
        present = self._committed.get(lease)
        return None if present is None else present.granted

    def grant(self, lease: int, version: Version) -> None:
        """Begin one."""
        self._changed[lease] = version
        self._count += 1

    def revoke(self, lease: int) -> None:
        """End one."""
        self._changed[lease] = None
        self._count -= 1
        self._keys.pop(lease, None)
        self._bytes.pop(lease, None)

    def keys(self, lease: int) -> set[bytes]:
        """Return the keys that may be attached to it."""
        return {*self._committed.keys(lease), *self._keys.get(lease, ())}

    def cost(self, lease: int) -> int:
        """Return what these take in the record of its revoke, bytes, at most."""
        return self._committed.cost(lease) + self._bytes.get(lease, 0)

    def fits(self, lease: int, keys: Iterable[bytes]) -> bool:
        """Return whether it can have these keys, too."""
        new = (key for key in keys if not self._has(lease, key))
        return self.cost(lease) + sum(map(cost_of, new)) <= MOST_KEY_BYTES

    def attach(self, lease: int, key: bytes) -> None:
        """Attach a key to one."""
        if not self._has(lease, key):
            self._keys.setdefault(lease, {})[key] = None
            self._bytes[lease] = self._bytes.get(lease, 0) + cost_of(key)

    def _has(self, lease: int, key: bytes) -> bool:
        return self._committed.attached.get(key) == lease or key in self._keys.get(lease, ())
