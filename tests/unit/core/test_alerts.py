"""Alerts are raised when a condition has lasted and cleared when it has been gone as long."""

import msgspec

from hanas_core.alerts import AlertBook, Condition
from hanas_core.documents import Presence, fitting
from hanas_core.verdicts import Severity, Verdict

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


def test_a_presence_block_drops_the_alerts_that_do_not_fit() -> None:
    book = AlertBook("worker-1")
    book.update(0.0, WALL, [FULL, FULL._replace(kind=Verdict.LINK_FAILED)])
    shown = Presence(
        member="worker-1",
        incarnation="1" * 32,
        counter=1,
        advertise_url="http://a",
        link_url="http://b",
        role="backup",
        epoch=1,
        alerts=book.open,
    )
    size = len(msgspec.json.encode(shown))
    assert fitting(shown, size) == shown
    assert fitting(shown, size - 1).alerts == book.open[:1]
    assert fitting(shown, 0).alerts == ()
