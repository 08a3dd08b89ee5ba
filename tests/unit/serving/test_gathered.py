"""The head of a response goes out together with its content, and never waits for anything else."""

import pytest

from hanas_serving.gathered import Gathered
from tests.unit.serving.connections import Wire

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_head_and_content_are_one_write(wire: Wire) -> None:
    gathered = Gathered(wire)
    for content in (b"first", b"other"):
        gathered.write(HEAD)
        gathered.write(content)
    assert wire.written == [HEAD + b"first", HEAD + b"other"]


def test_a_head_without_content_is_written_when_the_response_is_complete(wire: Wire) -> None:
    gathered = Gathered(wire)
    gathered.write(HEAD)
    assert wire.written == []
    gathered.flush()
    gathered.flush()
    assert wire.written == [HEAD]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_what_content_may_follow_late_or_never_is_written_at_once(wire: Wire, head: bytes) -> None:
    Gathered(wire).write(head)
    assert wire.written == [head]


def test_nothing_is_lost_at_the_end(wire: Wire) -> None:
    gathered = Gathered(wire)
    gathered.write(HEAD)
    gathered.close()
    assert (wire.written, gathered.is_closing()) == ([HEAD], True)
