"""The latest values are at hand, and no more of them than fit."""

from hypothesis import given
from hypothesis import strategies as st

from hanas_core.state.valuecache import ValueCache


def test_the_one_not_used_for_longest_goes_first() -> None:
    cache = ValueCache(8 * 300)
    for key in "abcdefgh":
        cache.put(key, bytes(99))
    assert cache.get("a") == bytes(99)
    cache.put("i", bytes(99))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    cache.drop("a")
    cache.drop("a")
    assert cache.get("a") is None


def test_a_value_that_would_drive_out_the_others_is_not_kept() -> None:
    cache = ValueCache(8 * 300)
    cache.put("k", b"old")
    cache.put("k", bytes(1000))
    assert cache.get("k") is None
    assert cache.used_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.binary(max_size=200)), max_size=60))
def test_it_never_takes_more_than_it_may(story: list[tuple[str, bytes | None]]) -> None:
    cache, model = ValueCache(2000), dict[str, bytes]()
    for key, value in story:
        if value is None:
            cache.drop(key)
            model.pop(key, None)
        else:
            cache.put(key, value)
            model[key] = value
        assert 0 <= cache.used_bytes <= 2000
    for key in "abcde":
        assert cache.get(key) in (None, model.get(key))
