"""A transaction is judged: its compares, and what the operations of a branch do (docs/protocol.md, section 3.11).

All compares, of the transactions inside too, are evaluated before anything changes. The operations see what those
before them did.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, assert_never

from hanas_core.log import records
from hanas_core.log.cells import checksum_of, sums_of
from hanas_core.log.positions import Version
from hanas_core.state.index import Known
from hanas_core.state.overlay import Left, Overlay
from hanas_core.state.reports import Deleted, Past, Put, Report, Row, Rows, Told
from hanas_core.state.transactions import (
    Compare,
    DeleteKeys,
    PutKey,
    ReadKeys,
    Target,
    Transact,
    Transaction,
)

FIRST_REVISION = 1
"""That of an empty store."""
_DELETE_BYTES = 16
"""What the delete of a key takes in a record beside the key, at most."""


class ValuesNeeded(Exception):
    """The value of ``key`` is compared or kept, and is not at hand."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key


class TooManyDeletes(Exception):
    """It would delete more keys than find room in its record."""


class Lack(Enum):
    """What an operation builds on that is not there."""

    FORGOTTEN = "forgotten"
    """The revision is below the compacted one."""
    TO_COME = "to come"
    """The revision is above the present one."""
    KEY = "key"
    LEASE = "lease"


class Lacking(Exception):
    """An operation builds on what is not there."""

    def __init__(self, lack: Lack) -> None:
        super().__init__()
        self.lack = lack


class Scene(NamedTuple):
    """What a transaction is judged by."""

    state: Overlay
    revision: int
    """Of the store before it."""
    compacted: int
    leased: Callable[[int], bool]
    """Whether there is a lease with this id."""


class Effect(NamedTuple):
    """What a transaction does."""

    report: Report
    changes: tuple[records.Put | records.RevisedPut | records.Delete, ...]
    changed: dict[bytes, Left | None]
    """What it leaves of each key that it changes."""
    cells: list[bytes]
    """Of the values that it writes, in pieces."""
    deleted_bytes: int
    """What the keys of the spans that it deletes take in the record, at most."""
    attached: dict[int, list[bytes]]
    """The keys that it attaches to each lease."""


class _Path(NamedTuple):
    """Whether the compares of a transaction hold, and the same of the transactions in its branch, in their order."""

    succeeded: bool
    inside: "tuple[_Path, ...]"


def transact(scene: Scene, request: Transact, version: Version, room: int) -> Effect:
    """Return what ``request`` does; its changes make ``version``.

    ``room``: for the keys of the spans that it deletes, bytes. Changes nothing itself. Raises ValuesNeeded, Lacking for
    the first operation that lacks something, TooManyDeletes, TooManyLooks.
    """
    scene.state.looks.begin()
    judged = _Judged(scene, request, version, room)
    path = _path(scene.state, request, request.transaction)
    _require(scene, request.transaction, path)
    report = judged.carry_out(request.transaction, path)
    return Effect(report, tuple(judged.changes), judged.changed, judged.cells, judged.deleted_bytes, judged.attached)


def _path(state: Overlay, request: Transact, transaction: Transaction) -> _Path:
    succeeded = all(_holds(state, request, compare) for compare in transaction.compares)
    branch = transaction.then if succeeded else transaction.otherwise
    return _Path(succeeded, tuple(_path(state, request, one) for one in branch if isinstance(one, Transaction)))


def _require(scene: Scene, transaction: Transaction, path: _Path) -> None:
    """Raise Lacking for the first operation of the branch that builds on what is not there before all of them."""
    inside = iter(path.inside)
    for operation in transaction.then if path.succeeded else transaction.otherwise:
        match operation:
            case ReadKeys(keys=keys, revision=revision, above=above) if revision:
                if revision > scene.revision:
                    raise Lacking(Lack.TO_COME)
                if revision < scene.compacted or (above and revision == scene.compacted > FIRST_REVISION):
                    raise Lacking(Lack.FORGOTTEN)
                scene.state.looks.take(scene.state.index.keys.size_of(keys.first, keys.end))
            case PutKey(key=key, value=value, lease=lease):
                if (value is None or lease is None) and scene.state.get(key) is None:
                    raise Lacking(Lack.KEY)
                if lease and not scene.leased(lease):
                    raise Lacking(Lack.LEASE)
            case Transaction():
                _require(scene, operation, next(inside))
            case _:
                pass


