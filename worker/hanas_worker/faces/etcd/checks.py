"""Whether a request is one that etcd takes: the same checks, in the same order."""

from collections.abc import Sequence

from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from hanas_worker.faces.etcd.revisions import Span
from hanas_worker.faces.etcd.translation import span_of

MOST_OPERATIONS = 128
"""Of a transaction with all that it nests, on the deepest way; and conditions."""
_MOST_IN_ALL = 4096
"""... on all ways together, which etcd does not bound: a transaction is looked at in one turn of the event loop."""
_SORT_ORDERS = frozenset(RangeRequest.SortOrder.values())
_SORT_TARGETS = frozenset(RangeRequest.SortTarget.values())


def check_range(request: RangeRequest) -> None:
    """Raise RpcError unless the request may be carried out."""
    if not request.key:
        raise errors.EMPTY_KEY
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
        raise errors.INVALID_SORT


def check_put(request: PutRequest) -> None:
    """Raise RpcError unless the request may be carried out."""
    if not request.key:
        raise errors.EMPTY_KEY
    if request.ignore_value and request.value:
        raise errors.VALUE_PROVIDED
    if request.ignore_lease and request.lease:
        raise errors.LEASE_PROVIDED


def check_delete(request: DeleteRangeRequest) -> None:
    """Raise RpcError unless the request may be carried out."""
    if not request.key:
        raise errors.EMPTY_KEY


def check_txn(request: TxnRequest) -> None:
    """Raise RpcError unless the request may be carried out."""
    _check_parts(request, MOST_OPERATIONS, [_MOST_IN_ALL])
    _writes(request.success)
    _writes(request.failure)


def _check_parts(request: TxnRequest, most: int, left: list[int]) -> None:
    """Raise RpcError unless no way through the transaction has more than ``most`` operations, and all have ``left``."""
    operations = max(len(request.compare), len(request.success), len(request.failure))
    left[0] -= len(request.compare) + len(request.success) + len(request.failure)
    if operations > most or left[0] < 0:
        raise errors.TOO_MANY_OPERATIONS
    for compare in request.compare:
        if not compare.key:
            raise errors.EMPTY_KEY
    for branch in (request.success, request.failure):
        for operation in branch:
            _check_operation(operation, most - operations, left)


def _check_operation(operation: RequestOp, most: int, left: list[int]) -> None:
    match operation.WhichOneof("request"):
        case "request_range":
            check_range(operation.request_range)
        case "request_put":
            check_put(operation.request_put)
        case "request_delete_range":
            check_delete(operation.request_delete_range)
        case "request_txn":
            _check_parts(operation.request_txn, most, left)
        case _:
            raise errors.KEY_NOT_FOUND


class _Writes:
    """What the operations of a branch write, with what they nest."""

    def __init__(self) -> None:
        self.puts: set[bytes] = set()
        self.deletes: list[Span] = []

    def add_put(self, key: bytes) -> None:
        """Add a put. Raises RpcError if it could meet another write."""
        if key in self.puts or any(span.holds(key) for span in self.deletes):
            raise errors.DUPLICATE_KEY
        self.puts.add(key)


def _writes(operations: Sequence[RequestOp]) -> _Writes:
    """Return the writes of a branch. Raises RpcError if one could meet another.

    etcd takes "all keys from here on" for an interval without keys, and lets puts meet it.
    """
    writes = _Writes()
    for operation in operations:
        if operation.HasField("request_delete_range"):
            delete = operation.request_delete_range
            writes.deletes.append(span_of(delete.key, delete.range_end))
    for operation in operations:
        if operation.HasField("request_txn"):
            _take_in(operation.request_txn, writes)
    for operation in operations:
        if operation.HasField("request_put"):
            writes.add_put(operation.request_put.key)
    return writes


def _take_in(nested: TxnRequest, writes: _Writes) -> None:
    """Add the writes of a nested transaction, of which one branch only will be carried out."""
    branches = _writes(nested.success), _writes(nested.failure)
    for key in branches[0].puts | branches[1].puts:
        writes.add_put(key)
    for branch in branches:
        writes.deletes += branch.deletes
