"""What this face needs of the store: keys with revisions, transactions, changes, leases. In no protocol's words.

Requests are carried out by a call with a callback, which gets the result or a `Refusal`, at once or later, exactly
once. A store that cannot serve just now keeps a request until it can.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol, TypeVar

import msgspec


class Pair(msgspec.Struct, frozen=True, gc=False):
    """A key, its value, and how it came about."""

    key: bytes
    value: bytes
    created: int
    """Revision of its creation."""
    modified: int
    """Revision of its last change."""
    version: int
    """Counts from 1 since its creation."""
    lease: int = 0
    """0: none."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """The keys from ``begin`` on."""

    begin: bytes
    end: bytes | None = None
    """The first one behind; None: ``begin`` is the only one; empty: all."""

    def holds(self, key: bytes) -> bool:
        """Return whether ``key`` is one of them."""
        if self.end is None:
            return key == self.begin
        return key >= self.begin and (not self.end or key < self.end)


EVERYTHING = Span(b"", b"")


class Target(IntEnum):
    """What of a key is compared."""

    VERSION = 0
    CREATED = 1
    MODIFIED = 2
    VALUE = 3
    LEASE = 4


class Relation(IntEnum):
    """How it must be to what it is compared with."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class Comparison(msgspec.Struct, frozen=True):
    """A condition: it holds for all keys of ``span``. A key that is not there has zeros, and no value at all."""

    span: Span
    target: Target
    relation: Relation
    operand: int | bytes


class Query(msgspec.Struct, frozen=True):
    """A read of the keys of ``span``."""

    span: Span
    revision: int = 0
    """As of which revision; 0: the present one."""
    limit: int = 0
    """No more pairs than this; 0: all."""
    count_only: bool = False
    stale: bool = False
    """What this worker has applied is enough."""


class Put(msgspec.Struct, frozen=True):
    """A write of a key."""

    key: bytes
    value: bytes | None
    """None: as it is; the key must be there then."""
    lease: int | None = 0
    """None: as it is; the key must be there then."""
    previous: bool = False
    """Return the pair before."""


class Delete(msgspec.Struct, frozen=True):
    """The removal of keys."""

    span: Span
    previous: bool = False


class Transaction(msgspec.Struct, frozen=True):
    """Operations that are done at one revision, or not at all. Reads see earlier writes of the same transaction."""

    conditions: tuple[Comparison, ...]
    then: "tuple[Operation, ...]"
    otherwise: "tuple[Operation, ...]"
    stale: bool = False
    """It only reads, and what this worker has applied is enough."""


Operation = Query | Put | Delete | Transaction


class Rows(msgspec.Struct, frozen=True):
    """What a query returns: pairs in the order of their keys."""

    revision: int
    """The present one."""
    pairs: list[Pair]
    count: int
    """Keys in the span, also those beyond the limit."""


class Stored(msgspec.Struct, frozen=True):
    """What a put returns."""

    revision: int
    previous: Pair | None = None


class Deleted(msgspec.Struct, frozen=True):
    """What a delete returns."""

    revision: int
    count: int
    previous: list[Pair] = []


class Decided(msgspec.Struct, frozen=True):
    """What a transaction returns."""

    revision: int
    """The present one behind it."""
    held: bool
    """Whether all conditions held."""
    results: "list[OperationResult]"


OperationResult = Rows | Stored | Deleted | Decided


class Change(msgspec.Struct, frozen=True):
    """One key that a revision changed."""

    pair: Pair
    """Of a deletion: only key, and the revision as ``modified``."""
    deleted: bool = False
    previous: Pair | None = None
    """At the revision before, if asked for, and there was one."""


CHANGE_BYTES = 64
"""What a change counts beside its text."""


class Lost(msgspec.Struct, frozen=True):
    """Changes were asked for that are compacted: the end of a feed."""

    compacted: int


class Lease(msgspec.Struct, frozen=True):
    """A lease that is there."""

    id: int
    granted: int
    """Seconds."""
    remaining: int
    """Whole seconds."""
    keys: Sequence[bytes] = ()


class Digest(msgspec.Struct, frozen=True):
    """What workers compare to find out whether they have the same."""

    value: int
    """32 bits, of all that is readable at ``revision``."""
    revision: int
    compacted: int
    present: int
    """The present revision."""


