"""Alerts are raised when a condition has lasted and cleared when it has been gone as long."""

import msgspec

from hanas_core.members.alerts import AlertBook, Condition
from hanas_core.members.documents import LogPresence, Presence, fitting
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Severity, Verdict

WALL = "2026-01-01T00:00:00.000+00:00"
LINK = Condition(Verdict.LINK_FAILED, "worker-2", Severity.NOTICE, "link failed", "check the network", confirm=1.0)
FULL = Condition(Verdict.FOLDER_FULL, "worker-2", Severity.CRITICAL, "full", "make room")


def test_a_condition_that_needs_no_confirmation_is_told_and_cleared_at_once() -> None:
    book = AlertBook("worker-1")
    book.update(0.0, WALL, [FULL])
    alert = book.open[0]
    assert (alert.kind, alert.member, alert.about, alert.since) == (Verdict.FOLDER_FULL, "worker-1", "worker-2", WALL)
    book.update(0.1, WALL, [])
    assert list(book.open) == []


def test_a_short_failure_is_never_told() -> None:
    book = AlertBook("worker-1")
    book.update(0.0, WALL, [LINK])
    book.update(0.9, WALL, [LINK])
    book.update(0.95, WALL, [])
    book.update(1.0, WALL, [LINK])
    assert list(book.open) == []


def test_a_lasting_failure_is_told_once_and_cleared_when_it_is_gone_as_long() -> None:
    book = AlertBook("worker-1")
    for now in (0.0, 0.5, 1.0, 5.0):
        book.update(now, f"at {now}", [LINK])
    alert = book.open[0]
    assert alert.since == "at 1.0"
    book.update(5.5, WALL, [])
    assert list(book.open) == [alert]
    book.update(5.7, WALL, [LINK])
    book.update(6.5, WALL, [])
    assert list(book.open) == [alert]
    book.update(6.7, WALL, [])
    assert list(book.open) == []


def story(book: AlertBook, *onsets: float, lasts: float = 0.2, until: float) -> list[bool]:
    """Let the link fail at `onsets` for a moment each; tell whether an alert was open, every tenth of a second."""
    told = []
    for tenth in range(round(until * 10)):
        now = tenth / 10
        failed = any(onset <= now < onset + lasts for onset in onsets)
        book.update(now, WALL, [LINK] if failed else [])
        told.append(bool(book.open))
    return told


def test_a_link_that_flaps_raises_one_alert_although_no_failure_lasts() -> None:
    book = AlertBook("worker-1")
    told = story(book, 0.0, 3.0, 6.0, 9.0, until=40.0)
    assert told[:60] == [False] * 60, "two short failures are nobody's business"
    assert told.index(True) == 60
    assert "comes and goes" not in LINK.message
    cleared = told.index(False, 61)
    assert 9.1 + 8.0 <= cleared / 10 <= 9.1 + 8.3, "each onset doubles the calm that is asked for"
    assert not any(told[cleared:])


def test_a_flapping_link_says_so() -> None:
    book = AlertBook("worker-1")
    story(book, 0.0, 3.0, 6.0, until=6.2)
    (alert,) = book.open
    assert alert.message == "link failed (it comes and goes)"


def test_an_alert_that_was_raised_for_one_long_failure_says_it_too_once_the_link_flaps() -> None:
    book = AlertBook("worker-1")
    story(book, 0.0, lasts=1.3, until=1.3)
    (before,) = book.open
    assert before.message == "link failed"
    for now in (1.5, 2.0, 2.5, 3.0):
        book.update(now, "later", [LINK] if now in (2.0, 3.0) else [])
    (after,) = book.open
    assert after == msgspec.structs.replace(before, message="link failed (it comes and goes)")


def test_failures_that_are_far_apart_do_not_flap() -> None:
    book = AlertBook("worker-1")
    assert not any(story(book, 0.0, 20.0, 40.0, 60.0, until=100.0))


def test_the_calm_that_is_asked_for_has_an_end() -> None:
    book = AlertBook("worker-1")
    told = story(book, *(second / 1.0 for second in range(20)), until=60.0)
    assert told[:50].count(True) > 0
    assert not told[-1], "after thirty confirmations without a failure it is over"


def test_the_oldest_alert_comes_first_whatever_was_seen_first() -> None:
    book = AlertBook("worker-1")
    book.update(0.0, WALL, [LINK])
    book.update(0.5, WALL, [LINK, FULL])
    book.update(1.0, WALL, [LINK, FULL])
    assert [alert.kind for alert in book.open] == [Verdict.FOLDER_FULL, Verdict.LINK_FAILED]


def test_a_presence_block_drops_the_alerts_that_do_not_fit() -> None:
    book = AlertBook("worker-1")
    book.update(0.0, WALL, [FULL, FULL._replace(kind=Verdict.LINK_FAILED)])
    shown = Presence(
        member="worker-1",
        incarnation="1" * 32,
        counter=1,
        advertise_url="http://a",
        link_url="http://b",
        logs=(LogPresence(role=Role.BACKUP, epoch=1),),
        alerts=book.open,
    )
    size = len(msgspec.json.encode(shown))
    assert fitting(shown, size) == shown
    assert fitting(shown, size - 1).alerts == book.open[:1]
    assert fitting(shown, 0).alerts == ()
