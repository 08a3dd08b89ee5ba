"""Who lives is told from counters that move, on one monotonic clock."""

from collections.abc import Sequence

import msgspec

from hanas_core.members.documents import Presence
from hanas_core.members.liveness import UNSEEN, LifeSign, Liveness
from hanas_core.members.timing import LAN
from tests.unit.overseer.stage import presence

TIMING = msgspec.structs.replace(LAN, presence_interval=1.0)


def look(liveness: Liveness, now: float, *presences: Presence | None) -> list[LifeSign]:
    """Look at slots whose owners are workers 1, 2 and so on."""
    return list(liveness.look(now, [f"worker-{number}" for number in range(1, 1 + len(presences))], presences))


def follow(liveness: Liveness, moments: Sequence[tuple[float, int | None]]) -> list[bool | None]:
    """Look at one slot whose counter is what is given; return whether its member was alive each time."""
    alive = []
    for now, counter in moments:
        shown = None if counter is None else presence(1, counter)
        alive.append(look(liveness, now, shown)[0].alive)
    return alive


def test_a_member_whose_counter_moves_is_alive() -> None:
    assert follow(Liveness(TIMING), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]) == [None] + [True] * 4


def test_of_a_block_that_is_there_it_is_not_known_whether_its_member_lives_until_it_had_the_time_to_move() -> None:
    looks = [(now / 2, 7) for now in range(10)]
    assert follow(Liveness(TIMING), looks) == [None] * 7 + [False] * 3


def test_a_silent_member_is_gone_after_three_intervals_and_back_with_the_next_move() -> None:
    moments = [(0.0, 1), (0.5, 2), *[(1 + n / 2, 2) for n in range(7)], (4.5, 3)]
    assert follow(Liveness(TIMING), moments) == [None] + [True] * 7 + [False, True]


def test_a_new_incarnation_is_a_move_even_with_the_same_counter() -> None:
    liveness = Liveness(TIMING)
    for now in range(5):
        look(liveness, now, presence(1, 1))
    life_sign = look(liveness, 5, presence(1, 1, incarnation="e" * 16))[0]
    assert life_sign.alive
    assert life_sign.moved
    assert life_sign.silent == 0


def test_a_block_that_says_nothing_keeps_what_was_seen() -> None:
    liveness = Liveness(TIMING)
    look(liveness, 0, presence(1, 1))
    life_sign = look(liveness, 0.5, None)[0]
    assert life_sign.presence == presence(1, 1)
    assert life_sign.silent == 0.5


def test_a_slot_that_never_said_anything_is_unseen() -> None:
    liveness = Liveness(TIMING)
    assert look(liveness, 0, None) == [UNSEEN]
    assert look(liveness, 1, None) == [UNSEEN._replace(silent=1)]
    assert look(liveness, 1.5, presence(1, 7))[0] == LifeSign(presence(1, 7), None, 0, moved=False)


def test_a_slot_that_is_given_to_another_begins_anew() -> None:
    liveness = Liveness(TIMING)
    look(liveness, 0, presence(1, 1))
    assert look(liveness, 1, presence(1, 2))[0].alive
    assert liveness.look(1.5, ["worker-2"], [None]) == (UNSEEN,)
    assert liveness.look(2, ["worker-2"], [presence(2, 1)])[0].alive is None


def test_a_pause_of_the_overseer_is_nobodys_silence() -> None:
    assert follow(Liveness(TIMING), [(0, 1), (0.5, 2), (100.5, 2), (101, 2), (102, 3)]) == [None] + [True] * 4


def test_who_was_gone_before_a_pause_stays_gone() -> None:
    looks = [(now / 2, 7) for now in range(9)]
    assert follow(Liveness(TIMING), [*looks, (60.0, 7)])[-2:] == [False, False]


def test_members_are_followed_apart() -> None:
    liveness = Liveness(TIMING)
    seen = [look(liveness, now, presence(1, now), presence(2, 1)) for now in range(5)][-1]
    assert [life_sign.alive for life_sign in seen] == [True, False]
    assert [life_sign.moved for life_sign in seen] == [True, False]


def test_who_has_left_is_not_alive_although_it_was_just_seen() -> None:
    liveness = Liveness(TIMING)
    look(liveness, 0, presence(1, 1))
    life_sign = look(liveness, 0.5, presence(1, 2, left=True))[0]
    assert life_sign.alive is False
    assert life_sign.silent == 0
