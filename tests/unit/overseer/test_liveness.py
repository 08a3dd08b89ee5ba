"""Who lives is told from counters that move, on one monotonic clock."""

from collections.abc import Sequence

import msgspec

from hanas_core.members.timing import LAN
from hanas_overseer.liveness import UNSEEN, Liveness
from tests.unit.overseer.stage import presence

TIMING = msgspec.structs.replace(LAN, presence_interval=1.0)


def follow(liveness: Liveness, moments: Sequence[tuple[float, int | None]]) -> list[bool]:
    """Look at one slot whose counter is what is given; return whether its member was alive each time."""
    alive = []
    for now, counter in moments:
        shown = None if counter is None else presence(1, counter)
        alive.append(liveness.look(now, [shown])[0].alive)
    return alive


def test_a_member_whose_counter_moves_is_alive() -> None:
    assert follow(Liveness(TIMING), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]) == [True] * 5


def test_a_present_block_counts_as_alive_until_it_had_the_time_to_move() -> None:
    looks = [(now / 2, 7) for now in range(10)]
    assert follow(Liveness(TIMING), looks) == [True] * 7 + [False] * 3


def test_a_silent_member_is_gone_after_three_intervals_and_back_with_the_next_move() -> None:
    moments = [(0.0, 1), (0.5, 2), *[(1 + n / 2, 2) for n in range(7)], (4.5, 3)]
    assert follow(Liveness(TIMING), moments) == [True] * 8 + [False, True]


def test_a_new_incarnation_is_a_move_even_with_the_same_counter() -> None:
    liveness = Liveness(TIMING)
    for now in range(5):
        liveness.look(now, [presence(1, 1)])
    life_sign = liveness.look(5, [presence(1, 1, incarnation="e" * 16)])[0]
    assert life_sign.alive
    assert life_sign.moved
    assert life_sign.silent == 0


def test_a_block_that_says_nothing_keeps_what_was_seen() -> None:
    liveness = Liveness(TIMING)
    liveness.look(0, [presence(1, 1)])
    life_sign = liveness.look(0.5, [None])[0]
    assert life_sign.presence == presence(1, 1)
    assert life_sign.silent == 0.5


def test_a_slot_that_never_said_anything_is_unseen() -> None:
    assert Liveness(TIMING).look(0, [None]) == (UNSEEN,)


def test_a_pause_of_the_overseer_is_nobodys_silence() -> None:
    assert follow(Liveness(TIMING), [(0, 1), (0.5, 2), (100.5, 2), (101, 2), (102, 3)]) == [True] * 5


def test_who_was_gone_before_a_pause_stays_gone() -> None:
    looks = [(now / 2, 7) for now in range(9)]
    assert follow(Liveness(TIMING), [*looks, (60.0, 7)])[-2:] == [False, False]


def test_members_are_followed_apart() -> None:
    liveness = Liveness(TIMING)
    seen = [liveness.look(now, [presence(1, now), presence(2, 1)]) for now in range(5)][-1]
    assert [life_sign.alive for life_sign in seen] == [True, False]
    assert [life_sign.moved for life_sign in seen] == [True, False]


def test_who_has_left_is_not_alive_although_it_was_just_seen() -> None:
    liveness = Liveness(TIMING)
    liveness.look(0, [presence(1, 1)])
    life_sign = liveness.look(0.5, [presence(1, 2, left=True)])[0]
    assert not life_sign.alive
    assert life_sign.silent == 0
