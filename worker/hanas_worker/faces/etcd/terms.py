"""Between what this face asks of a store and what the worker's store takes: keys, spans, transactions, results."""

import sys

from hanas_core.state import reports, transactions
from hanas_core.state.entries import DEFAULT_TYPE, Entry
from hanas_core.state.judge import Write
from hanas_core.state.reports import Report, Row, Told
from hanas_core.state.transactions import BadTransaction, Compare, DeleteKeys, PutKey, ReadKeys
from hanas_worker.faces.etcd.revisions import (
    ChangedTwice,
    Comparison,
    Decided,
    Delete,
    Deleted,
    Operation,
    OperationResult,
    Pair,
    Put,
    Query,
    Relation,
    Rows,
    Span,
    Stored,
    Target,
    Transaction,
    Unsupported,
)
from hanas_worker.store import Transacted

_TARGETS = {
    Target.VERSION: transactions.Target.VERSION,
    Target.CREATED: transactions.Target.CREATE,
    Target.MODIFIED: transactions.Target.MOD,
    Target.VALUE: transactions.Target.VALUE,
    Target.LEASE: transactions.Target.LEASE,
}
_RELATIONS = {
    Relation.EQUAL: transactions.Relation.EQUAL,
    Relation.GREATER: transactions.Relation.GREATER,
    Relation.LESS: transactions.Relation.LESS,
    Relation.NOT_EQUAL: transactions.Relation.NOT_EQUAL,
}

NO_KEYS = transactions.Span(b"", b"")


def span_of(span: Span) -> transactions.Span:
    """Return a span as the store has it."""
    if span.end is None:
        return transactions.Span.one(span.begin)
    if span.end and span.begin >= span.end:
        return NO_KEYS
    return transactions.Span(span.begin, span.end or None)


# ---------------------------------------------------------------------- transactions


def transaction_of(transaction: Transaction) -> transactions.Transaction:
    """Return a transaction as the store has it. Raises ChangedTwice, Unsupported."""
    asked = _transaction_of(transaction)
    try:
        transactions.check(asked)
    except transactions.ChangedTwice:
        raise ChangedTwice from None
    except BadTransaction as error:
        raise Unsupported(str(error)) from None
    return asked


def write_of(transaction: Transaction) -> Write | None:
    """Return a transaction that is but one write of one key, and asks for nothing that was before; else None."""
    if transaction.conditions or len(transaction.then) != 1:
        return None
    (operation,) = transaction.then
    match operation:
        case Put(key=key, value=bytes(value), lease=int(lease), previous=False):
            return Write(key, value, DEFAULT_TYPE, lease=lease)
        case Delete(span=Span(begin=key, end=None), previous=False):
            return Write(key, None)
        case _:
            return None


def _transaction_of(transaction: Transaction) -> transactions.Transaction:
    return transactions.Transaction(
        tuple(map(_compare_of, transaction.conditions)),
        tuple(map(_operation_of, transaction.then)),
        tuple(map(_operation_of, transaction.otherwise)),
    )


def _compare_of(condition: Comparison) -> Compare:
    target, relation = _TARGETS[condition.target], _RELATIONS[condition.relation]
    return Compare(span_of(condition.span), target, relation, condition.operand)


def _operation_of(operation: Operation) -> transactions.Operation:
    match operation:
        case Put(key=key, value=value, lease=lease):
            return PutKey(key, value, lease=lease, previous=operation.previous)
        case Delete(span=span, previous=previous):
            return DeleteKeys(span_of(span), previous)
        case Query():
            limit = 0 if operation.count_only else operation.limit or sys.maxsize
            return ReadKeys(span_of(operation.span), limit, operation.revision, above=True, count=True)
        case Transaction():
            return _transaction_of(operation)


# ---------------------------------------------------------------------- results


def pair_of(key: bytes, entry: Entry, value: bytes) -> Pair:
    """Return a key with what it holds."""
    revision, create, generation, lease = entry.facts
    return Pair(key, value, create, revision, generation, lease)


class Untold(Exception):
    """What the transaction has read cannot be told any more."""


def decided(asked: Transaction, transacted: Transacted) -> Decided:
    """Return the result of a transaction that was carried out. Raises Untold."""
    outcome = transacted.outcome
    assert outcome.report is not None, "a transaction that was judged has a report"
    before = outcome.revision - (outcome.version is not None)
    return _Teller(before, transacted).decided(asked, outcome.report)


class _Teller:
    def __init__(self, before: int, transacted: Transacted) -> None:
        """``before``: revision of the store before the transaction."""
        self._revision, self._transacted = before, transacted
        self._changed = False

    def _present(self) -> int:
        return self._revision + self._changed

    def decided(self, asked: Transaction, report: Report) -> Decided:
        """Return the result of a transaction."""
        operations = asked.then if report.succeeded else asked.otherwise
        results = [self._result(*each) for each in zip(operations, report.results, strict=True)]
        return Decided(self._present(), report.succeeded, results)

    def _result(self, asked: Operation, told: Told) -> OperationResult:
        match told:
            case reports.Put(previous=row):
                self._changed = True
                return Stored(self._present(), None if row is None else self._pair(row))
            case reports.Deleted(count=count, previous=rows):
                self._changed = self._changed or bool(count)
                return Deleted(self._present(), count, list(map(self._pair, rows)))
            case reports.Rows(rows=rows, count=count):
                return Rows(self._present(), list(map(self._pair, rows)), count)
            case Report():
                assert isinstance(asked, Transaction), "each operation has a result of its own kind"
                return self.decided(asked, told)
            case reports.Past():
                raise AssertionError("the store has read the past")

    def _pair(self, row: Row) -> Pair:
        read = self._transacted.reads.get(row)
        if read is None or read.value is None:
            raise Untold
        return pair_of(row.key, read.entry, read.value)
