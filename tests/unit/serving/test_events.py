"""Server-sent events from the bytes of a stream."""

import pytest

from hanas_serving.events import Event, EventParser


@pytest.mark.parametrize(
    ("pieces", "events"),
    [
        ([b"event: a\ndata: 1\n\n"], [("a", "1")]),
        ([b"event: a\nda", b"ta: 1\n", b"\nevent: b\r\ndata: 2\r\n\r\n"], [("a", "1"), ("b", "2")]),
        ([b": still here\n\n"], []),
        ([b"retry: 1000\n\n"], []),
        ([b"data: 1\ndata: 2\n\n"], [("message", "1\n2")]),
        ([b"event: a\nid: 7\ndata: 1\n\nevent: broken"], [("a", "1")]),
        (["event: a\ndata: ü\n\n".encode()[:16], "event: a\ndata: ü\n\n".encode()[16:]], [("a", "ü")]),
        (["data: \u2028\n\n".encode()], [("message", "\u2028")]),
    ],
)
def test_server_sent_events(pieces: list[bytes], events: list[tuple[str, str]]) -> None:
    parser = EventParser()
    assert [(event.name, event.data) for piece in pieces for event in parser.feed(piece)] == events


def test_fields_ids_and_a_broken_connection() -> None:
    lines = [
        "retry: 1000",
        ": a comment",
        "",
        "event: alert",
        "id: 4",
        "data: one",
        "data:two",
        "",
        "event: empty",
        "",
        "data",
        "id: 5\0",
        "",
    ]
    parser = EventParser()
    assert parser.feed("\n".join([*lines, ""]).encode()) == [Event("alert", "one\ntwo", "4"), Event("message", "", "4")]
    assert parser.last_id == "4"
    assert not parser.feed(b"data: broken off\nda")
    parser.reset()
    assert not parser.feed(b"ta: anew\n\n")


def test_an_event_without_an_end() -> None:
    parser = EventParser()
    for _ in range(17):
        assert not parser.feed(b"x" * (1 << 20))
    with pytest.raises(ValueError, match="an event has more than 16777216 bytes"):
        parser.feed(b"x")
    parser.reset()
    assert parser.feed(b"\ndata: 1\n\n") == [Event("message", "1")]
