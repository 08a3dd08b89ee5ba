"""`hanas watch`, `txn`, `lease` and the options about revisions: what is sent, and what is printed."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import cli, lock_command
from tests.unit.client.fake_cluster import FakeCluster, running

Capture = pytest.CaptureFixture[str]
CHANGES = (
    b'{"revision":3,"changes":[{"put":{"key":"a\\nb","mod":3,"text":"v\\u001b"},"previous":{"key":"a","mod":2,"text":"old"}},'
    b'{"put":{"key":"c","mod":3,"base64":"//8="}}]}\n{"progress":4}\n'
    b'{"revision":5,"changes":[{"delete":{"key":"c"},"previous":{"key":"c","mod":3,"omitted":true}},'
    b'{"put":{"key":"d","mod":5,"text":"' + b"x" * 500 + b'"}}]}\n'
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with running() as cluster:
        monkeypatch.setenv("OVERSEER_IP", cluster.url)
        yield cluster


def test_who_means_the_events_of_the_cluster_is_told_their_command(capsys: Capture) -> None:
    assert cli.main(["watch"]) == 2
    assert "for what happens in the cluster: hanas events" in capsys.readouterr().err


def test_a_watch_prints_a_line_for_each_change(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.watches = [CHANGES]
    assert cli.main(["watch", "a", "--from", "3", "--prev", "--limit", "2"]) == 0
    assert capsys.readouterr().out == (
        f"3\tput\ta\\nb\tv\\x1b\told\n3\tput\tc\t2 bytes\t–\n5\tdelete\tc\t–\trevision 3\n5\tput\td\t{'x' * 120}…\t–\n"
    )
    assert cluster.requests[-1][1] == "/v1/watch?prefix=a&from=3&prev=1"


def test_a_watch_as_json_has_a_document_for_each_revision(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.watches = [CHANGES]
    assert cli.main(["watch", "", "--json", "--limit", "2"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["revision"], second["revision"]) == (3, 5)
    assert first["changes"][1]["put"]["base64"] == "//8="
    assert second["changes"][0]["delete"] == {"key": "c"}


def test_a_watch_whose_changes_are_forgotten_says_so(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.watches = [410]
    assert cli.main(["watch", "a", "--from", "3"]) == 1
    assert "it was told to" in capsys.readouterr().err


@pytest.mark.parametrize("from_file", [True, False])
def test_a_transaction_is_sent_as_it_is(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, from_file: bool
) -> None:
    body = b'{"then": [{"put": {"key": "a", "text": "x"}}]}'
    (tmp_path / "txn").write_bytes(body)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    file = [str(tmp_path / "txn")] if from_file else []
    assert cli.main(["txn", *file, "--idempotency-key", "once"]) == 0
    assert json.loads(capsys.readouterr().out) == {"succeeded": True, "results": [{"put": {}}], "revision": 3, "new": 1}
    assert cluster.recorded == [("POST", "/v1/txn", body)]
    assert cluster.requests[-1][2]["idempotency-key"] == "once"


def test_the_commands_of_leases(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.attached["a\nb"] = 7
    for arguments, output in (
        (["grant", "30"], "7\n"),
        (["grant", "30", "--id", "8", "--json"], '{"id":8,"ttl":30}\n'),
        (["keepalive", "7", "--once"], "7 lives for 30 s\n"),
        (["show", "7"], "7 lives for 29 of 30 s\na\\nb\n"),
        (["show", "7", "--json"], '{"id":7,"ttl":30,"remaining":29,"keys":["a\\nb"]}\n'),
        (["revoke", "7"], "7 is revoked\n"),
    ):
        assert cli.main(["lease", *arguments]) == 0
        assert capsys.readouterr().out == output
    assert [(method, path, json.loads(body or b"null")) for method, path, body in cluster.recorded] == [
        ("POST", "/v1/leases", {"ttl": 30}),
        ("POST", "/v1/leases", {"ttl": 30, "id": 8}),
        ("POST", "/v1/leases/7/keepalive", None),
        ("GET", "/v1/leases/7", None),
        ("GET", "/v1/leases/7", None),
        ("DELETE", "/v1/leases/7", None),
    ]
    assert cli.main(["lease", "keepalive", "9"]) == 1
    assert capsys.readouterr().err == "hanas: the lease 9 is not there, or has expired; nothing was done\n"


def test_options_about_revisions_and_leases(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.leases[7] = 30
    assert cli.main(["put", "a", "b", "--lease", "7"]) == 0
    assert cluster.requests[-1][2]["hanas-lease"] == "7"
    assert cli.main(["get", "a", "--revision", "2"]) == 0
    assert cluster.requests[-1][1] == "/v1/kv/a?revision=2"
    assert cli.main(["list", "--revision", "2"]) == 0
    assert cluster.requests[-1][1] == "/v1/kv?limit=1000&revision=2"
    cluster.refuses["GET"] = 410
    assert cli.main(["get", "a", "--revision", "1"]) == 1
    assert "it was told to" in capsys.readouterr().err


def test_the_limit_of_the_wait_for_a_lock_is_none_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    async def lock(_: object, limit: float | None) -> int:
        limits.append(limit)
        return 7

    monkeypatch.setattr(lock_command, "_lock", lock)
    assert cli.main(["lock", "job", "--", "echo", "--help"]) == 7
    assert cli.main(["lock", "job", "--timeout", "2", "--", "true"]) == 7
    assert limits == [None, 2.0]


def test_a_cluster_that_is_not_there_obtains_no_lock(capsys: Capture) -> None:
    assert cli.main(["lock", "job", "--overseer", "http://127.0.0.1:9", "--", "true"]) == 1
    assert "is the cluster running?" in capsys.readouterr().err
