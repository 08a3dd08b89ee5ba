"""Keys, spans and transactions of etcd's API as the store has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.state import transactions
from hanas_worker.faces.etcd import terms
from hanas_worker.faces.etcd.revisions import (
    ChangedTwice,
    Delete,
    Put,
    Query,
    Span,
    Transaction,
    Unsupported,
)

keys = st.binary(max_size=3)


@given(keys, keys | st.none(), keys)
def test_a_span_holds_the_same_keys(begin: bytes, end: bytes | None, key: bytes) -> None:
    span = Span(begin, end)
    assert terms.span_of(span).holds(key) == span.holds(key)


def test_what_changes_a_key_twice_is_refused() -> None:
    first, second = Transaction((), (Put(b"a", b""),), ()), Transaction((), (Delete(Span(b"a", b"b")),), ())
    with pytest.raises(ChangedTwice):
        terms.transaction_of(Transaction((), (first, second), ()))


def test_what_is_nested_too_deeply_is_refused() -> None:
    transaction = Transaction((), (), ())
    for _ in range(transactions.MOST_DEPTH):
        transaction = Transaction((), (transaction,), ())
    with pytest.raises(Unsupported, match="deep"):
        terms.transaction_of(transaction)


def test_a_count_reads_nothing() -> None:
    asked = terms.transaction_of(Transaction((), (Query(Span(b"a"), limit=3, count_only=True),), ()))
    [read] = asked.then
    assert read == transactions.ReadKeys(transactions.Span.one(b"a"), 0, above=True, count=True)
