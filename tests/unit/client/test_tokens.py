"""`hanas client-token new`."""

import json

import pytest

from hanas_client.cli import main
from hanas_serving.callers import Callers
from hanas_serving.clients import decode
from hanas_serving.principals import Action, may


def test_the_token_and_the_lines_fit_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["client-token", "new", "web"]) == 0
    first, _, lines = capsys.readouterr().out.split("\n", 2)
    token = first.removeprefix("token: ")
    callers = Callers(["s"], (), decode(f"principals:\n{lines}"))
    principal = callers.identify(f"Bearer {token}".encode())
    assert principal.name == "web"
    assert may(principal, Action.DELETE, b"web/1")
    assert not may(principal, Action.READ, b"other")
    assert len(token) > 40


def test_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for _ in range(2):
        assert main(["client-token", "--json", "new", "web@example.com"]) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert [set(document) for document in made] == [{"name", "token", "sha256"}] * 2
    assert made[0]["token"] != made[1]["token"]


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "a" * 65, "ß", "a\n"])
def test_what_is_no_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["client-token", "new", "--", name]) == 1
    assert "is no name" in capsys.readouterr().err
