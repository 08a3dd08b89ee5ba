"""A plain store with revisions in memory: what `RevisionStore` promises, in the simplest way."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from sortedcontainers import SortedDict

from hanas_worker.faces.etcd.revisions import (
    CHANGE_BYTES,
    Change,
    Compacted,
    Comparison,
    Decided,
    Delete,
    Deleted,
    Digest,
    Done,
    Future,
    Lease,
    LeaseExists,
    Lost,
    NoKey,
    NoLease,
    Operation,
    OperationResult,
    Pair,
    Put,
    Query,
    Refusal,
    Relation,
    Rows,
    Span,
    Stored,
    Target,
    Transaction,
    Vitals,
)

_FIELDS = {Target.VERSION: "version", Target.CREATED: "created", Target.MODIFIED: "modified", Target.LEASE: "lease"}
_NOTHING = Pair(b"", b"", 0, 0, 0)


class _Held:
    def __init__(self, granted: int, now: float) -> None:
        self.granted, self.deadline = granted, now + granted
        self.keys: set[bytes] = set()


class ModelFeed:
    """A feed of the model."""

    def __init__(self, model: "Model", span: Span, start: int, ready: Callable[[], None]) -> None:
        self.model, self.span, self.ready = model, span, ready
        self.position = start - 1
        self.waiting = False
        """The last look found nothing."""
        model.feeds[self] = None

    def take(self, most: int) -> Sequence[Change] | Lost:
        model, changes, size = self.model, list[Change](), 0
        if self.position + 1 < model.compacted:
            return Lost(model.compacted)
        for revision in model.log.irange(self.position + 1):
            more = [change for change in model.log[revision] if self.span.holds(change.pair.key)]
            changes += more
            size += sum(len(change.pair.key) + len(change.pair.value) + CHANGE_BYTES for change in more)
            self.position = revision
            if size >= most:
                break
        else:
            self.position = max(self.position, model.revision)
        self.waiting = not changes
        return changes

    def close(self) -> None:
        self.model.feeds.pop(self, None)


class Model:
    """The store."""

    def __init__(self, *, later: bool = False) -> None:
        """``later``: results come at a later turn of the event loop."""
        self.revision, self.compacted, self.term = 1, 0, 2
        self.versions: SortedDict[bytes, list[tuple[int, Pair | None]]] = SortedDict()
        self.log: SortedDict[int, list[Change]] = SortedDict()
        self.held: dict[int, _Held] = {}
        self.feeds: dict[ModelFeed, None] = {}
        self.full = False
        self.serving = True
        self.later = later
        self.stuck: list[Callable[[], None]] | None = None
        """What waits, while the store holds requests."""
        self._next_lease = 7_000_000_000

    # ------------------------------------------------------------------ how results are given

    def _give(self, done: Done[Any], compute: Callable[[], Any]) -> None:
        def give() -> None:
            try:
                result = compute()
            except Refusal as refusal:
                result = refusal
            done(result)

        if self.stuck is not None:
            self.stuck.append(give)
        elif self.later:
            asyncio.get_running_loop().call_soon(give)
        else:
            give()

    def hold(self) -> None:
        self.stuck = []

    def release(self) -> None:
        stuck, self.stuck = self.stuck or [], None
        for give in stuck:
            give()

    # ------------------------------------------------------------------ reading

    def at(self, key: bytes, revision: int) -> Pair | None:
        found = None
        for modified, pair in self.versions.get(key, ()):
            if modified > revision:
                break
            found = pair
        return found

    def pairs(self, span: Span, revision: int) -> list[Pair]:
        if span.end is None:
            keys = [span.begin]
        else:
            keys = list(self.versions.irange(span.begin, span.end or None, inclusive=(True, False)))
        return [pair for key in keys if (pair := self.at(key, revision)) is not None]

    def _check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise Future
        if revision and revision < self.compacted:
            raise Compacted

    def _rows(self, query: Query, present: int) -> Rows:
        pairs = self.pairs(query.span, query.revision or present)
        count = len(pairs)
        if query.count_only:
            pairs = []
        elif query.limit:
            pairs = pairs[: query.limit]
        return Rows(present, pairs, count)

    def read(self, query: Query, done: Done[Rows]) -> None:
        def compute() -> Rows:
            self._check_revision(query.revision)
            return self._rows(query, self.revision)

        self._give(done, compute)

    # ------------------------------------------------------------------ transactions

    def _holds(self, comparison: Comparison) -> bool:
        pairs = self.pairs(comparison.span, self.revision)
        if not pairs and comparison.target is Target.VALUE:
            return False
        return all(self._compares(comparison, pair) for pair in pairs or [_NOTHING])

    @staticmethod
    def _compares(comparison: Comparison, pair: Pair) -> bool:
        actual: Any = pair.value if comparison.target is Target.VALUE else getattr(pair, _FIELDS[comparison.target])
        operand: Any = comparison.operand
        match comparison.relation:
            case Relation.EQUAL:
                return bool(actual == operand)
            case Relation.NOT_EQUAL:
                return bool(actual != operand)
            case Relation.GREATER:
                return bool(actual > operand)
            case Relation.LESS:
                return bool(actual < operand)

    def _decide(self, transaction: Transaction, path: list[bool]) -> None:
        """Conditions of nested transactions are looked at before anything is done, as etcd does."""
        held = all(self._holds(each) for each in transaction.conditions)
        path.append(held)
        for operation in transaction.then if held else transaction.otherwise:
            if isinstance(operation, Transaction):
                self._decide(operation, path)

    def _check(self, transaction: Transaction, path: list[bool]) -> None:
        for operation in transaction.then if path.pop(0) else transaction.otherwise:
            match operation:
                case Query():
                    self._check_revision(operation.revision)
                case Put():
                    if None in {operation.value, operation.lease} and self.at(operation.key, self.revision) is None:
                        raise NoKey
                    if operation.lease and operation.lease not in self.held:
                        raise NoLease
                case Transaction():
                    self._check(operation, path)
                case Delete():
                    pass

    def transact(self, transaction: Transaction, done: Done[Decided]) -> None:
        def compute() -> Decided:
            path: list[bool] = []
            self._decide(transaction, path)
            self._check(transaction, list(path))
            changes: list[Change] = []
            result = self._execute(transaction, path, changes)
            self._commit(changes)
            return result

        self._give(done, compute)

    def _execute(self, transaction: Transaction, path: list[bool], changes: list[Change]) -> Decided:
        held = path.pop(0)
        results = [self._do(each, path, changes) for each in (transaction.then if held else transaction.otherwise)]
        return Decided(self.revision + bool(changes), held, results)

    def _do(self, operation: Operation, path: list[bool], changes: list[Change]) -> OperationResult:
        match operation:
            case Query():
                return self._rows(operation, self.revision + bool(changes))
            case Put():
                previous = self.at(operation.key, self.revision + 1)
                self._put(operation, previous, changes)
                return Stored(self.revision + 1, previous if operation.previous else None)
            case Delete():
                pairs = self.pairs(operation.span, self.revision + 1)
                for pair in pairs:
                    self._remove(pair, changes)
                return Deleted(self.revision + bool(changes), len(pairs), pairs if operation.previous else [])
            case Transaction():
                return self._execute(operation, path, changes)

    def _put(self, operation: Put, previous: Pair | None, changes: list[Change]) -> None:
        revision, base = self.revision + 1, previous or _NOTHING
        pair = Pair(
            operation.key,
            base.value if operation.value is None else operation.value,
            base.created or revision,
            revision,
            base.version + 1,
            base.lease if operation.lease is None else operation.lease,
        )
        self._attach(operation.key, base.lease, pair.lease)
        self.versions.setdefault(operation.key, []).append((revision, pair))
        changes.append(Change(pair, previous=self.at(operation.key, self.revision)))

    def _remove(self, pair: Pair, changes: list[Change]) -> None:
        revision = self.revision + 1
        self._attach(pair.key, pair.lease, 0)
        self.versions[pair.key].append((revision, None))
        tombstone = Pair(pair.key, b"", 0, revision, 0)
        changes.append(Change(tombstone, deleted=True, previous=self.at(pair.key, self.revision)))

    def _attach(self, key: bytes, old: int, new: int) -> None:
        if old in self.held:
            self.held[old].keys.discard(key)
        if new in self.held:
            self.held[new].keys.add(key)

    def _commit(self, changes: list[Change]) -> None:
        if not changes:
            return
        self.revision += 1
        self.log[self.revision] = changes
        for feed in list(self.feeds):
            if feed.position == self.revision - 1 and not any(feed.span.holds(each.pair.key) for each in changes):
                feed.position = self.revision
            elif feed.waiting:
                feed.waiting = False
                feed.ready()

    # ------------------------------------------------------------------ history

    def compact(self, revision: int, done: Done[int]) -> None:
        def compute() -> int:
            if revision <= self.compacted:
                raise Compacted
            if revision > self.revision:
                raise Future
            self.compacted = revision
            for old in list(self.log.irange(None, revision, inclusive=(True, False))):
                del self.log[old]
            for key, versions in list(self.versions.items()):
                before = [each for each in versions if each[0] <= revision][-1:]
                kept = [each for each in before if each[1] is not None] + [
                    each for each in versions if each[0] > revision
                ]
                if kept:
                    self.versions[key] = kept
                else:
                    del self.versions[key]
            return self.revision

        self._give(done, compute)

    def watch(self, span: Span, start: int, ready: Callable[[], None], *, previous: bool) -> ModelFeed:
        del previous  # it is always at hand here
        return ModelFeed(self, span, start, ready)

    def confirm(self, done: Done[int]) -> None:
        self._give(done, lambda: self.revision)

    # ------------------------------------------------------------------ leases

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def grant(self, lease: int, seconds: int, done: Done[Lease]) -> None:
        def compute() -> Lease:
            if lease in self.held:
                raise LeaseExists
            self._next_lease += 1
            number = lease or self._next_lease
            self.held[number] = _Held(seconds, self._now())
            asyncio.get_running_loop().call_later(min(seconds, 1e6), self._expire, number)
            return Lease(number, seconds, seconds)

        self._give(done, compute)

    def _expire(self, number: int) -> None:
        held = self.held.get(number)
        if held is None:
            return
        rest = held.deadline - self._now()
        if rest <= 0:
            self._revoke(number)
        else:
            asyncio.get_running_loop().call_later(min(rest, 1e6), self._expire, number)

    def _revoke(self, number: int) -> None:
        changes: list[Change] = []
        for key in sorted(self.held[number].keys):
            pair = self.at(key, self.revision)
            assert pair is not None
            self._remove(pair, changes)
        del self.held[number]
        self._commit(changes)

    def _lease(self, number: int) -> _Held:
        if number not in self.held:
            raise NoLease
        return self.held[number]

    def revoke(self, lease: int, done: Done[int]) -> None:
        def compute() -> int:
            self._lease(lease)
            self._revoke(lease)
            return self.revision

        self._give(done, compute)

    def renew(self, lease: int, done: Done[Lease]) -> None:
        def compute() -> Lease:
            held = self._lease(lease)
            held.deadline = self._now() + held.granted
            return Lease(lease, held.granted, held.granted)

        self._give(done, compute)

    def lease(self, lease: int, done: Done[Lease]) -> None:
        def compute() -> Lease:
            held = self._lease(lease)
            return Lease(lease, held.granted, max(0, int(held.deadline - self._now())), sorted(held.keys))

        self._give(done, compute)

    def leases(self, done: Done[list[int]]) -> None:
        self._give(done, lambda: sorted(self.held, key=lambda each: self.held[each].deadline))

    # ------------------------------------------------------------------ how it is

    def digest(self, revision: int, done: Done[Digest]) -> None:
        def compute() -> Digest:
            self._check_revision(revision)
            value = 0
            for pair in self.pairs(Span(b"", b""), revision or self.revision):
                value = zlib.crc32(repr(pair).encode(), value)
            return Digest(value, revision or self.revision, self.compacted, self.revision)

        self._give(done, compute)

    def vitals(self) -> Vitals:
        return Vitals(20_480, 16_384, 0, self.revision, self.full, self.serving)
