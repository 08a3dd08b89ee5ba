"""The first to come is the main; it is replaced by compare-and-set on the epoch, by whoever decides."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.epochs.arbitration import (
    Arrival,
    Challenge,
    Expected,
    Place,
    Refused,
    Ruling,
    arrive,
    challenge,
    handed_over,
    main_info,
    unserved,
)
from hanas_core.log.claimfile import Claim, Seal
from hanas_core.log.claims import highest_claim, read_claim
from hanas_core.log.seals import write_seal
from hanas_core.members.documents import LogPresence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.verdicts import Verdict
from hanas_core.members.witness import Witness
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, FolderUnavailable
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import FOLDER_ID, incarnation, pool, serve, shown, win

NOW = "2026-01-01T00:00:00Z"


def arrival(member: str, /, **changes: Any) -> Arrival:
    whole = Arrival(member, incarnation(member), FOLDER_ID, f"http://{member}:3001", f"http://{member}:4001")
    return msgspec.structs.replace(whole, **changes)


def arrives(folder: MemoryFolder, member: str, /, **changes: Any) -> Place:
    return run(arrive(folder, Registry(folder), arrival(member, **changes), folder_id=FOLDER_ID, now=NOW))


def demand(member: str, epoch: int, main: str, verdict: str = "PrimaryFailed", /, **changes: Any) -> Challenge:
    whole = Challenge(
        member=member,
        incarnation=incarnation(member),
        folder_id=FOLDER_ID,
        expected=Expected(epoch, main),
        verdict=verdict,
        evidence=msgspec.Raw(b'{"words":"silent"}'),
    )
    return msgspec.structs.replace(whole, **changes)


def addresses(member: str) -> tuple[str, str]:
    return f"http://{member}:3001", f"http://{member}:4001"


def challenges(folder: MemoryFolder, demanded: Challenge) -> Ruling:
    return run(challenge(folder, demanded, folder_id=FOLDER_ID, addresses=addresses(demanded.member), now=NOW))


def test_the_first_to_come_is_the_main_and_later_ones_are_backups() -> None:
    folder = pool()
    first, second = arrives(folder, "a"), arrives(folder.other(), "b")
    assert (first.role, first.epoch, first.slot) == ("main", 1, 0)
    assert (second.role, second.epoch, second.slot) == ("backup", 1, 1)
    assert (second.main.member, second.main.link_url, second.main.state) == ("a", "http://a:4001", "elect")
    claim = run(read_claim(folder, 1))
    assert (claim.follows, claim.why, claim.claimed_at, claim.folder_id) == (0, "first", NOW, FOLDER_ID)


def test_arriving_again_changes_nothing() -> None:
    folder = pool()
    assert arrives(folder, "a") == arrives(folder, "a")


def test_a_main_that_was_restarted_is_a_backup_like_any_other() -> None:
    folder = pool()
    arrives(folder, "a")
    assert arrives(folder, "a", incarnation="9" * 32).role == "backup"


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_of_those_who_come_at_once_one_is_the_main(turns: list[int]) -> None:
    folder = pool(suspends=True)
    folders = [folder.other(suspends=True) for _ in "abc"]
    places = interleave(
        [
            arrive(one, Registry(one), arrival(member), folder_id=FOLDER_ID, now=NOW)
            for one, member in zip(folders, "abc", strict=True)
        ],
        turns,
    )
    assert sorted(place.role for place in places if isinstance(place, Place)) == ["backup", "backup", "main"]
    assert len({place.main.member for place in places if isinstance(place, Place)}) == 1


def test_an_arbiter_that_dies_anywhere_is_asked_again() -> None:
    def attempt(nth: int) -> bool:
        folder = pool()
        folder.at(nth=nth, after=Died())
        try:
            arrives(folder, "a")
            return True
        except Died:
            assert arrives(folder.other(), "a").role == "main"
        return False

    at_every_operation(attempt)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"member": "a/b"}, "member must be"),
        ({"incarnation": "x"}, "incarnation must be"),
        ({"folder_id": "0" * 32}, "FolderUnavailable: the folder here is"),
        ({"advertise_url": "ftp://a"}, "advertiseUrl must be"),
        ({"advertise_url": "http://a\r\nX: y"}, "advertiseUrl must be"),
        ({"advertise_url": "http://ü"}, "advertiseUrl must be"),
        ({"advertise_url": "http://a b"}, "advertiseUrl must be"),
        ({"advertise_url": "http://["}, "advertiseUrl must be"),
        ({"advertise_url": "http://:3001"}, "advertiseUrl must be"),
        ({"advertise_url": "http://a:0"}, "advertiseUrl must be"),
        ({"advertise_url": "http://a:99999"}, "advertiseUrl must be"),
        ({"link_url": "http://" + "a" * 300}, "linkUrl must be"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_no_trace(changes: dict[str, Any], words: str) -> None:
    folder = pool()
    with pytest.raises(Refused, match=words):
        arrives(folder, "a", **changes)
    assert folder.operations == []


def test_a_challenge_wins_the_next_epoch_and_leaves_its_evidence() -> None:
    folder = pool()
    arrives(folder, "a")
    ruling = challenges(folder.other(), demand("b", 1, "a"))
    assert ruling.granted
    assert (ruling.main.member, ruling.main.epoch, ruling.main.state) == ("b", 2, "elect")
    claim = run(read_claim(folder, 2))
    assert (claim.follows, claim.previous_main, claim.why, claim.verdict) == (1, "a", "failure", "PrimaryFailed")
    assert bytes(claim.evidence) == b'{"words":"silent"}'
    assert (claim.advertise_url, claim.link_url, claim.claimed_at) == (*addresses("b"), NOW)


def test_repeating_a_challenge_that_was_won_is_granted_again() -> None:
    folder = pool()
    arrives(folder, "a")
    assert challenges(folder, demand("b", 1, "a")) == challenges(folder, demand("b", 1, "a"))
    assert run(highest_claim(folder)) == run(read_claim(folder, 2))


def test_a_challenge_of_an_old_epoch_loses() -> None:
    folder = pool()
    arrives(folder, "a")
    challenges(folder, demand("b", 1, "a"))
    ruling = challenges(folder, demand("c", 1, "a"))
    assert not ruling.granted
    assert (ruling.main.member, ruling.main.epoch) == ("b", 2)


def test_the_set_is_on_the_number_although_the_name_came_back() -> None:
    folder = pool()
    arrives(folder, "a")
    challenges(folder, demand("b", 1, "a"))
    challenges(folder, demand("a", 2, "b", incarnation="9" * 32))
    assert not challenges(folder, demand("c", 1, "a")).granted


def test_a_challenge_of_another_main_loses_although_the_number_is_right() -> None:
    folder = pool()
    arrives(folder, "a")
    assert not challenges(folder, demand("b", 1, "z")).granted


def test_a_challenge_of_an_epoch_that_nobody_claimed_loses() -> None:
    folder = pool()
    arrives(folder, "a")
    assert not challenges(folder, demand("b", 7, "a")).granted
    assert run(highest_claim(folder)) == run(read_claim(folder, 1))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 1), max_size=40))
def test_of_two_challengers_at_once_exactly_one_is_granted(turns: list[int]) -> None:
    folder = pool()
    arrives(folder, "a")
    rulings = interleave(
        [
            challenge(
                folder.other(suspends=True),
                demand(member, 1, "a"),
                folder_id=FOLDER_ID,
                addresses=addresses(member),
                now=NOW,
            )
            for member in "bc"
        ],
        turns,
    )
    assert sorted(ruling.granted for ruling in rulings if isinstance(ruling, Ruling)) == [False, True]
    assert len({ruling.main.member for ruling in rulings if isinstance(ruling, Ruling)}) == 1


def test_an_arbiter_that_dies_within_a_challenge_is_asked_again() -> None:
    def attempt(nth: int) -> bool:
        folder = pool()
        arrives(folder, "a")
        arbiter = folder.other()
        arbiter.at(nth=nth, after=Died())
        try:
            challenges(arbiter, demand("b", 1, "a"))
            return True
        except Died:
            ruling = challenges(folder, demand("b", 1, "a"))
        assert ruling.granted
        assert ruling.main.epoch == 2
        return False

    at_every_operation(attempt)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("Asleep", "unknown verdict 'Asleep'"),
        ("LinkFailed", "no reason"),
        ("FolderUnavailable", "no reason"),
        ("FolderFull", "no reason"),
        ("Healthy", "no reason"),
        ("PrimaryIsolated", "no reason"),
        ("HandedOver", "a has not handed over epoch 1"),
    ],
)
def test_only_some_verdicts_justify_a_takeover(verdict: str, words: str) -> None:
    folder = pool()
    arrives(folder, "a")
    with pytest.raises(Refused, match=words):
        challenges(folder, demand("b", 1, "a", verdict))
    assert run(highest_claim(folder)) == run(read_claim(folder, 1))


def test_a_wedged_main_is_replaced() -> None:
    folder = pool()
    arrives(folder, "a")
    assert challenges(folder, demand("b", 1, "a", "PrimaryWedged")).granted


def test_who_challenges_must_have_arrived_and_there_must_be_a_main() -> None:
    folder = pool()
    with pytest.raises(Refused, match="no main to replace"):
        challenges(folder, demand("b", 1, "a"))
    with pytest.raises(Refused, match="not in the pool"):
        run(challenge(folder, demand("b", 1, "a"), folder_id=FOLDER_ID, addresses=None, now=NOW))
    with pytest.raises(Refused, match="the folder here is"):
        challenges(folder, demand("b", 1, "a", folder_id="0" * 32))


def test_evidence_that_does_not_fit_is_refused_before_the_claim() -> None:
    folder = pool()
    arrives(folder, "a")
    long = msgspec.Raw(msgspec.json.encode("e" * 5000))
    with pytest.raises(Refused, match="too long"):
        challenges(folder, demand("b", 1, "a", evidence=long))
    assert run(highest_claim(folder)) == run(read_claim(folder, 1))


def hand_over(
    folder: MemoryFolder, claim: Claim, *, planned: bool = True, who: str | None = None, successor: str = ""
) -> None:
    run(write_seal(folder, claim.epoch, Seal(claim.epoch, claim.member, who or claim.incarnation, planned, successor)))


def test_a_hand_over_by_a_main_that_served_is_followed() -> None:
    folder = pool()
    main = serve(folder, 1)
    assert run(main_info(folder, main.claim)).state == "serving"
    hand_over(folder, main.claim)
    assert run(main_info(folder, main.claim)).state == "handed-over"
    ruling = challenges(folder, demand("b", 1, "a", Verdict.HANDED_OVER))
    assert ruling.granted
    assert run(read_claim(folder, 2)).why == "hand-over"


def test_a_hand_over_by_a_main_that_never_served_is_none() -> None:
    folder = pool()
    claim = win(folder, 1)
    hand_over(folder, claim)
    assert not run(handed_over(folder, claim, incarnation("b")))
    with pytest.raises(Refused, match="has not handed over"):
        challenges(folder, demand("b", 1, "a", Verdict.HANDED_OVER))


def test_a_seal_by_another_or_for_another_reason_is_no_hand_over() -> None:
    folder = pool()
    main = serve(folder, 1)
    assert not run(handed_over(folder, main.claim, incarnation("b")))
    hand_over(folder, main.claim, planned=False)
    assert not run(handed_over(folder, main.claim, incarnation("b")))
    hand_over(folder, main.claim, who="9" * 32)
    assert not run(handed_over(folder, main.claim, incarnation("b")))


def test_only_the_successor_that_a_seal_names_may_follow_at_once() -> None:
    folder = pool()
    main = serve(folder, 1)
    hand_over(folder, main.claim, successor="8" * 32)
    assert run(main_info(folder, main.claim)).state == "handed-over"
    with pytest.raises(Refused, match="has not handed over epoch 1 to this run of b"):
        challenges(folder, demand("b", 1, "a", Verdict.HANDED_OVER))
    hand_over(folder, main.claim, successor=incarnation("b"))
    assert challenges(folder, demand("b", 1, "a", Verdict.HANDED_OVER)).granted


def test_who_is_not_named_may_follow_a_main_that_failed() -> None:
    folder = pool()
    main = serve(folder, 1)
    hand_over(folder, main.claim, successor="8" * 32)
    assert challenges(folder, demand("b", 1, "a", Verdict.PRIMARY_FAILED)).granted


def test_epochs_that_never_served_are_counted() -> None:
    folder = pool()
    win(folder, 1)
    assert run(unserved(folder, 1, 9)) == 1
    serve(folder, 2, "b")
    win(folder, 3)
    win(folder, 4)
    assert [run(unserved(folder, epoch, 9)) for epoch in (1, 2, 3, 4)] == [1, 0, 1, 2]
    assert run(unserved(folder, 4, 1)) == 1, "nobody reads more claims than it needs"


@pytest.mark.parametrize("relic", [names.claim(2), f"{names.MANIFESTS}/0000000001-m", names.segment(1, 1)])
def test_where_the_first_claim_is_gone_nobody_begins_anew(relic: str) -> None:
    folder = pool()
    for name in (".refresh-1", ".nfs0001"):
        run(folder.create(f"{names.CLAIMS}/{name}", b""))
    run(folder.create(relic, b""))
    with pytest.raises(FolderUnavailable, match=f"the first claim is gone, but there is {relic}: "):
        arrives(folder, "a")
    assert run(highest_claim(folder)) is None


def test_what_is_left_of_one_who_came_first_at_the_same_time_is_no_damage() -> None:
    folder = pool()
    folder.at("names", names.CLAIMS, before=lambda: serve(folder.other(), 1))
    assert arrives(folder, "b").main.member == "a"
    assert not folder.planned


def test_a_claim_of_another_folder_is_no_claim_of_this_one() -> None:
    folder = pool()
    win(folder, 1)
    folder.ids = frozenset({"0" * 32})
    for ask in (
        lambda: arrive(folder, Registry(folder), arrival("b", folder_id="0" * 32), folder_id="0" * 32, now=NOW),
        lambda: challenge(
            folder,
            demand("b", 1, "a", folder_id="0" * 32),
            folder_id="0" * 32,
            addresses=addresses("b"),
            now=NOW,
        ),
    ):
        with pytest.raises(Corruption, match="it was copied here from another cluster"):
            run(ask())
    folder.ids = frozenset()
    assert run(highest_claim(folder)) == run(read_claim(folder, 1))


def shows(folder: MemoryFolder, slot: int, member: str, witness: Witness) -> None:
    block = msgspec.structs.replace(shown(member), logs=(LogPresence(witness=witness),))
    run(Mailboxes(folder).write(Box.PRESENCE, slot, block))


def test_a_claim_that_a_member_has_seen_is_never_claimed_again() -> None:
    folder = pool()
    assert arrives(folder, "a").epoch == 1
    assert challenges(folder, demand("a", 1, "a")).main.epoch == 2
    shows(folder, 0, "a", Witness(FOLDER_ID, claim=2))
    assert arrives(folder, "b").epoch == 2
    for epoch in (2, 1):
        run(folder.remove(names.claim(epoch)))
        for member in ("b", "c"):
            with pytest.raises(Corruption, match=r"claims/0000000002 was removed, or the file server lost it.*adopt"):
                arrives(folder, member)
    shows(folder, 0, "a", Witness("0" * 32, claim=2))
    assert arrives(folder, "c").epoch == 1, "what is known of another folder counts for nothing here"


def test_an_overseer_remembers_the_highest_claim_while_it_runs() -> None:
    folder = pool()
    arrives(folder, "a")
    registry = Registry(folder)
    with pytest.raises(Corruption, match="claims/0000000003"):
        run(arrive(folder, registry, arrival("b"), folder_id=FOLDER_ID, now=NOW, seen=3))