def _holds(state: Overlay, request: Transact, compare: Compare) -> bool:
    there = False
    for key, known in state.rows(compare.keys):
        there = True
        if not compare.holds(_present(state, request, compare.target, key, known)):
            return False
    return there or (compare.target is not Target.VALUE and compare.holds(0))


def _present(state: Overlay, request: Transact, target: Target, key: bytes, known: Known) -> int | bytes:
    match target:
        case Target.VERSION:
            return known.facts.generation
        case Target.CREATE:
            return known.facts.create
        case Target.MOD:
            return known.facts.revision
        case Target.LEASE:
            return known.facts.lease
        case Target.VALUE:
            value = known.value if key in state.changed else state.index.cached(key)
            if value is None:
                revision, value = request.kept(key)
                if revision != known.facts.revision:
                    raise ValuesNeeded(key)
            return value
        case _:
            assert_never(target)


class _Judged:
    """Carries out the operations of a transaction on top of the state."""

    def __init__(self, scene: Scene, request: Transact, version: Version, room: int) -> None:
        self._state = Overlay(scene.state.index, dict(scene.state.changed), scene.state.looks)
        self._request, self._version, self._revision, self._room = request, version, scene.revision + 1, room
        self.changes: list[records.Put | records.RevisedPut | records.Delete] = []
        self.changed: dict[bytes, Left | None] = {}
        self.cells: list[bytes] = []
        self.deleted_bytes = 0
        self.attached: dict[int, list[bytes]] = {}

    def carry_out(self, transaction: Transaction, path: _Path) -> Report:
        inside = iter(path.inside)
        told: list[Told] = []
        for operation in transaction.then if path.succeeded else transaction.otherwise:
            if isinstance(operation, Transaction):
                told.append(self.carry_out(operation, next(inside)))
            else:
                told.append(self._operate(operation))
        return Report(path.succeeded, tuple(told))

    def _operate(self, operation: PutKey | DeleteKeys | ReadKeys) -> Told:
        match operation:
            case PutKey():
                return self._put(operation)
            case DeleteKeys(keys=keys, previous=previous):
                rows = [Row(key, known.facts.revision) for key, known in self._state.rows(keys)]
                if not keys.is_one:  # one key counts with the request, see `Transact.size`
                    self.deleted_bytes += sum(_DELETE_BYTES + len(row.key) for row in rows)
                if self.deleted_bytes > self._room:
                    raise TooManyDeletes
                for row in rows:
                    self.changes.append(records.Delete(row.key))
                    self._change(row.key, None)
                return Deleted(len(rows), tuple(rows) if previous else ())
            case ReadKeys(revision=revision):
                return Past(operation) if revision else self._read(operation)
            case _:
                assert_never(operation)

    def _read(self, read: ReadKeys) -> Rows:
        rows, count = list[Row](), 0
        for key, known in self._state.rows(read.keys):
            count += 1
            if count <= read.limit:
                rows.append(Row(key, known.facts.revision))
            elif not read.count:
                break
        return Rows(tuple(rows), count > read.limit, count if read.count else 0)

    def _put(self, put: PutKey) -> Put:
        present = self._state.get(put.key)
        value, lease = self._value(put, present), put.lease
        if lease is None:
            lease = 0 if present is None else present.facts.lease
        sums = sums_of(value)
        self.cells += (sums, value)
        fields = put.key, len(value), checksum_of(value, sums), put.content_type, None, present is None
        create, generation = self._revision, 1
        if present is not None:
            create, generation = present.facts.create, present.facts.generation + 1
        if generation == 1 and not lease:
            self.changes.append(records.Put(*fields))
        else:
            self.changes.append(records.RevisedPut(*fields, create, generation, lease))
        if lease:
            self.attached.setdefault(lease, []).append(put.key)
        self._change(put.key, (self._version, self._revision, create, generation, lease, value))
        return Put(None if present is None or not put.previous else Row(put.key, present.facts.revision))

    def _value(self, put: PutKey, present: Known | None) -> bytes:
        """Return what the key gets. One that it keeps came with the request, whose size counts it."""
        if put.value is not None:
            return put.value
        revision, value = self._request.kept(put.key)
        if present is None or revision != present.facts.revision:
            raise ValuesNeeded(put.key)
        return value

    def _change(self, key: bytes, left: Left | None) -> None:
        self._state.changed[key] = self.changed[key] = left
