"""`hanas bench`: what it asks of the cluster, what it says of it, and that it leaves nothing behind."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hanas_client import bench, cli
from hanas_client.asynchronous import AsyncClient
from hanas_client.load import Load, Workload, percentile
from tests.unit.client.fake_cluster import FakeCluster, running

Capture = pytest.CaptureFixture[str]
QUICK = ("bench", "--duration", "0.3", "--keys", "20", "--connections", "4", "--value-bytes", "10")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with running() as cluster:
        cluster.values["other"] = (b"somebody's", "3-0", "text/plain")
        monkeypatch.setenv("OVERSEER_IP", cluster.url)
        yield cluster


def measured(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert cli.main([*QUICK, "--json", *arguments]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def requests(cluster: FakeCluster, method: str) -> list[str]:
    return [path for verb, path, _ in cluster.requests if verb == method and path.startswith("/v1/kv/")]


def measured_at_length(cluster: FakeCluster, capsys: Capture) -> str:
    """Measure for as long as this machine needs for 50 requests, one of them a PUT; return the output."""
    seconds = 0.3
    while True:
        cluster.requests.clear()
        assert cli.main([*QUICK, "--duration", str(seconds)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        writes = len(requests(cluster, "PUT")) - 20
        if writes > 0 and writes + len(requests(cluster, "GET")) >= 50:
            return captured.out
        seconds *= 2


def test_it_reads_and_writes_keys_of_its_own_and_removes_them(cluster: FakeCluster, capsys: Capture) -> None:
    output = measured_at_length(cluster, capsys)
    assert list(cluster.values) == ["other"]
    assert len(requests(cluster, "GET")) > len(requests(cluster, "PUT")) - 20 > 0
    assert len(set(requests(cluster, "DELETE"))) == 20
    assert all(path.startswith("/v1/kv/hanas-bench/") for path in requests(cluster, "GET") + requests(cluster, "PUT"))
    lines = [line.split("\t") for line in output.splitlines()]
    assert lines[0] == list(bench._COLUMNS)
    assert [line[0] for line in lines[1:4]] == ["get", "put", "all"]
    assert (
        int(lines[1][1]) + int(lines[2][1])
        == int(lines[3][1])
        == len(requests(cluster, "GET") + requests(cluster, "PUT")) - 20
    )
    assert all(float(number) >= 0 for line in lines[1:4] for number in line[1:])
    assert re.fullmatch(r"longest time without an answer: \d+\.\d{3} s, \d+\.\d s after the start", lines[4][0])
    assert lines[5][0] == "epoch 3 all the time"


def test_writes_alone_need_no_keys_and_are_kept_where_that_is_wished(cluster: FakeCluster, capsys: Capture) -> None:
    report = measured(capsys, "--workload", "put", "--keep", "--prefix", "mine/", "--keys", "1")
    assert (report["workload"], report["valueBytes"], report["connections"], report["keys"]) == ("put", 10, 4, 1)
    assert list(report["operations"]) == ["put"]
    figures = report["operations"]["put"]
    assert figures["requests"] == len(requests(cluster, "PUT"))
    assert (figures["errors"], figures["unknown"], report["troubles"], report["interrupted"]) == (0, 0, {}, False)
    took = figures["milliseconds"]
    assert 0 < took["p50"] <= took["p90"] <= took["p99"] <= took["p999"] <= took["max"]
    assert figures["requestsPerSecond"] == pytest.approx(figures["requests"] / report["seconds"])
    (key,) = (key for key in cluster.values if key != "other")
    assert key.startswith("mine/")
    assert len(cluster.values[key][0]) == 10


def test_reads_alone_write_each_key_once(cluster: FakeCluster, capsys: Capture) -> None:
    report = measured(capsys, "--workload", "get")
    assert list(report["operations"]) == ["get"]
    assert len(requests(cluster, "PUT")) == len(set(requests(cluster, "PUT"))) == 20
    assert set(requests(cluster, "GET")) <= set(requests(cluster, "PUT"))


def test_a_main_that_refuses_for_a_while_makes_a_gap_and_no_error(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.refusals = 2
    report = measured(capsys, "--workload", "put", "--connections", "1")
    assert report["operations"]["put"]["errors"] == 0
    assert report["longestGapSeconds"] > 0
    assert report["longestGapAfterSeconds"] == 0
    assert (
        len({headers["idempotency-key"] for _, _, headers in cluster.requests[:4] if "idempotency-key" in headers}) <= 2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--connections", "0"], "--connections must be 1 to 256, not 0"),
        (["--connections", "257"], "--connections must be 1 to 256, not 257"),
        (["--value-bytes", "-1"], "--value-bytes must be 0 to 67108864, not -1"),
        (["--keys", "0"], "--keys must be 1 to 1000000, not 0"),
        (["--duration", "601"], "--duration must be 0.1 to 600, not 601"),
        (["--duration", "nan"], "--duration must be 0.1 to 600, not nan"),
        (["--prefix", "k" * 1020], "a key must have 1 to 1024 bytes"),
        (["--server", "ftp://x"], "is not the address of a server"),
    ],
)
def test_bad_input_is_one_line_and_sends_nothing(
    cluster: FakeCluster, capsys: Capture, arguments: list[str], words: str
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert cluster.requests == []


@pytest.mark.parametrize("arguments", [["--workload", "delete"], ["--keys", "many"], ["surplus"]])
def test_what_is_no_argument(capsys: Capture, arguments: list[str]) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert ": error: " in capsys.readouterr().err


def test_no_cluster_at_all(cluster: FakeCluster, capsys: Capture) -> None:
    assert cli.main([*QUICK, "--overseer", "http://127.0.0.1:9", "--timeout", "0.2"]) == 1
    assert "is the cluster running?" in capsys.readouterr().err


def test_refusals_are_counted_and_named(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.refuses["PUT"] = 507
    assert cli.main([*QUICK, "--workload", "put"]) == 1
    captured = capsys.readouterr()
    assert "nothing was acknowledged: Refused (507): it was told to" in captured.err
    header, row, *words = (line.split("\t") for line in captured.out.splitlines())
    figures = dict(zip(header, row, strict=True))
    assert (figures["REQUESTS"], figures["P50 MS"], figures["UNKNOWN"]) == ("0", "–", "0")
    assert [f"{figures['ERRORS']} times: Refused (507): it was told to"] in words
    assert list(cluster.values) == ["other"]


def test_a_write_without_an_answer_has_an_unknown_outcome(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.drops = True
    assert cli.main([*QUICK, "--workload", "put", "--json", "--timeout", "0.4"]) == 1
    figures = json.loads(capsys.readouterr().out)["operations"]["put"]
    assert figures["unknown"] > 0
    assert (figures["requests"], figures["errors"], figures["milliseconds"]) == (0, 0, None)
    assert list(cluster.values) == ["other"], "what may have been written is removed"


def test_keys_that_cannot_be_removed_are_named(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.refuses["DELETE"] = 507
    assert cli.main([*QUICK, "--workload", "get"]) == 1
    error = capsys.readouterr().err
    assert "20 keys may remain; `hanas list --prefix hanas-bench/" in error
    assert error.count("\n") == 1


@contextmanager
def interrupted(when: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C as soon as `when` says so."""

    def press() -> None:
        while not when():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    yield
    presser.join()


