"""Transactions: what they ask, what they answer, and the call.

With `from hanas_client import transactions as tx`:
`client.txn([tx.missing("a")], then=[tx.put("a", b"1"), tx.delete(prefix="old/")], otherwise=[tx.get("a")])`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

import msgspec

from hanas_client.calls import Call, Reply, TypedCall, expect, is_missing
from hanas_client.documents import LenientDocument, decode
from hanas_client.errors import NoLease

PATH = "/v1/txn"
MOST_KEYS = 1000
"""The most keys of one read."""
Relation = Literal["=", "!=", "<", ">"]
Target = Literal["value", "version", "create", "mod", "lease"]


class Condition(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A comparison of what is there, on the left, with a value or a number."""

    key: str | None = None
    prefix: str | None = None
    target: Target = "value"
    relation: Relation = msgspec.field(name="is", default="=")
    base64: bytes | None = None
    number: int | None = None


class Put(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A key gets a value."""

    key: str
    base64: bytes
    content_type: str | None = None
    lease: int = 0


class Keys(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A key, or all with a prefix, up to a limit."""

    key: str | None = None
    prefix: str | None = None
    limit: int | None = None


class Operation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One operation: exactly one of these."""

    put: Put | None = None
    delete: Keys | None = None
    get: Keys | None = None
    txn: Txn | None = None


class Txn(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A transaction: if all conditions hold, `then` is carried out, else `otherwise`."""

    conditions: Sequence[Condition] = msgspec.field(name="if", default=())
    then: Sequence[Operation] = ()
    otherwise: Sequence[Operation] = msgspec.field(name="else", default=())


class KeyState(LenientDocument, frozen=True):
    """What a key held, and the revisions that created it and changed it last; `version` counts its writes since then.

    `omitted`: the value is too large for this answer; `get` with `revision` reads it.
    """

    key: str
    mod: int
    create: int = 0
    version: int = 0
    lease: int = 0
    etag: str = ""
    content_type: str = ""
    text: str | None = None
    base64: bytes | None = None
    omitted: bool = False

    @property
    def value(self) -> bytes:
        """The value. Raises ValueError if it is omitted."""
        if self.omitted:
            raise ValueError(f"the value of {self.key} is omitted; read it with revision={self.mod}")
        return (self.text or "").encode() if self.base64 is None else self.base64


class Result(LenientDocument, frozen=True):
    """The answer to one operation: of a delete `deleted`, of a get `keys` and `more`, of a transaction `txn`."""

    deleted: int | None = None
    keys: tuple[KeyState, ...] = ()
    more: bool = False
    txn: TxnResult | None = None


class TxnResult(LenientDocument, frozen=True):
    """The answer to a transaction.

    `succeeded`: the conditions held. `revision`: the one that it made, or the present one if it changed nothing; 0 of
    an inner transaction. `repeated`: it was carried out by an earlier attempt, whose answer was lost; there are no
    `results` then.
    """

    succeeded: bool
    results: tuple[Result, ...] = ()
    revision: int = 0
    repeated: bool = False


def compare(
    key: str | None = None,
    target: Target = "value",
    relation: Relation = "=",
    operand: bytes | int = b"",
    /,
    *,
    prefix: str | None = None,
) -> Condition:
    """Return the condition that `target` of a key, or of each key with `prefix`, has `relation` to `operand`.

    A value is compared with bytes, anything else with a number; of a key that is not there the numbers are 0.
    """  # fmt: skip
    if (target == "value") != isinstance(operand, bytes):
        raise ValueError(f"{target} is compared with {'bytes' if target == 'value' else 'a number'}")
    if isinstance(operand, bytes):
        return Condition(key=key, prefix=prefix, target=target, relation=relation, base64=operand)
    return Condition(key=key, prefix=prefix, target=target, relation=relation, number=operand)


def exists(key: str) -> Condition:
    """Return the condition that a key is there."""
    return compare(key, "version", ">", 0)


def missing(key: str) -> Condition:
    """Return the condition that a key is not there."""
    return compare(key, "version", "=", 0)


def put(key: str, value: bytes, content_type: str | None = None, lease: int | None = None) -> Operation:
    """Return the operation that writes a value; `lease`: the id of the lease with which the key ends."""
    return Operation(put=Put(key=key, base64=bytes(value), content_type=content_type, lease=lease or 0))


def delete(key: str | None = None, *, prefix: str | None = None) -> Operation:
    """Return the operation that deletes a key, or all with `prefix`."""
    return Operation(delete=Keys(key=key, prefix=prefix))


def get(key: str | None = None, *, prefix: str | None = None, limit: int | None = None) -> Operation:
    """Return the operation that reads a key, or up to `limit` (100) with `prefix`."""
    return Operation(get=Keys(key=key, prefix=prefix, limit=limit))


def inner(
    conditions: Sequence[Condition] = (), then: Sequence[Operation] = (), otherwise: Sequence[Operation] = ()
) -> Operation:
    """Return the operation that is a transaction itself."""
    return Operation(txn=Txn(conditions=conditions, then=then, otherwise=otherwise))


def txn(
    conditions: Sequence[Condition] = (),
    then: Sequence[Operation] = (),
    otherwise: Sequence[Operation] = (),
    *,
    idempotency_key: str | None = None,
) -> TypedCall[TxnResult]:
    """Change several keys at once, or none: carry out `then` if all conditions hold, else `otherwise`.

    All attempts have one idempotency key, so the changes happen at most once. Raises NoLease if it names a lease that
    is not there; Refused, and nothing was done.
    """
    body = msgspec.json.encode(Txn(conditions=conditions, then=then, otherwise=otherwise))

    def read(reply: Reply) -> TxnResult:
        return decode(_answer(reply), TxnResult, "the server")

    return TypedCall(_call(body, idempotency_key), read)


def raw_txn(body: bytes, *, idempotency_key: str | None = None) -> TypedCall[dict[str, object]]:
    """Carry out a transaction that is written as the HTTP API takes it, and return the answer."""

    def read(reply: Reply) -> dict[str, object]:
        return decode(_answer(reply), dict[str, object], "the server")

    return TypedCall(_call(body, idempotency_key), read)


def _call(body: bytes, idempotency_key: str | None) -> Call:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "idempotency-key": uuid4().hex if idempotency_key is None else idempotency_key,
    }
    return Call("POST", PATH, headers, body, writes=True)


def _answer(reply: Reply) -> bytes:
    if is_missing(reply):
        raise NoLease
    expect(reply, PATH, 200)
    return reply.body
