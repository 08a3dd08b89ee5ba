"""Mailboxes and the registry of their slots."""

import secrets

import pytest

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
    allocate,
)
from hanas_core.members.roles import Role
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import PAYLOAD_BYTES, pack
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, incarnation, shown

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


ODD = (b"", b"[]", b'{"member":"\xff"}', b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}")
"""No JSON, another kind, no UTF-8, too deep."""


def test_a_block_of_another_version_says_nothing() -> None:
    folder = with_mailboxes()
    boxes = Mailboxes(folder)
    run(boxes.write(Box.PROBES, 0, Canary("a canary is no probe")))
    assert run(boxes.read(Box.PROBES, 1, Probe)) == [None]
    for odd in ODD:
        folder.disk.spoil(PROBES, 0, pack(odd))
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
