"""Who may call what: the same question as everywhere (`hanas_serving.principals`), for each span of keys."""

from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.principals import Action, Principal
from hanas_serving.problems import Problem
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.calls import Call, Channel
from hanas_worker.faces.etcd.revisions import Delete, Operation, Put, Query, Span, Transaction

_NEEDED = RpcError(StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")


def covers(principal: Principal, action: Action, span: Span) -> bool:
    """Return whether ``principal`` may do ``action`` on every key of ``span`` that there can be."""
    if action in principal.everywhere:
        return True
    return any(_within(span, prefix) for prefix in principal.below.get(action, ()))


def _within(span: Span, prefix: bytes) -> bool:
    if not span.begin.startswith(prefix):
        return False
    if span.end is None:
        return True
    behind = _behind(prefix)
    return not behind or b"" < span.end <= behind


def _behind(prefix: bytes) -> bytes:
    """Return the first text behind all that begin with ``prefix``; empty if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""


class Rights:
    """What each caller may do."""

    def __init__(self, callers: Callers, gate: Gate) -> None:
        """Have each of ``callers`` do what that one may; ``gate`` notes who tries more."""
        self._callers, self._gate = callers, gate
        self._open = callers.keys_are_open
        """Everybody may do everything with keys."""

    def on_keys(self, call: Call | Channel, action: Action, *spans: Span) -> None:
        """Raise RpcError unless who calls may do ``action`` on all keys of ``spans``."""
        if not self._open:
            self._require(call, [(action, span) for span in spans])

    def transact(self, call: Call, transaction: Transaction) -> None:
        """Raise RpcError unless who calls may do all that a transaction may do."""
        if not self._open:
            self._require(call, _needs(transaction))

    def somewhere(self, call: Call | Channel, action: Action) -> None:
        """Raise RpcError unless there can be a key on which who calls may do ``action``."""
        if self._open:
            return
        principal = self._principal(call)
        if not (action in principal.everywhere or action in principal.below):
            raise self._denial(principal, call, action, b"")

    def _principal(self, call: Call | Channel) -> Principal:
        caller = call.caller
        return self._callers.identify(caller.headers.get(b"authorization"), caller.peer)

    def _require(self, call: Call | Channel, needs: list[tuple[Action, Span]]) -> None:
        principal = self._principal(call)
        for action, span in needs:
            if not covers(principal, action, span):
                raise self._denial(principal, call, action, span.begin)

    def _denial(self, principal: Principal, call: Call | Channel, action: Action, key: bytes) -> RpcError:
        problem = self._gate.denial(principal, call.caller, self._callers, action, _needed, key)
        return {401: _NEEDED, 429: errors.TOO_MANY_REQUESTS}.get(problem.status, errors.PERMISSION_DENIED)


def _needed(authorization: bytes | None) -> Problem:
    del authorization
    return Problem(401, _NEEDED.text)


def _needs(transaction: Transaction) -> list[tuple[Action, Span]]:
    """Return what a transaction may do."""
    needs = [(Action.READ, comparison.span) for comparison in transaction.conditions]
    for operation in (*transaction.then, *transaction.otherwise):
        needs += _of_operation(operation)
    return needs


def _of_operation(operation: Operation) -> list[tuple[Action, Span]]:
    """Return what an operation does."""
    match operation:
        case Query():
            needs = [(Action.READ, operation.span)]
            return needs if operation.span.end is None else [*needs, (Action.LIST, operation.span)]
        case Put():
            span = Span(operation.key)
            builds = operation.previous or None in {operation.value, operation.lease}
            return [(Action.WRITE, span), (Action.READ, span)] if builds else [(Action.WRITE, span)]
        case Delete():
            needs = [(Action.DELETE, operation.span)]
            return [*needs, (Action.READ, operation.span)] if operation.previous else needs
        case Transaction():
            return _needs(operation)
