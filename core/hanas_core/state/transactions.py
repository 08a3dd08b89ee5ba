"""What a transaction asks for, and what is no transaction (docs/protocol.md, section 3.11)."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import assert_never

import msgspec
import xxhash

from hanas_core.log.cells import PART_BYTES, tags_size
from hanas_core.state.entries import DEFAULT_TYPE
from hanas_core.state.keytexts import shown
from hanas_core.volume.encryption import TAG_BYTES

MOST_OPERATIONS = 128
"""In one list of compares or operations."""
MOST_IN_ALL = 1024
"""Compares and operations of a transaction, with those of the transactions inside."""
MOST_DEPTH = 8
"""Of transactions inside of each other."""
_OPERATION_BYTES = 64
"""What an operation takes in a record beside texts and value, at most."""


class BadTransaction(Exception):
    """The transaction can never be carried out. The message is for people."""


class ChangedTwice(BadTransaction):
    """It changes a key twice."""


class Target(StrEnum):
    """What of a key is compared."""

    VALUE = "value"
    VERSION = "version"
    """How many writes made the key what it is since it was created; 0: it is not there."""
    CREATE = "create"
    """Revision that created it."""
    MOD = "mod"
    """Revision that changed it last."""
    LEASE = "lease"
    """Id of the lease that it ends with; 0: none."""


class Relation(StrEnum):
    """How it is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    GREATER = ">"


class Span(msgspec.Struct, frozen=True):
    """The keys from ``first`` to the one before ``end``; ``end`` None: all from ``first`` on."""

    first: bytes
    end: bytes | None

    @classmethod
    def one(cls, key: bytes) -> "Span":
        """Return the span of one key."""
        return cls(key, key + b"\0")

    @classmethod
    def prefix(cls, prefix: bytes) -> "Span":
        """Return the span of all keys that begin with ``prefix``."""
        common = prefix.rstrip(b"\xff")
        return cls(prefix, common[:-1] + bytes([common[-1] + 1]) if common else None)

    @property
    def is_one(self) -> bool:
        """Whether it is the span of one key."""
        return self.end == self.first + b"\0"

    def holds(self, key: bytes) -> bool:
        """Return whether ``key`` is one of them."""
        return self.first <= key and (self.end is None or key < self.end)


class Compare(msgspec.Struct, frozen=True):
    """A condition: it must hold for every key of the span that is there.

    Where none is there, versions, revisions and leases are compared as 0, and no value compares.
    """

    keys: Span
    target: Target
    relation: Relation
    operand: int | bytes
    """Bytes for a value, else a number."""

    def holds(self, present: int | bytes) -> bool:
        """Return whether what is present has the relation to the operand."""
        match self.relation:
            case Relation.EQUAL:
                return present == self.operand
            case Relation.NOT_EQUAL:
                return present != self.operand
            case Relation.LESS:
                return present < self.operand  # type: ignore[operator]  # both are numbers, or both are bytes
            case Relation.GREATER:
                return present > self.operand  # type: ignore[operator]  # see above
            case _:
                assert_never(self.relation)


class PutKey(msgspec.Struct, frozen=True, tag=True):
    """A key gets a value."""

    key: bytes
    value: bytes | None
    """None: it keeps the one that it has, and must be there."""
    content_type: str = DEFAULT_TYPE
    lease: int | None = 0
    """None: it keeps the one that it has, and must be there."""
    previous: bool = False
    """What it held is told."""


class DeleteKeys(msgspec.Struct, frozen=True, tag=True):
    """All keys of a span go."""

    keys: Span
    previous: bool = False
    """What they held is told."""


class ReadKeys(msgspec.Struct, frozen=True, tag=True):
    """The first keys of a span are told, as the operations before leave them."""

    keys: Span
    limit: int
    """So many; none: only how many there are."""
    revision: int = 0
    """As of which they are told; 0: as they are."""
    above: bool = False
    """... if that is above the compacted one, or nothing is compacted."""
    count: bool = False
    """How many there are is told, too."""


class Transaction(msgspec.Struct, frozen=True, tag=True):
    """If all ``compares`` hold, ``then``, else ``otherwise``."""

    compares: tuple[Compare, ...]
    then: tuple["Operation", ...]
    otherwise: tuple["Operation", ...] = ()

    def operations(self) -> Iterable["Operation"]:
        """Yield all operations, with those of the transactions inside."""
        for operation in (*self.then, *self.otherwise):
            yield operation
            if isinstance(operation, Transaction):
                yield from operation.operations()

    def all_compares(self) -> Iterable[Compare]:
        """Yield all compares, with those of the transactions inside."""
        yield from self.compares
        for operation in (*self.then, *self.otherwise):
            if isinstance(operation, Transaction):
                yield from operation.all_compares()


