"""The number of prepared segments follows the log."""

from hanas_worker.log.pace import MOST, Pace


def after(*moments: float, preparation: float) -> Pace:
    pace = Pace()
    pace.prepared(preparation)
    for moment in moments:
        pace.used(moment)
    return pace


def test_one_is_enough_for_a_log_that_hardly_grows() -> None:
    assert Pace().wanted(100.0) == 1
    assert after(100.0, preparation=5.0).wanted(100.0) == 1, "one use is no pace"
    assert after(100.0, 111.0, preparation=5.0).wanted(111.0) == 1


def test_there_are_as_many_as_are_used_while_one_is_prepared_twice() -> None:
    assert after(100.0, 100.25, preparation=0.04).wanted(100.25) == 2
    assert after(100.0, 100.25, preparation=0.3).wanted(100.25) == 4
    assert after(100.0, 100.25, preparation=9.0).wanted(100.25) == MOST
    assert after(100.0, 100.0, preparation=0.0).wanted(100.0) == 2


def test_it_falls_back_when_the_log_rests() -> None:
    pace = after(100.0, 100.25, preparation=0.3)
    assert pace.wanted(101.0) == 2
    assert pace.wanted(110.5) == 1
    assert not pace.idle(129.9)
    assert pace.idle(130.25)
