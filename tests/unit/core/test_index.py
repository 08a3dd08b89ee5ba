"""The index is what the committed log says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.batches import Batch
from hanas_core.log.cells import checksum_of
from hanas_core.log.positions import Position, Version
from hanas_core.state import remembered
from hanas_core.state.index import Index
from hanas_core.state.remembered import Done
from hanas_core.volume.errors import Corruption

keys = st.text(alphabet="ab/\xe4\u20ac\U0001f600", max_size=4)


Change = tuple[records.Record, bytes]


def batch(first: int, *some: Change, origin: int = 1) -> Batch:
    payload = records.encode([record for record, _ in some], [cell for _, cell in some])
    return Batch(origin, first, len(some), payload)


def put(key: str, value: str | bytes = "v", idempotency: str | None = None) -> Change:
    once = None if idempotency is None else records.Idempotency(idempotency, b"hash")
    content = value.encode() if isinstance(value, str) else value
    return records.Put(key.encode(), len(content), checksum_of(content, b""), "text/plain", once, created=True), content


def delete(key: str, idempotency: records.Idempotency | None = None) -> Change:
    return records.Delete(key.encode(), idempotency), b""


def filled(*some: str) -> Index:
    index = Index()
    index.apply(batch(1, *(put(key) for key in some)))
    return index


def names(index: Index, prefix: str = "", after: str = "", limit: int = 100) -> tuple[list[str], str | None]:
    page = index.page(prefix.encode(), after.encode(), limit)
    return [key.decode() for key, _ in page.entries], None if page.following is None else page.following.decode()


@given(st.lists(st.tuples(keys, st.none() | st.binary(max_size=5)), max_size=40))
def test_it_is_a_sorted_dictionary(writes: list[tuple[str, bytes | None]]) -> None:
    index, model = Index(), dict[str, bytes]()
    for sequence, (key, value) in enumerate(writes, 1):
        if value is None:
            model.pop(key, None)
            index.apply(batch(sequence, delete(key)))
        else:
            model[key] = value
            index.apply(batch(sequence, put(key, value)))
    assert [(key.decode(), index.cached(key)) for key, _ in index.page(b"", b"", 1000).entries] == sorted(
        (key, value) for key, value in model.items() if key
    ) or "" in model
    assert len(index) == len(model)
    assert index.value_bytes == sum(len(value) for value in model.values())
    assert index.sequence == len(writes)


@given(st.sets(keys.filter(bool), max_size=20), keys, keys, st.integers(1, 5))
def test_pages_are_slices_of_the_sorted_keys(present: set[str], prefix: str, after: str, limit: int) -> None:
    index = filled(*sorted(present))
    wanted = [key for key in sorted(present) if key.startswith(prefix) and key > after]
    assert names(index, prefix, after, limit)[0] == wanted[:limit]
    assert names(index, prefix, after, limit)[1] == (wanted[limit - 1] if len(wanted) > limit else None)


@given(st.sets(keys.filter(bool), max_size=20), keys, st.integers(1, 5))
def test_page_by_page_every_key_comes_once(present: set[str], prefix: str, limit: int) -> None:
    index, found, after = filled(*present), [], ""
    while True:
        page, following = names(index, prefix, after, limit)
        found += page
        if following is None:
            break
        after = following
    assert found == [key for key in sorted(present) if key.startswith(prefix)]


def test_the_order_is_that_of_code_points() -> None:
    assert names(filled("\U0001f600", "\uffff", "z", "Z", "\xe4"))[0] == ["Z", "z", "\xe4", "\uffff", "\U0001f600"]


def test_a_page_that_is_just_full_is_the_last() -> None:
    index = filled("a", "b")
    assert names(index, limit=2) == (["a", "b"], None)
    assert names(index, limit=1) == (["a"], "a")


def test_what_was_applied_is_skipped() -> None:
    index = filled("a", "b")
    index.apply(batch(1, put("a", "old"), put("b", "old"), put("c", "new"), origin=9))
    assert [(key, entry.version, index.cached(key)) for key, entry in index.page(b"", b"", 9).entries] == [
        (b"a", Version(1, 1), b"v"),
        (b"b", Version(1, 2), b"v"),
        (b"c", Version(9, 3), b"new"),
    ]


def test_the_version_is_that_of_the_original_write() -> None:
    index = Index()
    index.apply(batch(1, put("k"), origin=2)._replace(epoch=7))
    entry = index.get(b"k")
    assert entry is not None
    assert entry.version == Version(2, 1)
    assert index.get(b"l") is None


def test_an_idempotency_key_is_known_with_what_was_done() -> None:
    index = Index()
    index.apply(batch(1, put("k", idempotency="i"), delete("k", records.Idempotency("j", b"other"))))
    assert index.done("i") == Done(b"hash", 1, 1, created=True, deleted=False)
    assert index.done("j") == Done(b"other", 1, 2, created=False, deleted=True)
    assert index.done("l") is None


def test_the_oldest_idempotency_key_is_forgotten_when_the_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "IDEMPOTENCY_WINDOW", 3)
    index = Index()
    index.apply(batch(1, *(put("k", idempotency=f"i{n}") for n in range(4)), put("k")))
    assert [index.done(f"i{n}") is not None for n in range(4)] == [False, True, True, True]


def test_a_gap_in_the_sequence_is_corruption_and_changes_nothing() -> None:
    index = filled("a", "b")
    with pytest.raises(
        Corruption, match=r"write 3 is missing: segments/0000000007-000002 goes on with 4 at offset 4096"
    ):
        index.apply(batch(4, put("k"))._replace(epoch=7, number=2, offset=4096))
    assert index.sequence == 2
    index.apply(batch(3))
    index.apply(batch(3, put("k")))
    assert index.sequence == 3


def test_deleting_what_is_not_there_changes_nothing() -> None:
    index = filled("a")
    index.apply(batch(2, delete("b")))
    assert names(index)[0] == ["a"]
    assert index.sequence == 2


def test_only_the_same_version_moves() -> None:
    index = Index()
    index.apply(batch(1, put("k", idempotency="i"), put("k"))._replace(epoch=1, number=1))
    index.keys.move(b"k", 2, Version(1, 1), Position(2, 1, 9))
    index.keys.move(b"l", 2, Version(1, 1), Position(2, 1, 9))
    index.remembered.move("i", Version(1, 2), (2, 1))
    index.remembered.move("j", Version(1, 1), (2, 1))
    assert set(+index.live) == {(1, 1)}
    index.keys.move(b"k", 3, Version(9, 2), Position(9, 1, 9))
    index.keys.move(b"k", 3, Version(1, 2), Position(2, 1, 9))
    index.remembered.move("i", Version(1, 1), (3, 1))
    assert set(+index.live) == {(2, 1), (3, 1)}


def test_a_value_that_was_read_is_kept_only_as_long_as_it_is_the_present_one() -> None:
    index = Index(1 << 20)
    index.apply(batch(1, put("k", "old"), put("l")))
    old = index.get(b"k")
    assert old is not None
    index.apply(batch(3, put("k", "new"), delete("l")))
    index.keep(b"k", old, b"old")
    assert index.cached(b"k") == b"new"
    index.keep(b"l", old, b"old")
    assert index.cached(b"l") is None
    present = index.get(b"k")
    assert present is not None
    index.keep(b"k", present, b"new")
    assert index.cached(b"k") == b"new"
    assert (index.cached_of(b"k", present), index.cached_of(b"k", old), index.cached_of(b"l", old)) == (
        b"new",
        None,
        None,
    )


def test_a_re_logged_delete_changes_nothing() -> None:
    index = filled("a", "b")
    index.apply(batch(3, delete("a"), put("a", "again")))
    index.apply(batch(3, delete("a"))._replace(epoch=2))
    assert names(index) == (["a", "b"], None)
