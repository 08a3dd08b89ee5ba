"""Server-sent events: resumption by epoch, the newest document wins, alerts open and close."""

import asyncio
from pathlib import Path

import pytest

from hanas_core.members.documents import Alert, MainInfo
from hanas_core.members.verdicts import Severity
from hanas_overseer import board as boards
from hanas_overseer import picture, stream
from hanas_overseer.board import Board
from hanas_overseer.history import takeover
from hanas_overseer.observer import Observation
from tests.unit.overseer.stage import Events, Stage, alert, claim, incarnation, running


def observation(highest: int, lowest: int = 1) -> Observation:
    main = MainInfo("worker-1", incarnation(1), "http://a", "http://b", highest) if highest else None
    entries = tuple(takeover(claim(epoch, 1), served=False, seconds=None) for epoch in range(lowest, highest + 1))
    return Observation(main=main, takeovers=entries, lowest=lowest if highest else 0)


def show(board: Board, seen: Observation | None, *alerts: Alert, now: float = 0.0) -> None:
    board.show(now, seen, picture.cluster("f" * 16, seen or Observation(), [], alerts, {}))


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("7", 7),
        (" 12 ", 12),
        ("0", 0),
        (None, None),
        ("", None),
        ("-1", None),
        ("x", None),
        ("٣", None),
        ("9" * 40, None),
    ],
)
def test_an_event_id_is_an_epoch(text: str | None, epoch: int | None) -> None:
    assert stream.epoch_of(text) == epoch


async def test_a_new_reader_gets_the_cluster_and_then_only_later_takeovers() -> None:
    board = Board()
    show(board, observation(3))
    events = Events(stream.events(board, None))
    kind, identity, document = await events.next()
    assert (kind, identity, document["epoch"]) == ("cluster", "3", 3)
    show(board, observation(5))
    found = [await events.next() for _ in range(3)]
    assert [(kind, identity) for kind, identity, _ in found] == [("takeover", "4"), ("takeover", "5"), ("cluster", "5")]
    assert found[0][2]["epoch"] == 4


async def test_a_reader_that_names_an_epoch_gets_every_later_takeover_exactly_once() -> None:
    board = Board()
    show(board, observation(6))
    events = Events(stream.events(board, 2))
    assert [(await events.next("takeover"))[1] for _ in range(4)] == ["3", "4", "5", "6"]
    assert (await events.next())[:2] == ("cluster", "6")


async def test_another_overseer_that_is_behind_sends_nothing_twice() -> None:
    board = Board()
    show(board, observation(4))
    events = Events(stream.events(board, 5))
    assert (await events.next())[:2] == ("cluster", "5")
    show(board, observation(6))
    assert (await events.next())[:2] == ("takeover", "6")


async def test_takeovers_wait_until_the_history_is_read_back_to_the_place() -> None:
    board = Board()
    show(board, observation(9, lowest=7))
    events = Events(stream.events(board, 2))
    assert (await events.next())[:2] == ("cluster", "2")
    show(board, observation(9, lowest=3), now=100.0)
    assert [(await events.next())[1] for _ in range(7)] == ["3", "4", "5", "6", "7", "8", "9"]


async def test_a_slow_reader_gets_the_newest_document_only() -> None:
    board = Board()
    show(board, observation(1))
    pieces = stream.events(board, None)
    events = Events(pieces)
    await events.next("cluster")
    for highest in range(2, 50):
        show(board, observation(highest))
    for _ in range(48):
        await events.next("takeover")
    assert (await events.next())[2]["epoch"] == 49


async def test_alerts_open_change_and_clear_once() -> None:
    board = Board()
    show(board, observation(1), alert("a"))
    events = Events(stream.events(board, None))
    assert (await events.next())[0] == "alert"
    await events.next("cluster")
    show(board, observation(1), alert("a"), alert("b"))
    kind, identity, document = await events.next()
    assert (kind, identity, document["id"]) == ("alert", None, "b")
    await events.next("cluster")
    show(board, observation(1), alert("a", Severity.URGENT), alert("b"))
    assert (await events.next())[2]["severity"] == "urgent"
    await events.next("cluster")
    show(board, observation(1), alert("b"))
    kind, _, document = await events.next()
    assert (kind, document["id"]) == ("alert-cleared", "a")
    await events.next("cluster")
    show(board, observation(1), alert("b", message="other words"), now=100.0)
    assert (await events.next())[0] == "cluster"


async def test_nothing_that_changed_is_published_only_from_time_to_time() -> None:
    board = Board()
    show(board, observation(1), now=0.0)
    first = board.published
    show(board, observation(1), now=boards.REFRESH_SECONDS / 2)
    assert board.published is first
    show(board, observation(1), now=boards.REFRESH_SECONDS)
    assert board.published is not first
    show(board, observation(2), now=boards.REFRESH_SECONDS)
    assert board.published is not None
    assert board.published.number == 3


async def test_a_comment_is_sent_when_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.01)
    pieces = stream.events(Board(), None)
    assert await anext(pieces) == b"retry: 1000\n\n"
    async with asyncio.timeout(10):
        assert (await anext(pieces)).startswith(b": ")
        assert (await anext(pieces)).startswith(b": ")


async def test_a_folder_that_was_never_read_has_no_place_in_the_history() -> None:
    board = Board()
    show(board, None, alert("folder", Severity.CRITICAL))
    events = Events(stream.events(board, None))
    assert (await events.next())[0] == "alert"
    assert (await events.next())[:2] == ("cluster", None)
    show(board, observation(3))
    assert (await events.next("alert-cleared", "takeover"))[0] == "alert-cleared"
    assert (await events.next())[:2] == ("cluster", "3")


async def test_streams_end_when_the_board_is_closed() -> None:
    board = Board()
    show(board, observation(1))
    pieces = stream.events(board, None)
    events = Events(pieces)
    await events.next("cluster")
    reading = asyncio.ensure_future(anext(pieces, None))
    await asyncio.sleep(0)
    board.close()
    async with asyncio.timeout(10):
        assert await reading is None


async def test_the_head_of_the_stream_holds_up_nothing(tmp_path: Path) -> None:
    async with running(Stage(tmp_path)) as overseer:
        answer = await overseer.http.head("/v1/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