class Vitals(msgspec.Struct, frozen=True):
    """How the store is."""

    size: int
    """Bytes on the volume."""
    used: int
    """... that are needed."""
    quota: int
    """... that there may be; 0: no limit of its own."""
    position: int
    """In the log, counted in records."""
    full: bool
    """The volume has no room."""
    serving: bool
    """There is a main, as far as that is known here."""


class Refusal(Exception):
    """Why a request was not carried out: nothing was done, except after `Unknown`."""


class Compacted(Refusal):
    """The revision is no longer readable."""


class Future(Refusal):
    """There is no such revision yet."""


class NoKey(Refusal):
    """A key that a put builds on is not there."""


class NoLease(Refusal):
    """There is no such lease."""


class LeaseExists(Refusal):
    """The lease is there."""


class Full(Refusal):
    """The volume has no room."""


class Busy(Refusal):
    """Too many requests wait."""


class Moved(Refusal):
    """The main changed before anything was done."""


class Unknown(Refusal):
    """The main changed meanwhile: it may or may not have been done."""


class Late(Refusal):
    """It took too long; nothing was done."""


class ChangedTwice(Refusal):
    """A transaction changes a key twice, in a way that only the store sees."""


class Unsupported(Refusal):
    """The store cannot do this; ``text`` says what, for people."""

    def __init__(self, text: str = "it is not supported") -> None:
        super().__init__(text)
        self.text = text


R_contra = TypeVar("R_contra", contravariant=True)


class Done(Protocol[R_contra]):
    """Gets the result."""

    def __call__(self, result: R_contra | Refusal, /) -> None:
        """Go on."""


class Feed(Protocol):
    """The changes of a span, in order, from a revision on. It costs no memory while nobody takes them.

    One that has been read to its end is never lost: changes of other keys advance it, too.
    """

    @property
    def position(self) -> int:
        """The revision up to which everything was taken: at least the one before the first that was asked for."""

    def take(self, most: int) -> Sequence[Change] | Lost:
        """Return the next changes: whole revisions, until ``most`` bytes are reached; or how the feed is lost.

        A change counts with key, value and `CHANGE_BYTES`. After nothing was returned, ``ready`` is called once, when
        there is something.
        """

    def close(self) -> None:
        """End it."""


class RevisionStore(Protocol):
    """The store of one log."""

    @property
    def revision(self) -> int:
        """The present revision, as far as it is known here: committed, and never below what was told before."""

    @property
    def term(self) -> int:
        """The epoch, which never falls."""

    def read(self, query: Query, done: Done[Rows]) -> None:
        """Read. Refused: Compacted, Future."""

    def transact(self, transaction: Transaction, done: Done[Decided]) -> None:
        """Carry a transaction out: at one revision, or not at all.

        All conditions, those of nested transactions too, are judged by what was before. Refused: what the first
        operation of those that would be done runs into, Compacted, Future, NoKey, or else NoLease; Full, Unknown.
        """

    def compact(self, revision: int, done: Done[int]) -> None:
        """Forget what was before ``revision``; the result is the present one. Refused: Compacted, Future."""

    def watch(self, span: Span, start: int, ready: Callable[[], None], *, previous: bool) -> Feed:
        """Return the changes from revision ``start`` (1 or more) on. ``ready``: what `Feed.take` promises."""

    def confirm(self, done: Done[int]) -> None:
        """Return the present revision when it is certain that this worker has missed nothing before it."""

    def grant(self, lease: int, seconds: int, done: Done[Lease]) -> None:
        """Grant a lease; id 0: choose one. Refused: LeaseExists."""

    def revoke(self, lease: int, done: Done[int]) -> None:
        """Revoke a lease and delete its keys; the result is the present revision. Refused: NoLease."""

    def renew(self, lease: int, done: Done[Lease]) -> None:
        """Give a lease its whole time anew. Refused: NoLease."""

    def lease(self, lease: int, done: Done[Lease]) -> None:
        """Return a lease, with its keys. Refused: NoLease."""

    def leases(self, done: Done[list[int]]) -> None:
        """Return the ids of all leases."""

    def digest(self, revision: int, done: Done[Digest]) -> None:
        """Return the digest at ``revision``; 0: the present one. Refused: Compacted, Future."""

    def vitals(self) -> Vitals:
        """Return how the store is."""
