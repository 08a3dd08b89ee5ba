"""The store with revisions as a plain model in memory: what the real one is compared with, step by step.

It knows no log, no batches and no files, and shares with the real one only the words of a request.
"""

from collections.abc import Callable
from typing import NamedTuple

from hanas_core.state.transactions import Compare, DeleteKeys, Operation, PutKey, ReadKeys, Span, Target, Transaction

PLAIN = "application/octet-stream"


class KeyValue(NamedTuple):
    """What a key holds at a revision."""

    value: bytes
    create: int
    mod: int
    version: int
    lease: int = 0
    content_type: str = PLAIN


State = dict[bytes, KeyValue]
Told = tuple[bool, list[object]]
"""Whether the compares held, and what each operation of the branch told."""


class Compacted(Exception):
    """The revision is below the compacted one."""


class Future(Exception):
    """The revision is above the present one."""


class NoLease(Exception):
    """A key is to be attached to a lease that is not there."""


class Model:
    """Every state that the store ever had since the compacted revision."""

    def __init__(self, revision: int = 1) -> None:
        """Begin empty."""
        self.revision = self.compacted = revision
        self._states: dict[int, State] = {revision: {}}
        self.leases: dict[int, tuple[int, int]] = {}
        """Of each one the seconds to live, and those that remain."""

    @classmethod
    def of(cls, revision: int, state: State) -> "Model":
        """Return a model that begins with a state."""
        model = cls(revision)
        model._states[revision] = state
        return model

    def advance(self, state: State) -> None:
        """Go on to the next revision."""
        self.revision += 1
        self._states[self.revision] = state

    @property
    def present(self) -> State:
        """The newest state."""
        return self._states[self.revision]

    def at(self, revision: int) -> State:
        """Return all keys as of ``revision``. Raises Compacted, Future."""
        if revision < self.compacted:
            raise Compacted
        if revision > self.revision:
            raise Future
        return self._states[revision]

    def put(self, key: bytes, value: bytes, content_type: str = PLAIN, lease: int = 0) -> None:
        """Give ``key`` a value. Raises NoLease."""
        self.transact(Transaction((), (PutKey(key, value, content_type, lease),)))

    def delete(self, key: bytes) -> bool:
        """Delete ``key``; False if it is not there."""
        present = key in self.present
        self.transact(Transaction((), (DeleteKeys(Span.one(key)),)))
        return present

    def transact(self, transaction: Transaction) -> Told:
        """Carry out a transaction, and return what it tells. Raises NoLease."""
        before, state = self.present, dict(self.present)
        told = self._branch(transaction, before, state)
        if state != before:
            self.advance(state)
        return told

    def grant(self, lease: int, ttl: int) -> bool:
        """Begin a lease; False if there is one with this id."""
        new = lease not in self.leases
        if new:
            self.leases[lease] = ttl, ttl
        return new

    def checkpoint(self, lease: int, remaining: int) -> bool:
        """Note what remains of a lease; False if there is none."""
        if lease in self.leases:
            self.leases[lease] = self.leases[lease][0], remaining
        return lease in self.leases

    def revoke(self, lease: int) -> bool:
        """End a lease, and delete its keys at once; False if there is none."""
        if self.leases.pop(lease, None) is None:
            return False
        left = {key: held for key, held in self.present.items() if held.lease != lease}
        if left != self.present:
            self.advance(left)
        return True

    def compact(self, revision: int) -> None:
        """Forget what the keys were before ``revision``, unless that is still to come."""
        if revision <= self.revision:
            self.compacted = max(self.compacted, revision)
        self._states = {known: state for known, state in self._states.items() if known >= self.compacted}

    def _branch(self, transaction: Transaction, before: State, state: State) -> Told:
        succeeded = all(_holds(compare, before) for compare in transaction.compares)
        branch = transaction.then if succeeded else transaction.otherwise
        return succeeded, [self._operate(operation, before, state) for operation in branch]

    def _operate(self, operation: Operation, before: State, state: State) -> object:
        match operation:
            case PutKey(key=key, value=value, content_type=content_type, lease=lease):
                assert value is not None
                assert lease is not None
                if lease and lease not in self.leases:
                    raise NoLease
                old, revision = state.get(key), self.revision + 1
                create, version = (revision, 1) if old is None else (old.create, old.version + 1)
                state[key] = KeyValue(value, create, revision, version, lease, content_type)
                return None
            case DeleteKeys(keys=keys):
                gone = [key for key in state if keys.holds(key)]
                for key in gone:
                    del state[key]
                return len(gone)
            case ReadKeys(keys=keys, limit=limit):
                rows = sorted(key for key in state if keys.holds(key))
                return [(key, state[key]) for key in rows[:limit]], len(rows) > limit
            case Transaction():
                return self._branch(operation, before, state)


_FACTS: dict[Target, Callable[[KeyValue], int | bytes]] = {
    Target.VALUE: lambda held: held.value,
    Target.VERSION: lambda held: held.version,
    Target.CREATE: lambda held: held.create,
    Target.MOD: lambda held: held.mod,
    Target.LEASE: lambda held: held.lease,
}


def _holds(compare: Compare, state: State) -> bool:
    held = [state[key] for key in state if compare.keys.holds(key)]
    if not held:
        return compare.target is not Target.VALUE and compare.holds(0)
    return all(compare.holds(_FACTS[compare.target](each)) for each in held)
