"""Mailboxes and the registry of their slots."""

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import (
    MOST_ANSWERS,
    SLOTS,
    Answers,
    Box,
    Canary,
    LogAnswers,
    LogProbe,
    Mailboxes,
    Probe,
    ProbeAnswer,
    Registration,
    Registry,
    allocate,
)
from hanas_core.members.roles import Role
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import PAYLOAD_BYTES
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import bare_folder, incarnation

URLS = ("http://a:3001", "http://a:4001")
PROBES = "mailboxes/probes"


def with_mailboxes() -> MemoryFolder:
    folder = bare_folder()
    run(allocate(folder))
    folder.operations.clear()
    return folder


def probe(member: str) -> Probe:
    return Probe(member, incarnation(member), (LogProbe(secrets.token_hex(16), 3),))


def test_a_box_is_read_whole_with_one_read() -> None:
    folder = with_mailboxes()
    mine, theirs = Mailboxes(folder), Mailboxes(folder.other())
    one, two = probe("a"), probe("b")
    run(mine.write(Box.PROBES, 0, one))
    run(theirs.write(Box.PROBES, 2, two))
    folder.operations.clear()
    assert run(mine.read(Box.PROBES, 4, Probe)) == [one, None, two, None]
    assert folder.log("read") == [f"read {PROBES}"]
    assert run(mine.read(Box.PROBES, 0, Probe)) == []


def test_a_block_of_another_version_says_nothing() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    run(boxes.write(Box.PROBES, 0, Canary("a canary is no probe")))
    assert run(boxes.read(Box.PROBES, 1, Probe)) == [None]


def test_the_most_answers_fit_into_a_block() -> None:
    answers = {slot: ProbeAnswer(secrets.token_hex(16)) for slot in range(SLOTS - MOST_ANSWERS, SLOTS)}
    folder = with_mailboxes()
    boxes, written = Mailboxes(folder), Answers(incarnation("a"), (LogAnswers(10**10, answers),))
    run(boxes.write(Box.ANSWERS, 0, written))
    assert run(boxes.read(Box.ANSWERS, 1, Answers)) == [written]


def test_a_block_is_durable_when_it_is_written() -> None:
    folder = with_mailboxes()
    one = probe("a")
    run(Mailboxes(folder).write(Box.PROBES, 0, one))
    folder.disk.crash()
    assert run(Mailboxes(folder).read(Box.PROBES, 1, Probe)) == [one]


def test_files_stay_open_and_are_opened_again_at_once_when_they_fail() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    for _ in range(2):
        run(boxes.write(Box.PROBES, 0, probe("a")))
        run(boxes.read(Box.PROBES, 1, Probe))
    assert len(folder.log("open")) == 2
    for kind in ("read", "write_block"):
        folder.at(kind, before=FolderUnavailable("transport endpoint is not connected"))
    run(boxes.write(Box.PROBES, 0, one := probe("a")))
    assert run(boxes.read(Box.PROBES, 1, Probe)) == [one]
    assert len(folder.log("open")) == 4


def test_a_file_that_fails_although_it_was_just_opened_is_an_error() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    for _ in range(2):
        for kind in ("read", "write_block"):
            for nth in (1, 2):
                folder.at(kind, nth=nth, before=FolderUnavailable("no answer"))
        with pytest.raises(FolderUnavailable):
            run(boxes.write(Box.PROBES, 0, probe("a")))
        with pytest.raises(FolderUnavailable):
            run(boxes.read(Box.PROBES, 1, Probe))
        folder.cancel()
        run(boxes.write(Box.PROBES, 0, probe("a")))
        run(boxes.read(Box.PROBES, 1, Probe))


def test_a_block_that_is_being_written_says_nothing() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    run(boxes.write(Box.PROBES, 1, probe("b")))
    folder.disk.spoil(PROBES, BLOCK_BYTES + 30, b"\xff")
    assert run(boxes.read(Box.PROBES, 2, Probe)) == [None, None]


def test_a_canary_is_written_synced_and_read_back() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    assert run(boxes.try_canary(3))
    assert [line.split()[0] for line in folder.log() if "open" not in line] == ["write_block", "read"]


