"""Between etcd's messages and what the store knows."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.messages.kv_pb2 import KeyValue
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    ResponseHeader,
    ResponseOp,
    TxnRequest,
    TxnResponse,
)
from hanas_worker.faces.etcd.revisions import (
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
)

_ALL = b"\0"
"""As an end: none."""
_OPERANDS = {
    Target.VERSION: "version",
    Target.CREATED: "create_revision",
    Target.MODIFIED: "mod_revision",
    Target.VALUE: "value",
    Target.LEASE: "lease",
}
_SORT_KEYS: dict[int, Callable[[Pair], Any]] = {
    RangeRequest.KEY: attrgetter("key"),
    RangeRequest.VERSION: attrgetter("version"),
    RangeRequest.CREATE: attrgetter("created"),
    RangeRequest.MOD: attrgetter("modified"),
    RangeRequest.VALUE: attrgetter("value"),
}


def span_of(key: bytes, range_end: bytes) -> Span:
    """Return the keys that a request means."""
    if not range_end:
        return Span(key)
    return Span(key, b"" if range_end == _ALL else range_end)


def query_of(request: RangeRequest) -> Query:
    """Return the query for the pairs that are needed for the answer."""
    limit = 0 if _is_picky(request) or request.limit <= 0 else request.limit
    if limit and request.sort_target:
        limit += 1  # etcd sorts what it has read then, and sees by one more that there are more
    span = span_of(request.key, request.range_end)
    return Query(span, request.revision, limit, request.count_only, request.serializable)


def _is_picky(request: RangeRequest) -> bool:
    """Return whether all pairs have to be looked at before they are cut at the limit."""
    return bool(
        request.sort_order
        or request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def chosen(request: RangeRequest, rows: Rows) -> tuple[list[Pair], bool]:
    """Return the pairs of the answer, and whether there are more."""
    pairs = rows.pairs
    if not (request.sort_target or _is_picky(request)):
        return pairs, not request.count_only and len(pairs) < rows.count
    if request.max_mod_revision:
        pairs = [pair for pair in pairs if pair.modified <= request.max_mod_revision]
    if request.min_mod_revision:
        pairs = [pair for pair in pairs if pair.modified >= request.min_mod_revision]
    if request.max_create_revision:
        pairs = [pair for pair in pairs if pair.created <= request.max_create_revision]
    if request.min_create_revision:
        pairs = [pair for pair in pairs if pair.created >= request.min_create_revision]
    if request.sort_order or request.sort_target:
        descending = request.sort_order == RangeRequest.DESCEND
        pairs = sorted(pairs, key=_SORT_KEYS[request.sort_target], reverse=descending)
    if 0 < request.limit < len(pairs):
        return pairs[: request.limit], True
    return pairs, False


def message_of(pair: Pair) -> KeyValue:
    """Return a pair as etcd has it."""
    return KeyValue(
        key=pair.key,
        create_revision=pair.created,
        mod_revision=pair.modified,
        version=pair.version,
        value=pair.value,
        lease=pair.lease,
    )


def put_of(request: PutRequest) -> Put:
    """Return the write."""
    value = None if request.ignore_value else request.value
    lease = None if request.ignore_lease else request.lease
    return Put(request.key, value, lease, request.prev_kv)


def delete_of(request: DeleteRangeRequest) -> Delete:
    """Return the removal."""
    return Delete(span_of(request.key, request.range_end), request.prev_kv)


def transaction_of(request: TxnRequest) -> Transaction:
    """Return the transaction."""
    every = [*request.success, *request.failure]
    stale = all(operation.HasField("request_range") and operation.request_range.serializable for operation in every)
    return Transaction(
        tuple(map(_comparison_of, request.compare)),
        tuple(map(_operation_of, request.success)),
        tuple(map(_operation_of, request.failure)),
        stale,
    )


def _comparison_of(compare: Compare) -> Comparison:
    try:
        target, relation = Target(compare.target), Relation(compare.result)
    except ValueError:
        raise errors.UNKNOWN_COMPARISON from None
    return Comparison(span_of(compare.key, compare.range_end), target, relation, getattr(compare, _OPERANDS[target]))


def _operation_of(operation: RequestOp) -> Operation:
    match operation.WhichOneof("request"):
        case "request_range":
            return query_of(operation.request_range)
        case "request_put":
            return put_of(operation.request_put)
        case "request_delete_range":
            return delete_of(operation.request_delete_range)
        case _:
            return transaction_of(operation.request_txn)


def ranged(request: RangeRequest, rows: Rows, header: ResponseHeader) -> RangeResponse:
    """Return the answer to a range."""
    pairs, more = chosen(request, rows)
    response = RangeResponse(header=header, more=more, count=rows.count)
    add(response, pairs, keys_only=request.keys_only)
    return response


def add(response: RangeResponse, pairs: Iterable[Pair], *, keys_only: bool) -> None:
    """Add pairs to the answer to a range. The runtime makes a message in place in half the time."""
    add_one = response.kvs.add
    for pair in pairs:
        add_one(
            key=pair.key,
            create_revision=pair.created,
            mod_revision=pair.modified,
            version=pair.version,
            value=b"" if keys_only else pair.value,
            lease=pair.lease,
        )


def put(stored: Stored, header: ResponseHeader) -> PutResponse:
    """Return the answer to a put."""
    if stored.previous is None:
        return PutResponse(header=header)
    return PutResponse(header=header, prev_kv=message_of(stored.previous))


def deleted(result: Deleted, header: ResponseHeader) -> DeleteRangeResponse:
    """Return the answer to a removal."""
    previous = [message_of(pair) for pair in result.previous]
    return DeleteRangeResponse(header=header, deleted=result.count, prev_kvs=previous)


def decided(request: TxnRequest, result: Decided, header: ResponseHeader) -> TxnResponse:
    """Return the answer to a transaction."""
    operations: Sequence[RequestOp] = request.success if result.held else request.failure
    responses = [_response(*each) for each in zip(operations, result.results, strict=True)]
    return TxnResponse(header=header, succeeded=result.held, responses=responses)


def _response(operation: RequestOp, result: OperationResult) -> ResponseOp:
    match result:
        case Rows():
            return ResponseOp(response_range=ranged(operation.request_range, result, _partial(result.revision)))
        case Stored():
            return ResponseOp(response_put=put(result, _partial(result.revision)))
        case Deleted():
            return ResponseOp(response_delete_range=deleted(result, _partial(result.revision)))
        case Decided():
            return ResponseOp(response_txn=decided(operation.request_txn, result, ResponseHeader()))


def _partial(revision: int) -> ResponseHeader:
    """Return the header of an answer inside of another one."""
    return ResponseHeader(revision=revision)
