"""``POST /v1/txn``: the JSON of a transaction, from the request to the store, and of its answer (docs/api.md)."""

from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from hanas_core.state import reports, transactions
from hanas_core.state.entries import DEFAULT_TYPE, Entry
from hanas_core.state.keytexts import is_text
from hanas_core.state.leases import MOST_ID
from hanas_core.state.reports import Report, Row, Told
from hanas_core.state.transactions import (
    BadTransaction,
    Compare,
    DeleteKeys,
    Operation,
    PutKey,
    ReadKeys,
    Relation,
    Span,
    Target,
    Transaction,
)
from hanas_serving.answers import Answer
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.answers import of_json
from hanas_worker.store import Transacted

PATH = b"/v1/txn"
_EXAMPLE = (
    '{"if": [{"key": "a", "target": "version", "is": "=", "number": 0}], "then": [{"put": {"key": "a", "text": "x"}}]}'
)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """What takes no field that it does not know."""


class Condition(_Strict, frozen=True, kw_only=True):
    """A compare: of ``text`` or ``base64`` with a value, else of ``number``."""

    key: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    target: Target = Target.VALUE
    relation: Relation = msgspec.field(name="is", default=Relation.EQUAL)
    text: str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    number: int | UnsetType = UNSET


class Put(_Strict, frozen=True, kw_only=True):
    """A key gets a value, of ``text`` or ``base64``."""

    key: str
    text: str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    content_type: str = DEFAULT_TYPE
    lease: int = 0


class Delete(_Strict, frozen=True, kw_only=True):
    """A key goes, or all with a prefix."""

    key: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET


class Get(_Strict, frozen=True, kw_only=True):
    """A key is read, or the first ones with a prefix."""

    key: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    limit: int = requests.DEFAULT_PAGE


class Step(_Strict, frozen=True, kw_only=True):
    """One operation."""

    put: Put | UnsetType = UNSET
    delete: Delete | UnsetType = UNSET
    get: Get | UnsetType = UNSET
    txn: "Txn | UnsetType" = UNSET


class Txn(_Strict, frozen=True, kw_only=True):
    """A transaction."""

    conditions: list[Condition] = msgspec.field(name="if", default_factory=list)
    then: list[Step] = []
    otherwise: list[Step] = msgspec.field(name="else", default_factory=list)