Operation = PutKey | DeleteKeys | ReadKeys | Transaction


class Transact(msgspec.Struct, frozen=True):
    """A transaction as a client asked for it."""

    transaction: Transaction
    idempotency_key: str | None = None
    values: dict[bytes, tuple[int, bytes]] = {}
    """Of keys that keep their values, and of those whose values are compared and are not at hand in memory: the
    revision that made the value, and the value."""

    @property
    def value(self) -> bytes | None:
        """None for one that writes no value: like a delete, it may use the log's last room."""
        return b"" if any(isinstance(one, PutKey) for one in self.transaction.operations()) else None

    @property
    def size(self) -> int:
        """Upper bound of what it takes in a batch beside the keys of the spans that it deletes, bytes."""
        size = _OPERATION_BYTES + 4 * len(self.idempotency_key or "")
        for one in self.transaction.operations():
            if isinstance(one, PutKey):
                value = len(self.kept(one.key)[1] if one.value is None else one.value)
                size += _OPERATION_BYTES + len(one.key) + 4 * len(one.content_type) + value
                size += TAG_BYTES if value <= PART_BYTES else tags_size(value)
            elif isinstance(one, DeleteKeys) and one.keys.is_one:
                size += _OPERATION_BYTES + len(one.keys.first)
        return size

    @property
    def sweeps(self) -> bool:
        """It deletes spans: how many keys it changes is known only when it is judged."""
        return any(isinstance(one, DeleteKeys) and not one.keys.is_one for one in self.transaction.operations())

    def kept(self, key: bytes) -> tuple[int, bytes]:
        """Return the value that came with the request for ``key``, and the revision that made it; 0: none came."""
        return self.values.get(key, (0, b""))

    def digest(self) -> bytes:
        """Return a hash of every field that distinguishes two requests."""
        return xxhash.xxh3_128_digest(msgspec.msgpack.encode(self.transaction))


def check(transaction: Transaction) -> None:
    """Raise BadTransaction for what can never be carried out: too many operations, or a key that is changed twice."""
    then, otherwise = transaction.then, transaction.otherwise
    if len(then) < 2 and len(otherwise) < 2 and not any(isinstance(one, Transaction) for one in (*then, *otherwise)):
        _check_length("compares", transaction.compares)  # no operation can meet another one
        return
    _check_sizes(transaction, 1)
    total = sum(1 for _ in transaction.operations()) + sum(1 for _ in transaction.all_compares())
    if total > MOST_IN_ALL:
        raise BadTransaction(
            f"the transaction has {total} compares and operations with those inside; at most {MOST_IN_ALL} are "
            "allowed: make several of it"
        )
    _changes(transaction)


def _check_sizes(transaction: Transaction, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise BadTransaction(f"transactions stand inside of each other more than {MOST_DEPTH} deep: nest them less")
    _check_length("compares", transaction.compares)
    _check_length("operations", transaction.then)
    _check_length("operations", transaction.otherwise)
    for operation in (*transaction.then, *transaction.otherwise):
        if isinstance(operation, Transaction):
            _check_sizes(operation, depth + 1)


def _check_length(what: str, listed: Sequence[object]) -> None:
    if len(listed) > MOST_OPERATIONS:
        raise BadTransaction(
            f"a transaction has {len(listed)} {what} in one list; at most {MOST_OPERATIONS} are allowed: "
            "make several of it"
        )


_Changes = tuple[set[bytes], list[Span]]
"""Keys that get a value, and spans that are deleted."""


def _changes(transaction: Transaction) -> _Changes:
    """Return what either branch changes. Raises BadTransaction for a key that one branch changes twice."""
    puts, spans = set[bytes](), list[Span]()
    for branch in (transaction.then, transaction.otherwise):
        own_puts, own_spans = set[bytes](), list[Span]()
        for operation in branch:
            more, deleted = _changes_of(operation)
            twice = more & own_puts
            twice |= {key for key in more if any(span.holds(key) for span in own_spans)}
            twice |= {key for key in own_puts if any(span.holds(key) for span in deleted)}
            if twice:
                raise ChangedTwice(
                    f"the transaction changes the key {shown(min(twice))[:100]!r} twice: each branch may put a key "
                    "once, and delete no key that it puts"
                )
            own_puts |= more
            own_spans += deleted
        puts |= own_puts
        spans += own_spans
    return puts, spans


def _changes_of(operation: Operation) -> _Changes:
    match operation:
        case PutKey(key=key):
            return {key}, []
        case DeleteKeys(keys=keys):
            return set(), [keys]
        case Transaction():
            return _changes(operation)
        case ReadKeys():
            return set(), []
        case _:
            assert_never(operation)
