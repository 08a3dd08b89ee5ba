"""What clients of a cluster wrote never moves the cursor of the person who looks at it."""

import json

import pytest

from hanas_client import cli, tables
from hanas_client.narration import Sentence
from hanas_client.plain import is_obeyed, plain, plain_json
from tests.unit.client.fake_cluster import running

ESCAPE = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("orders/4711", "orders/4711"),
        ("grün → 値", "grün → 値"),
        ("a b", "a b"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        (ESCAPE, "\\x1b]0;owned\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("line\u2028line", "line\\u2028line"),
        ("\udc80", "\\udc80"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_json_stays_the_same_document() -> None:
    document = {"key": "\x7f\x9b31m\u202e grün \U000e0001"}
    text = json.dumps(document, ensure_ascii=False)
    escaped = plain_json(text)
    assert json.loads(escaped) == document
    assert not {"\x7f", "\x9b", "\u202e"} & set(escaped)
    assert "grün" in escaped


@pytest.mark.parametrize(
    ("value", "obeyed"), [(b"two\nlines\t\r\n", False), ("grün".encode(), False), (b"\x1b[2J", True), (b"\xff", True)]
)
def test_what_a_terminal_would_obey(value: bytes, obeyed: bool) -> None:
    assert is_obeyed(value) is obeyed


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_on_a_terminal_or_elsewhere(capsys: pytest.CaptureFixture[str], terminal: bool) -> None:
    output = tables.console()
    output._force_terminal = terminal
    tables.show(output, ("KEY",), [(ESCAPE,)])
    tables.say(output, Sentence(f"{ESCAPE}\nsecond"))
    out = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07" in out
    assert ESCAPE not in out
    assert "\\nsecond" in out


def test_a_message_of_a_server_is_one_plain_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as cluster:
        monkeypatch.setenv("OVERSEER_IP", cluster.url)
        assert cli.main(["put", f"key{ESCAPE}", "value"]) == 0
        assert cli.main(["get", f"other{ESCAPE}"]) == 1
        assert cli.main(["list"]) == 0
    said = capsys.readouterr()
    assert ESCAPE not in said.out + said.err
    assert "created key\\x1b]0;owned\\x07" in said.out
