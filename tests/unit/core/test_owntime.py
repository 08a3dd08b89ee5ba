"""A process measures what others do not do in the time in which it ran itself."""

import pytest

from hanas_core.members.owntime import PAUSES_WITHIN, OwnTime


def turning(now: float) -> OwnTime:
    """The own time of a process whose first turn ended at ``now``."""
    own = OwnTime(0.5)
    own.turn(now)
    return own


def test_before_its_first_turn_it_is_the_clock() -> None:
    own = OwnTime(0.5)
    assert (own.at(100.0), own.at(160.0)) == (100.0, 160.0)
    own.turn(170.0)
    assert (own.at(170.0), own.lost, own.longest_pause) == (170.0, 0.0, 0.0)


def test_while_the_process_turns_its_time_is_the_clock() -> None:
    own = turning(100.0)
    for now in (100.25, 100.5, 101.0):
        assert own.at(now) == now
        own.turn(now)
    assert (own.at(101.25), own.lost, own.longest_pause) == (101.25, 0.0, 0.0)


@pytest.mark.parametrize("pause", [1.0, 60.0])
def test_of_a_pause_no_more_than_one_interval_counts(pause: float) -> None:
    own = turning(100.0)
    assert own.at(100.0 + pause) == 100.5
    own.turn(100.0 + pause)
    assert (own.at(100.0 + pause), own.at(100.25 + pause)) == (100.5, 100.75)
    assert own.lost == own.longest_pause == pause - 0.5


def test_short_pauses_in_a_row_count_one_interval_each() -> None:
    own = turning(0.0)
    for turn in range(1, 9):
        own.turn(2.0 * turn)
    assert (own.at(16.0), own.lost, own.longest_pause) == (4.0, 12.0, 1.5)


def test_a_pause_is_remembered_for_a_while() -> None:
    own, now = turning(0.0), 2.0
    own.turn(now)
    while own.longest_pause:
        now += 0.5
        own.turn(now)
    assert now == 2.0 + PAUSES_WITHIN + 0.5
    assert own.lost == 1.5
