"""etcd's codes and texts, byte by byte: clients compare them."""

from hanas_serving.grpc.status import RpcError
from hanas_serving.grpc.status import StatusCode as Code
from hanas_worker.faces.etcd import revisions

EMPTY_KEY = RpcError(Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = RpcError(Code.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED = RpcError(Code.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED = RpcError(Code.INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPERATIONS = RpcError(Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = RpcError(Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
INVALID_SORT = RpcError(Code.INVALID_ARGUMENT, "etcdserver: invalid sort option")
UNKNOWN_COMPARISON = RpcError(Code.INVALID_ARGUMENT, "this comparison is not one of etcd 3.6")
TOO_LARGE = RpcError(Code.INVALID_ARGUMENT, "etcdserver: request is too large")
COMPACTED = RpcError(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE = RpcError(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
NO_SPACE = RpcError(Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
TOO_MANY_REQUESTS = RpcError(Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
LEASE_NOT_FOUND = RpcError(Code.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = RpcError(Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
LEASE_TOO_LONG = RpcError(Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")
TIMED_OUT = RpcError(Code.UNAVAILABLE, "etcdserver: request timed out")
OUTCOME_UNKNOWN = RpcError(Code.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure")
LEADER_CHANGED = RpcError(Code.UNAVAILABLE, "etcdserver: leader changed")
FAILED = RpcError(Code.INTERNAL, "this should not have happened; the log says more")
PERMISSION_DENIED = RpcError(Code.PERMISSION_DENIED, "etcdserver: permission denied")

_ERRORS: dict[type[revisions.Refusal], RpcError] = {
    revisions.Compacted: COMPACTED,
    revisions.Future: FUTURE,
    revisions.NoKey: KEY_NOT_FOUND,
    revisions.NoLease: LEASE_NOT_FOUND,
    revisions.LeaseExists: LEASE_EXISTS,
    revisions.Full: NO_SPACE,
    revisions.Busy: TOO_MANY_REQUESTS,
    revisions.Moved: LEADER_CHANGED,
    revisions.Unknown: OUTCOME_UNKNOWN,
    revisions.Late: TIMED_OUT,
    revisions.ChangedTwice: DUPLICATE_KEY,
}


def of(refusal: revisions.Refusal) -> RpcError:
    """Return how a refusal of the store looks here."""
    if isinstance(refusal, revisions.Unsupported):
        return RpcError(Code.INVALID_ARGUMENT, f"HANas: {refusal.text}")
    return _ERRORS[type(refusal)]