def test_a_canary_that_the_folder_did_not_keep() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    run(boxes.write(Box.CANARIES, 0, Canary("old")))
    content = folder.disk.content("mailboxes/canaries")
    old = bytes(content.visible)

    def forget() -> None:
        content.visible[:] = old

    folder.at("write_block", after=forget)
    assert not run(boxes.try_canary(0))
    for nth in (1, 2):
        folder.at("read", nth=nth, before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        run(boxes.try_canary(0))


def test_the_answers_of_one_main_fit_into_a_block() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    written = {slot: ProbeAnswer(secrets.token_hex(16)) for slot in range(60)}
    answers = Answers(incarnation("a"), (LogAnswers(3, written),))
    run(boxes.write(Box.ANSWERS, 0, answers))
    assert run(boxes.read(Box.ANSWERS, 1, Answers)) == [answers]


def test_what_is_told_of_a_log_is_found_by_its_id() -> None:
    probe, answers = LogProbe(names.nonce(), 3, 7), LogAnswers(3, {}, 7)
    assert (Probe("a", incarnation("a"), (probe,)).of(7), Probe("a", incarnation("a"), (probe,)).of(0)) == (probe, None)
    assert (Answers(incarnation("a"), (answers,)).of(7), Answers(incarnation("a"), (answers,)).of(0)) == (answers, None)
    assert shown("a").of(0) == LogPresence(role=Role.BACKUP, epoch=1)
    assert shown("a").of(7) == LogPresence(log=7, role=Role.JOINING)


def test_a_presence_fits_into_a_block() -> None:
    folder = with_mailboxes()
    presence = Presence(
        member="a",
        incarnation=incarnation("a"),
        counter=1,
        advertise_url="http://a:3001",
        link_url="http://a:4001",
        logs=(LogPresence(role=Role.BACKUP, epoch=3),),
    )
    run(Mailboxes(folder).write(Box.PRESENCE, 0, presence))
    assert run(Mailboxes(folder).read(Box.PRESENCE, 1, Presence)) == [presence]
    assert PAYLOAD_BYTES < BLOCK_BYTES


def test_making_the_files_again_keeps_what_is_in_them() -> None:
    folder = with_mailboxes()
    one = probe("a")
    run(Mailboxes(folder).write(Box.PROBES, 0, one))
    run(allocate(folder))
    assert run(Mailboxes(folder).read(Box.PROBES, 1, Probe)) == [one]
    assert run(folder.names("mailboxes")) == sorted(Box)
    assert run(folder.names("tmp")) == []
    assert len(folder.disk.content(PROBES).durable) == SLOTS * BLOCK_BYTES


def slot(folder: MemoryFolder, member: str, registry: Registry | None = None) -> int:
    return run((registry or Registry(folder)).slot_of(member, incarnation(member), *URLS))


def test_slots_are_given_in_order_and_for_ever() -> None:
    folder = bare_folder()
    assert [slot(folder, member) for member in "abcab"] == [0, 1, 2, 0, 1]
    folder.disk.crash()
    assert slot(folder.other(), "b") == 1
    assert [known.member for known in run(Registry(folder).update())] == ["a", "b", "c"]
    assert run(folder.names("tmp")) == []


def test_registrations_are_read_once() -> None:
    folder = bare_folder()
    registry = Registry(folder)
    slot(folder, "a", registry)
    slot(folder.other(), "b")
    folder.operations.clear()
    assert [known.member for known in run(registry.update())] == ["a", "b"]
    assert len(folder.log("read")) == 1
    run(registry.update())
    assert len(folder.log("read")) == 1


def given_but_not_durable(folder: MemoryFolder, member: str) -> None:
    """A member is given a slot, by somebody who does not come to make its name durable."""
    folder.at("sync_directory", names.MEMBERS, before=FolderUnavailable("input/output error"))
    with pytest.raises(FolderUnavailable):
        slot(folder, member)


def test_a_slot_that_was_found_cannot_be_forgotten_any_more() -> None:
    folder = bare_folder()
    given_but_not_durable(folder, "a")
    assert slot(folder, "a") == 0
    folder.disk.crash()
    assert [known.member for known in run(Registry(folder).update())] == ["a"]


def test_a_slot_that_the_file_server_forgot_is_given_anew() -> None:
    folder = bare_folder()
    given_but_not_durable(folder, "a")
    registry = Registry(folder)
    run(registry.update())
    folder.disk.crash()
    assert slot(folder, "a", registry) == 0
    folder.disk.crash()
    assert [known.member for known in run(Registry(folder).update())] == ["a"]


def test_who_shows_itself_in_a_slot_that_was_given_anew_is_seen_by_those_who_knew_the_other_one() -> None:
    folder = with_mailboxes()
    given_but_not_durable(folder, "a")
    registry, mailboxes = Registry(folder), Mailboxes(folder)
    run(registry.presence(mailboxes))
    folder.disk.crash()
    slot(folder, "b")
    run(mailboxes.write(Box.PRESENCE, 0, shown("b")))
    assert run(registry.presence(mailboxes)) == [None]
    assert run(registry.presence(mailboxes)) == [shown("b")]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2), max_size=40))
