"""The latest values are at hand, and no more of them than fit."""

from hypothesis import given
from hypothesis import strategies as st

from hanas_core.state.valuecache import ValueCache


def test_the_one_not_used_for_longest_goes_first() -> None:
    cache = ValueCache(8 * 300)
    for point in b"abcdefgh":
        cache.put(bytes([point]), bytes(99))
    assert cache.get(b"a") == bytes(99)
    cache.put(b"i", bytes(99))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    cache.drop(b"a")
    cache.drop(b"a")
    assert cache.get(b"a") is None


def test_a_value_that_would_drive_out_the_others_is_not_kept() -> None:
    cache = ValueCache(8 * 300)
    cache.put(b"k", b"old")
    cache.put(b"k", bytes(1000))
    assert cache.get(b"k") is None
    assert cache.used_bytes == 0


@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"\xff"]), st.none() | st.binary(max_size=200)), max_size=60
    )
)
def test_it_never_takes_more_than_it_may(story: list[tuple[bytes, bytes | None]]) -> None:
    cache, model = ValueCache(2000), dict[bytes, bytes]()
    for key, value in story:
        if value is None:
            cache.drop(key)
            model.pop(key, None)
        else:
            cache.put(key, value)
            model[key] = value
        assert 0 <= cache.used_bytes <= 2000
    for key in (b"a", b"b", b"c", b"d", b"\xff"):
        assert cache.get(key) in (None, model.get(key))