def test_it_can_be_ended_early(cluster: FakeCluster, capsys: Capture) -> None:
    with interrupted(lambda: len(requests(cluster, "GET")) > 10):
        assert cli.main([*QUICK, "--duration", "600"]) == 0
    out = capsys.readouterr().out
    assert "ended early, after " in out
    assert out.startswith("OPERATION\t")
    assert list(cluster.values) == ["other"]


def test_ended_before_it_has_measured_it_cleans_up_too(cluster: FakeCluster, capsys: Capture) -> None:
    with interrupted(lambda: len(requests(cluster, "PUT")) > 10):
        assert cli.main([*QUICK, "--keys", "1000000"]) == 1
    assert "stopped before anything was measured" in capsys.readouterr().err
    assert list(cluster.values) == ["other"]


def test_an_end_waits_for_no_answer_that_does_not_come(cluster: FakeCluster, capsys: Capture) -> None:
    cluster.drops = True
    with interrupted(lambda: len(requests(cluster, "PUT")) > 10):
        assert cli.main([*QUICK, "--workload", "put", "--duration", "600"]) == 1
    assert "nothing was acknowledged: no answer came in time" in capsys.readouterr().err


def test_a_terminal_shows_how_far_it_is(cluster: FakeCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([*QUICK, "--duration", "0.6"]) == 0
    captured = capsys.readouterr()
    assert "of 1 s: " in captured.err
    assert "removing the keys" in captured.err
    assert "OPERATION" in captured.out


async def test_progress_tells_of_silence_and_errors() -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        load = Load([client], Workload(seconds=20))
        load.began = load._answered = time.monotonic() - 10
        load.gets.milliseconds.extend([1.0] * 50)
        load.puts.unknown = 2
        words = bench.progress(load)
        assert words.startswith("10 of 20 s: 50 requests, 5/s, 2 errors, no answer for 10.")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (3, 3, "epoch 3 all the time"),
        (3, 4, "the epoch changed from 3 to 4; `hanas takeovers` has the reason"),
        (3, None, "the cluster does not report its epoch"),
    ],
)
async def test_epochs(before: int, after: int | None, words: str, capsys: Capture) -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        load = Load([client], Workload("get"))
        load.ended = load.began + 1
        bench.show(bench.evaluate(load, before, after))
    assert capsys.readouterr().out.splitlines()[-1] == words


def test_percentiles() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, share) for share in (0, 0.5, 0.99, 0.999, 1)] == [1, 51, 100, 100, 100]
    assert percentile([7.0], 0.5) == 7