class KeyRead(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A key that was read."""

    key: str
    mod: int
    create: int = 0
    version: int = 0
    lease: int = 0
    etag: str = ""
    content_type: str = ""
    text: str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    omitted: bool = False
    """The value is left out; it can be read as of the revision."""


class Result(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What an operation told."""

    put: dict[str, str] | UnsetType = UNSET
    deleted: int | UnsetType = UNSET
    keys: list[KeyRead] | UnsetType = UNSET
    more: bool | UnsetType = UNSET
    txn: "Results | UnsetType" = UNSET


class Results(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a transaction told."""

    succeeded: bool
    results: list[Result]


class Done(Results, frozen=True, kw_only=True):
    """The answer."""

    revision: int
    repeated: bool = False


class Need(NamedTuple):
    """A right that a transaction takes. ``content``: a key, or the prefix of keys."""

    action: Action
    content: bytes


_decoder = msgspec.json.Decoder(Txn)


def transaction_of(body: bytes, value_bytes: int) -> Transaction:
    """Return what a body asks for. ``value_bytes``: of the largest value. Raises Problem: 400, 413."""
    asked = requests.decoded(_decoder.decode, body, "this is no transaction", _EXAMPLE)
    transaction = _transaction(asked, value_bytes)
    if not needs_of(transaction):
        raise Problem(400, f"the transaction is empty: send JSON like {_EXAMPLE}")
    try:
        transactions.check(transaction)
    except BadTransaction as error:
        raise Problem(400, f"nothing was done: {error}") from None
    return transaction


def _transaction(asked: Txn, value_bytes: int) -> Transaction:
    return Transaction(
        tuple(_compare(condition) for condition in asked.conditions),
        tuple(_operation(step, value_bytes) for step in asked.then),
        tuple(_operation(step, value_bytes) for step in asked.otherwise),
    )


def _compare(asked: Condition) -> Compare:
    span, target = _span(asked.key, asked.prefix, "a condition"), asked.target
    if target is Target.VALUE:
        if not isinstance(asked.number, UnsetType):
            raise Problem(400, "a condition on a value takes text or base64, not number; nothing was done")
        return Compare(span, target, asked.relation, _value(asked.text, asked.base64, "a condition on a value"))
    if isinstance(asked.number, UnsetType) or not (
        isinstance(asked.text, UnsetType) and isinstance(asked.base64, UnsetType)
    ):
        raise Problem(400, f"a condition on {target.value} takes number, and neither text nor base64; nothing was done")
    if not 0 <= asked.number <= MOST_ID:
        raise Problem(400, f"number must be from 0 to {MOST_ID}; nothing was done")
    return Compare(span, target, asked.relation, asked.number)


def _operation(step: Step, value_bytes: int) -> Operation:
    given = [each for each in (step.put, step.delete, step.get, step.txn) if not isinstance(each, UnsetType)]
    if len(given) != 1:
        raise Problem(400, "each operation is exactly one of put, delete, get and txn; nothing was done")
    match given[0]:
        case Put() as put:
            key = requests.checked(put.key.encode())
            value = _value(put.text, put.base64, "a put")
            if len(value) > value_bytes:
                size = len(value)
                raise Problem(413, f"a value has {size} bytes; at most {value_bytes} are allowed (HANAS_VALUE_BYTES)")
            content_type = requests.short_text(put.content_type.encode(errors="replace"), "contentType")
            if not 0 <= put.lease <= MOST_ID:
                raise Problem(400, f"lease must be the id of a lease, at most {MOST_ID}, or 0; nothing was done")
            return PutKey(key, value, content_type, put.lease)
        case Delete() as delete:
            return DeleteKeys(_span(delete.key, delete.prefix, "a delete"))
        case Get() as get:
            if not 1 <= get.limit <= requests.MOST_PAGE:
                raise Problem(400, f"limit must be a number from 1 to {requests.MOST_PAGE}; nothing was done")
            return ReadKeys(_span(get.key, get.prefix, "a get"), get.limit)
        case Txn() as inner:
            return _transaction(inner, value_bytes)
    raise AssertionError


def _span(key: str | UnsetType, prefix: str | UnsetType, what: str) -> Span:
    if isinstance(key, UnsetType) == isinstance(prefix, UnsetType):
        raise Problem(400, f"{what} takes either key or prefix; nothing was done")
    if not isinstance(key, UnsetType):
        return Span.one(requests.checked(key.encode()))
    assert not isinstance(prefix, UnsetType)
    content = prefix.encode()
    if len(content) > requests.MOST_KEY_BYTES:
        raise Problem(400, f"a prefix may have at most {requests.MOST_KEY_BYTES} bytes; nothing was done")
    return Span.prefix(content)


def _value(text: str | UnsetType, content: bytes | UnsetType, what: str) -> bytes:
    if isinstance(text, UnsetType) == isinstance(content, UnsetType):
        raise Problem(400, f"{what} takes either text or base64; nothing was done")
    if not isinstance(content, UnsetType):
        return content
    assert not isinstance(text, UnsetType)
    return text.encode()


def needs_of(transaction: Transaction) -> list[Need]:
    """Return the rights that it takes, whichever branch is carried out."""
    needs = [Need(Action.READ, _common(compare.keys)) for compare in transaction.all_compares()]
    for operation in transaction.operations():
        match operation:
            case PutKey(key=key):
                needs.append(Need(Action.WRITE, key))
            case DeleteKeys(keys=keys):
                needs.append(Need(Action.DELETE, _common(keys)))
            case ReadKeys(keys=keys):
                needs.append(Need(Action.READ, _common(keys)))
                if keys != Span.one(keys.first):
                    needs.append(Need(Action.LIST, _common(keys)))
            case Transaction():
                pass
    return list(dict.fromkeys(needs))


def _common(span: Span) -> bytes:
    """Return the key of a span, or the prefix that it was made from."""
    return span.first


def answer_of(transacted: Transacted) -> Answer:
    """Return the answer to a transaction that was carried out."""
    outcome, report = transacted.outcome, transacted.outcome.report
    assert report is not None, "a transaction that was judged has a report"
    inner = _results(report, transacted)
    done = Done(
        succeeded=inner.succeeded,
        results=inner.results,
        revision=report.revision or outcome.revision,
        repeated=report.repeated,
    )
    return of_json(200, msgspec.json.encode(done), transacted.epoch, outcome.revision)


def _results(report: Report, transacted: Transacted) -> Results:
    return Results(succeeded=report.succeeded, results=[_result(told, transacted) for told in report.results])


def _result(told: Told, transacted: Transacted) -> Result:
    match told:
        case reports.Put():
            return Result(put={})
        case reports.Deleted(count=count):
            return Result(deleted=count)
        case reports.Past():
            raise AssertionError("no transaction here reads the past")
        case reports.Rows(rows=rows, more=more):
            return Result(keys=[_row(row, transacted) for row in rows if is_text(row.key)], more=more)
        case Report():
            return Result(txn=_results(told, transacted))


def _row(row: Row, transacted: Transacted) -> KeyRead:
    read = transacted.reads.get(row)
    if read is None:
        return KeyRead(key=row.key.decode(), mod=row.revision, omitted=True)
    return read_of(row.key, *read)


def read_of(key: bytes, entry: Entry, value: bytes | None) -> KeyRead:
    """Return what a key held, which is UTF-8. ``value``: None if it is left out."""
    revision, create, generation, lease = entry.facts
    text, content, omitted = _written(value)
    return KeyRead(
        key=key.decode(),
        mod=revision,
        create=create,
        version=generation,
        lease=lease,
        etag=str(entry.version),
        content_type=entry.content_type,
        text=text,
        base64=content,
        omitted=omitted,
    )


def _written(value: bytes | None) -> tuple[str | UnsetType, bytes | UnsetType, bool]:
    """Return a value as text if it is UTF-8, else as bytes; or that it is left out."""
    if value is None:
        return UNSET, UNSET, True
    try:
        return value.decode(), UNSET, False
    except UnicodeDecodeError:
        return UNSET, value, False
