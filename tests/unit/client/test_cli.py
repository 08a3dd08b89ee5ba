"""The `hanas` command: arguments, output, exit codes, and words instead of tracebacks."""

import errno
import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import cli, switchovers
from hanas_core.members import cluster as identity
from hanas_core.volume import blocking
from hanas_core.volume.posix import PosixFolder
from tests.unit.client.fake_cluster import FakeCluster, running

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with running() as cluster:
        monkeypatch.setenv("OVERSEER_IP", cluster.url)
        yield cluster


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def read_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["put"],
        ["get"],
        ["put", "a", "b", "c"],
        ["put", "a", "b", "--if-match", "3-1", "--if-none-match"],
        ["list", "--limit", "0"],
        ["list", "--limit", "many"],
        ["get", "a", "--timeout", "0"],
        ["get", "a", "--timeout", "nan"],
        ["get", "a", "--overseer", "ftp://x"],
        ["get", "a", "--overseer", "http://x:99999"],
        ["get", "a", "--token-file", "/nonexistent/token"],
        ["get", ""],
        ["get", "k" * 1025],
        ["events", "--server", "http://localhost:1"],
        ["init"],
        ["lab", "--workers", "0"],
        ["lab", "--workers", "100"],
        ["lab", "--first-port", "70000"],
        ["lab", "--preset", "wild"],
        ["lab", "kill"],
        ["lab", "cut", "worker-1"],
        ["lab", "nonsense"],
        ["watch"],
        ["watch", "a", "--from", "0"],
        ["watch", "a", "--limit", "0"],
        ["lease"],
        ["lease", "grant"],
        ["lease", "grant", "0"],
        ["lease", "show", "x"],
        ["lock", "job"],
        ["lock", "job", "--ttl", "1", "--", "true"],
        ["lock", "job", "--timeout", "0", "--", "true"],
        ["get", "a", "--revision", "0"],
        ["list", "--revision", "x"],
        ["put", "a", "b", "--lease", "-1"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: Capture) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


