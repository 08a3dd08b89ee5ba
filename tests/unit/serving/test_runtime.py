"""What the operating system gives."""

from datetime import datetime, timedelta

from hanas_core.volume import names
from hanas_serving.runtime import Runtime


def test_nonces_are_random_and_fit_into_names() -> None:
    nonces = {Runtime().nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert all(map(names.is_nonce, nonces))


def test_the_wall_clock_is_for_people() -> None:
    assert datetime.fromisoformat(Runtime().wall_clock()).utcoffset() == timedelta(0)