def test_arriving_at_once_gives_each_member_its_own_slot(turns: list[int]) -> None:
    folder = bare_folder(suspends=True)
    arrivals = [Registry(folder.other(suspends=True)).slot_of(member, incarnation(member), *URLS) for member in "abb"]
    first, second, third = interleave(arrivals, turns)
    assert second == third
    assert {first, second} == {0, 1}


def test_a_member_that_dies_while_it_arrives_leaves_no_gap() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        folder.at(nth=nth, after=Died())
        try:
            slot(folder, "a")
            return True
        except Died:
            folder.disk.crash()
        slots = {slot(folder.other(), member) for member in "ba"}
        assert slots == {0, 1}
        return False

    at_every_operation(attempt)


def test_a_stale_look_up_does_not_give_a_second_slot() -> None:
    folder = bare_folder()
    slot(folder, "a")
    folder.stale.add(names.member(0))
    folder.at("refresh", before=lambda: None)
    assert slot(folder, "a") == 0
    late = folder.other()
    late.at("refresh", after=lambda: late.stale.add(names.member(0)))
    assert slot(late, "a") == 0


def shown(member: str) -> Presence:
    return Presence(
        member=member,
        incarnation=incarnation(member),
        counter=1,
        advertise_url=URLS[0],
        link_url=URLS[1],
        logs=(LogPresence(role=Role.BACKUP, epoch=1),),
    )


def test_whoever_shows_itself_is_known_although_look_ups_are_stale() -> None:
    """Otherwise the main would send it no keep-alives and answer none of its probes for as long as a cache lasts."""
    folder = with_mailboxes()
    for number, member in enumerate("abc"):
        slot(folder, member)
        run(Mailboxes(folder).write(Box.PRESENCE, number, shown(member)))
    late = folder.other()
    late.stale |= {names.member(1), names.member(2)}
    registry = Registry(late)
    assert run(registry.presence(Mailboxes(late))) == [shown("a"), shown("b"), shown("c")]
    assert [known.member for known in registry.registrations] == ["a", "b", "c"]


def test_a_block_in_a_slot_that_nobody_has_says_nothing() -> None:
    folder = with_mailboxes()
    slot(folder, "a")
    run(Mailboxes(folder).write(Box.PRESENCE, 0, shown("b")))
    run(Mailboxes(folder).write(Box.PRESENCE, 1, shown("b")))
    assert run(Registry(folder).presence(Mailboxes(folder))) == [None]


def test_the_last_slot_has_nothing_behind_it() -> None:
    folder = with_mailboxes()
    registry = Registry(folder)
    registry.registrations = [Registration(f"m{n}", n, *URLS) for n in range(SLOTS)]
    assert run(registry.presence(Mailboxes(folder))) == [None] * SLOTS


def test_all_slots_taken() -> None:
    folder = bare_folder()
    registry = Registry(folder)
    registry.registrations = [Registration(f"m{n}", n, *URLS) for n in range(SLOTS)]
    with pytest.raises(FolderUnavailable, match="slots are taken"):
        slot(folder, "a", registry)


def test_a_registration_that_cannot_be_read_is_not_the_end_of_the_list() -> None:
    folder = bare_folder()
    slot(folder, "a")
    folder.disk.spoil(names.member(0), 20, b"\xff")
    with pytest.raises(FolderUnavailable, match=r"members/000: offset 0 is rotten"):
        run(Registry(folder).update())
