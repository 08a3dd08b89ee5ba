"""A transaction is judged: its compares, and what the operations of a branch do (docs/protocol.md, section 3.11).

All compares, of the transactions inside too, are evaluated before anything changes. The operations see what those
before them did.
"""

from typing import NamedTuple, assert_never

from hanas_core.log import records
from hanas_core.log.cells import checksum_of, sums_of
from hanas_core.log.positions import Version
from hanas_core.state.index import Known
from hanas_core.state.overlay import Left, Overlay
from hanas_core.state.reports import Deleted, Put, Report, Row, Rows, Told
from hanas_core.state.transactions import (
    Compare,
    DeleteKeys,
    PutKey,
    ReadKeys,
    Target,
    Transact,
    Transaction,
)

_DELETE_BYTES = 16
"""What the delete of a key takes in a record beside the key, at most."""


class ValuesNeeded(Exception):
    """The value of ``key`` is compared and is not at hand."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key


class TooManyDeletes(Exception):
    """It would delete more keys than find room in its record."""


class Effect(NamedTuple):
    """What a transaction does."""

    report: Report
    changes: tuple[records.Put | records.RevisedPut | records.Delete, ...]
    changed: dict[bytes, Left | None]
    """What it leaves of each key that it changes."""
    cells: list[bytes]
    """Of the values that it writes, in pieces."""
    deleted_bytes: int
    """What its deletes take in the record, at most."""
    attached: dict[int, list[bytes]]
    """The keys that it attaches to each lease."""


class _Path(NamedTuple):
    """Whether the compares of a transaction hold, and the same of the transactions in its branch, in their order."""

    succeeded: bool
    inside: "tuple[_Path, ...]"


def transact(state: Overlay, request: Transact, version: Version, revision: int, room: int) -> Effect:
    """Return what ``request`` does; its changes make ``version`` and ``revision``. ``room``: for its deletes, bytes.

    Changes nothing itself. Raises ValuesNeeded, TooManyDeletes.
    """
    judged = _Judged(state, version, revision, room)
    path = _path(state, request, request.transaction)
    report = judged.carry_out(request.transaction, path)
    return Effect(report, tuple(judged.changes), judged.changed, judged.cells, judged.deleted_bytes, judged.attached)


def _path(state: Overlay, request: Transact, transaction: Transaction) -> _Path:
    succeeded = all(_holds(state, request, compare) for compare in transaction.compares)
    branch = transaction.then if succeeded else transaction.otherwise
    return _Path(succeeded, tuple(_path(state, request, one) for one in branch if isinstance(one, Transaction)))


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
                revision, value = request.values.get(key, (0, b""))
                if revision != known.facts.revision:
                    raise ValuesNeeded(key)
            return value
        case _:
            assert_never(target)


class _Judged:
    """Carries out the operations of a transaction on top of the state."""

    def __init__(self, state: Overlay, version: Version, revision: int, room: int) -> None:
        self._state = Overlay(state.index, dict(state.changed))
        self._version, self._revision, self._room = version, revision, room
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
                self._put(operation)
                return Put()
            case DeleteKeys(keys=keys):
                names = [key for key, _ in self._state.rows(keys)]
                self.deleted_bytes += sum(_DELETE_BYTES + len(key) for key in names)
                if self.deleted_bytes > self._room:
                    raise TooManyDeletes
                for key in names:
                    self.changes.append(records.Delete(key))
                    self._change(key, None)
                return Deleted(len(names))
            case ReadKeys(keys=keys, limit=limit):
                rows = list[Row]()
                for key, known in self._state.rows(keys):
                    if len(rows) == limit:
                        return Rows(tuple(rows), more=True)
                    rows.append(Row(key, known.facts.revision))
                return Rows(tuple(rows), more=False)
            case _:
                assert_never(operation)

    def _put(self, put: PutKey) -> None:
        present, value = self._state.get(put.key), put.value
        sums = sums_of(value)
        self.cells += (sums, value)
        fields = put.key, len(value), checksum_of(value, sums), put.content_type, None, present is None
        create, generation = self._revision, 1
        if present is not None:
            create, generation = present.facts.create, present.facts.generation + 1
        if generation == 1 and not put.lease:
            self.changes.append(records.Put(*fields))
        else:
            self.changes.append(records.RevisedPut(*fields, create, generation, put.lease))
        if put.lease:
            self.attached.setdefault(put.lease, []).append(put.key)
        self._change(put.key, (self._version, self._revision, create, generation, put.lease, value))

    def _change(self, key: bytes, left: Left | None) -> None:
        self._state.changed[key] = self.changed[key] = left
