"""Random requests of etcd's API, on a few keys, so that they meet."""

import random
from typing import Any

from hanas_serving.grpc.status import RpcError
from hanas_worker.faces.etcd import checks, errors, terms, translation
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    CompactionRequest,
    Compare,
    DeleteRangeRequest,
    HashKVRequest,
    LeaseGrantRequest,
    LeaseLeasesRequest,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
    WatchCreateRequest,
)
from hanas_worker.faces.etcd.revisions import ChangedTwice

# Fewer than 13: from there on, etcd sorts what is equal in an order of its own.
KEYS = (b"a", b"aa", b"ab", b"b", b"b\x00", b"c", b"d", b"\x00", b"\xff", b"\xff\xff", "ä".encode())
_VALUES = (b"", b"0", b"1", b"22", b"\x00\xff", b"x" * 300)
_LEASES = (0, 0, 0, 1, 2, 3, -4)
_LONG_SECONDS = 100_000
"""Longer than any run: what expires does so at other times at each side."""


class Requests:
    """A source of requests; ``revision`` and ``compacted`` are what the answers before told."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.revision = 1
        self.compacted = 0

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _key(self) -> bytes:
        return b"" if self._chance(0.01) else self._random.choice(KEYS)

    def _end(self) -> bytes:
        if self._chance(0.5):
            return b""
        return bytes(self._pick(b"\x00", b"b", b"c", b"\xff", b"\xff\xff\xff", self._random.choice(KEYS)))

    def _revision(self) -> int:
        if self._chance(0.5):
            return 0
        low = max(0, self.compacted - 2)
        strange = (-1, 1, 1 << 62) if self.compacted else (1, 1 << 62)  # etcd reads at -1 before it has compacted
        return self._random.randint(low, self.revision + 2) if self._chance(0.9) else int(self._pick(*strange))

    def _bound(self) -> int:
        return 0 if self._chance(0.85) else self._random.randint(0, self.revision + 1)

    def range(self) -> RangeRequest:
        picky = self._chance(0.5)
        strange = (7,) if self._chance(0.05) else ()
        return RangeRequest(
            key=self._key(),
            range_end=self._end(),
            limit=self._pick(0, 0, 0, 1, 2, 3, 100, -1),
            revision=self._revision(),
            sort_order=self._pick(None, *RangeRequest.SortOrder.values(), *strange) if picky else None,
            sort_target=self._pick(None, *RangeRequest.SortTarget.values(), *strange) if picky else None,
            serializable=self._chance(0.2),
            keys_only=self._chance(0.2),
            count_only=self._chance(0.1),
            min_mod_revision=self._bound(),
            max_mod_revision=self._bound(),
            min_create_revision=self._bound(),
            max_create_revision=self._bound(),
        )

    def put(self, *, building: bool = True, alone: bool = False) -> PutRequest:
        """Return a put, perhaps one that builds on what is there.

        ``alone``: not in a transaction. Where both key and lease are missing, etcd names the lease then, and in a
        transaction the key; HANas names the key.
        """
        ignore_value, ignore_lease = building and self._chance(0.1), building and self._chance(0.1)
        keep = self._chance(0.1) and not alone
        return PutRequest(
            key=self._key(),
            value=b"" if ignore_value and not keep else self._random.choice(_VALUES),
            lease=0 if (ignore_lease or ignore_value) and not keep else self._random.choice(_LEASES),
            prev_kv=self._chance(0.5),
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )

    def delete(self) -> DeleteRangeRequest:
        return DeleteRangeRequest(key=self._key(), range_end=self._end(), prev_kv=self._chance(0.5))

    def _compare(self) -> Compare:
        compare = Compare(result=self._pick(*Compare.CompareResult.values()), key=self._key())
        if self._chance(0.3):
            compare.range_end = self._end()
        compare.target = self._pick(*Compare.CompareTarget.values())
        number = self._pick(0, 1, 2, self.revision, self._random.randint(0, self.revision + 1))
        match self._random.randint(0, 4) if self._chance(0.1) else compare.target:
            case Compare.VERSION:
                compare.version = number
            case Compare.CREATE:
                compare.create_revision = number
            case Compare.MOD:
                compare.mod_revision = number
            case Compare.VALUE:
                compare.value = self._random.choice(_VALUES)
            case _:
                compare.lease = self._random.choice(_LEASES)
        return compare

    def _operation(self, depth: int, *, building: bool) -> RequestOp:
        match self._random.randint(0, 9):
            case 0 | 1 | 2:
                return RequestOp(request_range=self.range())
            case 3 | 4 | 5:
                return RequestOp(request_put=self.put(building=building))
            case 6 | 7:
                return RequestOp(request_delete_range=self.delete())
            case 8 if depth:
                return RequestOp(request_txn=self._nested(depth - 1, building=building))
            case _:
                return RequestOp() if self._chance(0.05) else RequestOp(request_put=self.put(building=building))

    def _nested(self, depth: int, *, building: bool) -> TxnRequest:
        return TxnRequest(
            compare=[self._compare() for _ in range(self._random.randint(0, 2))],
            success=[self._operation(depth, building=building) for _ in range(self._random.randint(0, 3))],
            failure=[self._operation(depth, building=building) for _ in range(self._random.randint(0, 3))],
        )

    def txn(self) -> TxnRequest:
        """Return a transaction, but none that only HANas refuses, which changes a key once in a revision."""
        if self._chance(0.01):
            reads = [RequestOp(request_range=RangeRequest(key=self._key()))] * int(self._pick(128, 129))
            return TxnRequest(success=reads)
        while True:
            request = self._nested(2, building=self._chance(0.5))
            if not _only_refused_here(request):
                return request

    def compaction(self) -> CompactionRequest:
        low = max(3, self.compacted - 1)  # HANas forgets what was before the revision 2 again and again
        high = max(low, self.revision + 1)
        return CompactionRequest(revision=self._random.randint(low, high), physical=self._chance(0.5))

    def digest(self) -> HashKVRequest:
        """Return a request of a hash. Of some compacted revisions etcd has kept one."""
        revision = 0 if self._chance(0.5) else self._random.randint(self.compacted, self.revision + 1)
        return HashKVRequest(revision=revision)

    def _lease(self) -> tuple[str, Any]:
        number = self._pick(0, 1, 2, 3, -4)
        match self._random.randint(0, 3):
            case 0:
                seconds = _LONG_SECONDS if self._chance(0.9) else 9_000_000_001
                return "Lease/LeaseGrant", LeaseGrantRequest(ID=max(number, 1), TTL=seconds)
            case 1:
                return "Lease/LeaseRevoke", LeaseRevokeRequest(ID=number)
            case 2:
                return "Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=number, keys=self._chance(0.7))
            case _:
                return "Lease/LeaseLeases", LeaseLeasesRequest()

    def any(self) -> tuple[str, Any]:
        """Return a method and its request."""
        make = self._random.choices(
            [
                lambda: ("KV/Range", self.range()),
                lambda: ("KV/Put", self.put(alone=True)),
                lambda: ("KV/DeleteRange", self.delete()),
                lambda: ("KV/Txn", self.txn()),
                lambda: ("KV/Compact", self.compaction()),
                lambda: ("Maintenance/HashKV", self.digest()),
                self._lease,
            ],
            (25, 25, 10, 28, 1, 3, 8),
        )[0]
        return make()

    def watch(self, number: int) -> WatchCreateRequest:
        """Return a request for a watch with this id."""
        return WatchCreateRequest(
            key=self._key(),
            range_end=self._end(),
            start_revision=max(0, min(self.revision, self._revision())),
            prev_kv=self._chance(0.5),
            filters=self._pick([], [], [], [0], [1], [0, 1]),
            watch_id=number,
            progress_notify=self._chance(0.3),
            fragment=self._chance(0.3),
        )


def _only_refused_here(request: TxnRequest) -> bool:
    """Return whether etcd may take a transaction that changes a key twice."""
    try:
        checks.check_txn(request)
        terms.transaction_of(translation.transaction_of(request))
    except ChangedTwice:
        return True
    except RpcError as error:  # of "all keys from here on" etcd thinks that these are none
        return error is errors.DUPLICATE_KEY and b'range_end: "\\000"' in str(request).encode()
    return False
