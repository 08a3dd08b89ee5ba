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

bounds = st.binary(max_size=5) | st.builds(
    lambda text, rest: text.encode() + rest, st.text(max_size=3), st.binary(max_size=3)
)


@given(bounds, st.text(max_size=4))
def test_a_bound_lies_where_its_bytes_do(bound: bytes, key: str) -> None:
    text = terms.bound_of(bound)
    assert (key.encode() >= bound) == (text is not None and key >= text)


@given(bounds, bounds | st.none(), st.text(max_size=3))
def test_a_span_holds_the_same_keys(begin: bytes, end: bytes | None, key: str) -> None:
    span = Span(begin, end)
    assert terms.span_of(span).holds(key) == span.holds(key.encode())


def test_a_key_must_be_text() -> None:
    assert terms.key_of("ä".encode()) == "ä"
    with pytest.raises(Unsupported, match="no UTF-8"):
        terms.key_of(b"\xff")


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
    assert read == transactions.ReadKeys(transactions.Span.one("a"), 0, above=True, count=True)
