"""Who is there, by presence blocks that move."""

from typing import Any

import msgspec

from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.registry import Registration
from hanas_core.members.roles import Role
from hanas_worker.host.peers import LinkPeer, Peers


def registration(member: str, slot: int) -> Registration:
    return Registration(member, slot, f"http://{member}:3001", f"http://{member}:4001")


REGISTRATIONS = [registration("me", 0), registration("one", 1), registration("two", 2)]


def presence(member: str, counter: int = 1, **changes: Any) -> Presence:
    shown = Presence(
        member=member,
        incarnation="1" * 16,
        counter=counter,
        advertise_url=f"http://{member}:3001",
        link_url=f"http://{member}:4001",
        logs=(LogPresence(role=Role.BACKUP, epoch=1),),
    )
    return msgspec.structs.replace(shown, **changes)


def alive(peers: Peers, now: float, within: float = 3.0) -> list[str]:
    return [shown.member for shown in peers.alive(now, within)]


def test_a_member_lives_while_its_counter_moves() -> None:
    peers = Peers("me")
    assert alive(peers, 0.0) == []
    peers.update(10.0, REGISTRATIONS, [presence("me"), presence("one"), presence("two")])
    assert alive(peers, 10.0) == [], "a block that is there may be that of a dead one"
    peers.update(12.0, REGISTRATIONS, [presence("me"), presence("one", 2), presence("two")])
    assert alive(peers, 15.0) == ["one"]
    assert alive(peers, 15.1) == []


def test_a_new_incarnation_is_a_move_even_with_the_same_counter() -> None:
    peers = Peers("me")
    peers.update(0.0, REGISTRATIONS, [None, presence("one")])
    peers.update(9.0, REGISTRATIONS, [None, presence("one", incarnation="2" * 16)])
    assert alive(peers, 9.0) == ["one"]


def test_a_block_that_says_nothing_keeps_what_was_known() -> None:
    peers = Peers("me")
    for counter in (1, 2):
        peers.update(0.0, REGISTRATIONS, [None, presence("one", counter), None])
    peers.update(1.0, REGISTRATIONS, [None, None, None])
    assert alive(peers, 1.0) == ["one"]


def test_a_block_in_the_slot_of_another_counts_for_nobody() -> None:
    peers = Peers("me")
    peers.update(0.0, REGISTRATIONS, [presence("one"), presence("two"), presence("me")])
    assert alive(peers, 0.0) == []


def test_slots() -> None:
    peers = Peers("me")
    assert peers.slot_of("one") is None
    peers.update(0.0, REGISTRATIONS[:2], [])
    assert (peers.slot_of("me"), peers.slot_of("one"), peers.slot_of("two")) == (0, 1, None)


def peers_of(peers: Peers, now: float) -> dict[LinkPeer, bool]:
    return peers.link_peers(now, 3.0)


def test_keepalives_go_to_where_a_member_says_that_it_is_now() -> None:
    peers = Peers("me")
    moved = presence("one", link_url="http://elsewhere:1", link_key="a" * 32)
    peers.update(0.0, REGISTRATIONS, [presence("me"), moved, presence("two")])
    assert peers_of(peers, 0.0) == {("http://elsewhere:1", "a" * 32): False, ("http://two:4001", ""): False}
    # A short silence is no reason to stop: the member may only be unable to write.
    assert len(peers_of(peers, 59.0)) == 2
    peers.update(59.0, REGISTRATIONS, [None, presence("one", 2, link_url="http://elsewhere:1"), None])
    assert peers_of(peers, 61.0) == {("http://elsewhere:1", ""): True}
    assert peers_of(peers, 62.1) == {("http://elsewhere:1", ""): False}


def test_who_has_left_gets_no_keepalives() -> None:
    peers = Peers("me")
    peers.update(0.0, REGISTRATIONS, [None, presence("one"), presence("two", left=True)])
    assert set(peers_of(peers, 0.0)) == {("http://one:4001", "")}


def test_a_key_is_that_of_one_incarnation() -> None:
    peers = Peers("me")
    assert peers.link_key("one", "1" * 16) is None
    peers.update(0.0, REGISTRATIONS, [None, presence("one", link_key="a" * 32)])
    assert (peers.link_key("one", "1" * 16), peers.link_key("one", "2" * 16)) == ("a" * 32, None)
    peers.update(1.0, REGISTRATIONS, [None, presence("one", incarnation="2" * 16, link_key="b" * 32)])
    assert (peers.link_key("one", "1" * 16), peers.link_key("one", "2" * 16)) == (None, "b" * 32)