@pytest.mark.parametrize("arguments", [["--help"], ["put", "--help"], ["lab", "--help"], ["lab", "cut", "--help"]])
def test_help_exits_with_0(arguments: list[str], capsys: Capture) -> None:
    assert cli.main(arguments) == 0
    assert "usage: hanas" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["put", "a", "b"],
        ["get", "a"],
        ["delete", "a"],
        ["list"],
        ["status"],
        ["takeovers"],
        ["events"],
    ],
)
def test_cluster_that_is_not_there(command: list[str], nowhere: str, capsys: Capture) -> None:
    timeout = ["--timeout", "0.2"]
    assert cli.main([*command, "--overseer", nowhere, *timeout]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "connection refused" in captured.err
    assert "hanas lab" in captured.err
    assert not captured.out


def test_put_get_delete(cluster: FakeCluster, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    assert cli.main(["put", "a/b", "hello"]) == 0
    assert capsysbinary.readouterr().out == b"created a/b, version 3-1\n"
    (tmp_path / "value").write_bytes(b"\0\xff\n")
    assert cli.main(["put", "a/b", f"@{tmp_path / 'value'}", "--content-type", "image/x"]) == 0
    assert capsysbinary.readouterr().out == b"replaced a/b, version 3-2\n"
    assert cli.main(["get", "a/b"]) == 0
    assert capsysbinary.readouterr().out == b"\0\xff\n"
    assert cli.main(["get", "a/b", "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out) == {
        "key": "a/b", "version": "3-2", "contentType": "image/x", "valueBase64": "AP8K"
    }  # fmt: skip
    assert cli.main(["delete", "a/b", "--json"]) == 0
    capsysbinary.readouterr()
    assert cli.main(["delete", "a/b"]) == 1
    assert capsysbinary.readouterr().err == b"hanas: no such key: a/b\n"


@pytest.mark.parametrize("arguments", [["put", "a"], ["put", "a", "-"]])
def test_put_from_standard_input(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, arguments: list[str], capsys: Capture
) -> None:
    read_input(monkeypatch, b"\xffpiped")
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"key": "a", "created": True, "version": "3-1"}
    assert cluster.values["a"][0] == b"\xffpiped"


def test_failures_exit_with_1(cluster: FakeCluster, capsys: Capture) -> None:
    for arguments, words in [
        (["get", "missing"], "no such key: missing"),
        (["put", "a", "@/nonexistent/file"], "/nonexistent/file: No such file"),
        (["put", "a", "b", "--if-match", "9-9"], "the version is another one"),
    ]:
        assert cli.main(arguments) == 1
        captured = capsys.readouterr()
        assert words in captured.err
        assert captured.err.count("\n") == 1


def test_list(cluster: FakeCluster, capsys: Capture) -> None:
    for number in range(5):
        cluster.values[f"k{number}"] = (b"xy", f"3-{number}", "text/plain")
    assert cli.main(["list", "--prefix", "k", "--after", "k0", "--limit", "2"]) == 0
    assert capsys.readouterr().out == "k1\t3-1\t2\nk2\t3-2\t2\n"
    assert cli.main(["list", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[4] == {"key": "k4", "version": "3-4", "size": 2}


def test_status_and_takeovers(cluster: FakeCluster, capsys: Capture) -> None:
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "epoch 3, main worker-1 (serving)" in out
    assert "link worker-1 → worker-2 failed for 3 s" in out
    assert "notice: link failed → look at it" in out
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["links"][0]["from"] == "worker-1"
    assert cli.main(["takeovers"]) == 0
    out = capsys.readouterr().out
    assert "no answer to the probe" in out
    assert "sent: 1.5" not in out
    assert cli.main(["takeovers", "--verbose"]) == 0
    assert "sent: 1.5" in capsys.readouterr().out
    assert cli.main(["takeovers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["takeovers"][0]["previousMain"] == "worker-2"


def test_status_of_workers_alone(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("OVERSEER_IP")
    assert cli.main(["status", "--server", cluster.url]) == 0
    assert json.loads(capsys.readouterr().out)["role"] == "main"


def test_what_is_no_cluster(cluster: FakeCluster, capsys: Capture) -> None:
    assert cli.main(["status", "--overseer", f"{cluster.url}/v1/kv/x?".rstrip("?")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_lab_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    for command in (["kill", "worker-1"], ["cut", "worker-1", "worker-2"], ["add"], ["status"]):
        assert cli.main(["lab", *command, "--directory", str(tmp_path)]) == 1
        captured = capsys.readouterr()
        assert f"no lab runs in {tmp_path}" in captured.err
        assert captured.err.count("\n") == 1


def test_directory_of_the_lab_may_stand_before_the_subcommand(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["lab", "--directory", str(tmp_path), "status"]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_init_makes_a_folder_once(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    assert cli.main(["init", str(folder), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert cli.main(["init", str(folder)]) == 0
    assert first["folderId"] in capsys.readouterr().out


@pytest.mark.parametrize("occupied", [True, False])
def test_init_refuses_what_is_no_empty_folder(tmp_path: Path, capsys: Capture, occupied: bool) -> None:
    if occupied:
        (tmp_path / "letters.txt").touch()
    assert cli.main(["init", str(tmp_path if occupied else tmp_path / "missing")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("not empty" if occupied else "no such directory") in error


def test_a_folder_is_checked_and_left_as_it_was(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["check-folder", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fit"]
    assert [check["trouble"] for check in found["checks"]] == [None] * 6
    assert list(tmp_path.iterdir()) == []
    blocking.run(identity.initialise(PosixFolder(tmp_path)))
    assert cli.main(["check-folder", str(tmp_path), str(tmp_path)]) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_unfit_folder_is_refused_by_the_name_of_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert cli.main(["check-folder", str(tmp_path)]) == 1
    assert "is unfit: exclusive link(): " in capsys.readouterr().err
    assert cli.main(["check-folder", str(tmp_path / "nowhere")]) == 1


def test_a_switchover_waits_for_the_new_main_and_says_how_long_it_took(cluster: FakeCluster, capsys: Capture) -> None:
    assert cli.main(["switchover", "worker-2"]) == 0
    assert capsys.readouterr().out.startswith("worker-2 is the main now, after worker-1; it took 0.")
    assert cli.main(["switchover", "worker-1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["from"], told["to"]) == ("worker-2", "worker-1")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "there is no member 'worker-2'; `hanas status` lists them"),
        (409, "it was told to"),
        (401, "it was told to"),
    ],
)
def test_a_switchover_that_is_refused_says_why(cluster: FakeCluster, capsys: Capture, status: int, words: str) -> None:
    cluster.switchovers = [status]
    assert cli.main(["switchover", "worker-2"]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert cluster.main == "worker-1"


def test_the_main_is_no_successor_of_its_own(cluster: FakeCluster, capsys: Capture) -> None:
    assert cli.main(["switchover", "worker-1"]) == 1
    assert "worker-1 is the main already" in capsys.readouterr().err


def test_a_switchover_whose_answer_was_lost_is_done_all_the_same(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.switchovers = [0]
    assert cli.main(["switchover", "worker-2"]) == 0
    assert "worker-2 is the main now, after worker-1" in capsys.readouterr().out


def test_another_successor_than_the_named_one_is_told(
    cluster: FakeCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter(["worker-1", "worker-1", "worker-3"])
    monkeypatch.setattr(switchovers, "_main", lambda _: next(seen))
    assert cli.main(["switchover", "worker-2"]) == 1
    assert "worker-1 handed over, but the main is worker-3 now" in capsys.readouterr().err
