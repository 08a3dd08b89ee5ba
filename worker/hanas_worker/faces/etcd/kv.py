"""Keys: ranges, puts, removals, transactions, compaction."""

import asyncio
from functools import partial

from hanas_serving.grpc.calls import Method
from hanas_serving.principals import Action
from hanas_worker.faces.etcd import checks, errors, translation
from hanas_worker.faces.etcd.calls import Call, answering, guarded
from hanas_worker.faces.etcd.facts import Facts
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    CompactionRequest,
    CompactionResponse,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RangeResponse,
    TxnRequest,
)
from hanas_worker.faces.etcd.revisions import (
    EVERYTHING,
    Decided,
    Deleted,
    Query,
    Rows,
    Stored,
    Transaction,
)

_FEW_PAIRS = 16
"""So many pairs are encoded at once, however large they are."""
_PIECE_PAIRS = 512
"""Of more, so many are encoded without a break, or so many bytes:"""
_PIECE_BYTES = 1 << 20
MOST_REQUEST_BYTES = 1536 << 10
"""A write of more than this is refused."""


class Keys:
    """The service ``KV``."""

    def __init__(self, facts: Facts) -> None:
        """Serve the store of ``facts``."""
        self._facts, self._store, self._rights = facts, facts.store, facts.rights

    def methods(self) -> list[Method]:
        """Return the methods."""
        return [
            Method(b"/etcdserverpb.KV/Range", RangeRequest.FromString, self.range),
            Method(b"/etcdserverpb.KV/Put", PutRequest.FromString, self.put),
            Method(b"/etcdserverpb.KV/DeleteRange", DeleteRangeRequest.FromString, self.delete),
            Method(b"/etcdserverpb.KV/Txn", TxnRequest.FromString, self.txn),
            Method(b"/etcdserverpb.KV/Compact", CompactionRequest.FromString, self.compact),
        ]

    def range(self, call: Call, request: RangeRequest) -> None:
        """Read."""
        checks.check_range(request)
        query = translation.query_of(request)
        if query.revision < 0:
            query = Query(query.span, 0, query.limit, query.count_only, query.stale)
        several = query.span.end is not None
        if several:
            self._rights.on_keys(call, Action.LIST, query.span)
        if not (several and (request.keys_only or request.count_only)):
            self._rights.on_keys(call, Action.READ, query.span)
        self._store.read(query, answering(call, partial(self._ranged, call, request)))

    def _ranged(self, call: Call, request: RangeRequest, rows: Rows) -> None:
        if len(rows.pairs) <= _FEW_PAIRS:
            response = translation.ranged(request, rows, self._facts.header(rows.revision))
            call.reply(response.SerializeToString())
            return
        pairs, more = translation.chosen(request, rows)
        parts = [RangeResponse(header=self._facts.header(rows.revision)).SerializeToString()]
        last = RangeResponse(more=more, count=rows.count).SerializeToString()
        keys_only, at, loop = request.keys_only, 0, asyncio.get_running_loop()

        def encode() -> None:
            """Encode some pairs: messages that are joined are one with all their repeated fields."""
            nonlocal at
            begin, size = at, 0
            while at < len(pairs) and at - begin < _PIECE_PAIRS and size < _PIECE_BYTES:
                size += len(pairs[at].value)
                at += 1
            piece = RangeResponse()
            translation.add(piece, pairs[begin:at], keys_only=keys_only)
            parts.append(piece.SerializeToString())
            if call.done:
                return
            if at < len(pairs):
                loop.call_soon(guarded(call, encode))
            else:
                call.reply_in_parts([*parts, last])

        encode()

    def put(self, call: Call, request: PutRequest) -> None:
        """Write a key."""
        checks.check_put(request)
        _check_size(request)
        transaction = Transaction((), (translation.put_of(request),), ())
        self._rights.transact(call, transaction)
        self._store.transact(transaction, answering(call, partial(self._put, call)))

    def _put(self, call: Call, result: Decided) -> None:
        (stored,) = result.results
        assert isinstance(stored, Stored), "a put returns what was stored"
        call.reply(translation.put(stored, self._facts.header(stored.revision)).SerializeToString())

    def delete(self, call: Call, request: DeleteRangeRequest) -> None:
        """Remove keys."""
        checks.check_delete(request)
        _check_size(request)
        transaction = Transaction((), (translation.delete_of(request),), ())
        self._rights.transact(call, transaction)
        self._store.transact(transaction, answering(call, partial(self._deleted, call)))

    def _deleted(self, call: Call, result: Decided) -> None:
        (deleted,) = result.results
        assert isinstance(deleted, Deleted), "a removal returns what was removed"
        call.reply(translation.deleted(deleted, self._facts.header(deleted.revision)).SerializeToString())

    def txn(self, call: Call, request: TxnRequest) -> None:
        """Carry a transaction out."""
        checks.check_txn(request)
        _check_size(request)
        transaction = translation.transaction_of(request)
        self._rights.transact(call, transaction)
        self._store.transact(transaction, answering(call, partial(self._decided, call, request)))

    def _decided(self, call: Call, request: TxnRequest, result: Decided) -> None:
        response = translation.decided(request, result, self._facts.header(result.revision))
        call.reply(response.SerializeToString())

    def compact(self, call: Call, request: CompactionRequest) -> None:
        """Forget the past, of all keys."""
        self._rights.on_keys(call, Action.WRITE, EVERYTHING)

        def compacted(revision: int) -> None:
            call.reply(CompactionResponse(header=self._facts.header(revision)).SerializeToString())

        self._store.compact(request.revision, answering(call, compacted))


def _check_size(request: PutRequest | DeleteRangeRequest | TxnRequest) -> None:
    if request.ByteSize() > MOST_REQUEST_BYTES:
        raise errors.TOO_LARGE
