"""Bad values in the environment of a worker and of an overseer: one line that names the variable, exit code 1."""

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_lab import ports
from hanas_overseer.__main__ import main as overseer
from hanas_worker.__main__ import main as worker

# A program that could not start leaves its sockets to the end of its process.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PORT = "must be a port number from 1 to 65535"
URL = "is no URL; it looks like http://localhost:4000"
SECONDS = "must be a number of seconds from 0.001 to 3600"
OF_BOTH = [
    ("PORT", "eighty", PORT),
    ("PORT", "0", PORT),
    ("PORT", "65536", PORT),
    ("PORT", "³", PORT),
    ("HANAS_SECRET_FILE", "nowhere", "the file cannot be read: No such file or directory"),
    ("HANAS_SECRET_FILE", "empty", "the file is empty; put a secret in its first line"),
    ("HANAS_CLIENT_TOKEN_FILE", ".", "the file cannot be read: Is a directory"),
    ("HANAS_CLIENT_TOKEN_FILE", "latin-1", "the file cannot be read: it is not UTF-8 text"),
    ("HANAS_FOLDER_ID", "my-folder", "must be 16 to 64 lower-case hexadecimal digits"),
    ("HANAS_PRESET", "wan", "must be one of lan, cloud"),
    ("HANAS_KEEPALIVE_INTERVAL", "soon", SECONDS),
    ("HANAS_SUSPECT_AFTER", "nan", SECONDS),
    ("HANAS_FOLDER_TIMEOUT", "0", SECONDS),
    ("HANAS_MOST_PATIENCE", "inf", SECONDS),
    ("HANAS_CONNECTIONS", "many", "must be a number from 1 to 1000000"),
    ("HANAS_CONNECTIONS", "0", "must be a number from 1 to 1000000"),
    ("HANAS_CONNECTIONS", "999999", "allow more files, or fewer connections"),
    ("HANAS_IDLE_SECONDS", "5", "must be a number of seconds from 10 to 86400"),
    ("HANAS_DRAIN_SECONDS", "-1", "must be a number of seconds from 0 to 600"),
    ("HANAS_LOG_LEVEL", "LOUD", "must be one of INFO, DEBUG, WARNING, ERROR, CRITICAL"),
    ("COMMUNICATION_FOLDER", "nowhere", "there is no such directory; mount the volume there, or make it"),
    ("COMMUNICATION_FOLDER", "empty", "there is no such directory; mount the volume there, or make it"),
]
OF_A_WORKER = [
    ("PORT", "64999", "LINK_PORT=65999: must be a port number"),
    ("LINK_PORT", "-1", PORT),
    ("OVERSEER_IP", ",", "OVERSEER_IP is empty: give at least one URL"),
    ("OVERSEER_IP", "ftp://localhost:4000", "must begin with http:// or https://"),
    ("OVERSEER_IP", "http://[::1", URL),
    ("OVERSEER_IP", "http://localhost:port", URL),
    ("OVERSEER_IP", "http://localhost:0", URL),
    ("OVERSEER_IP", "http://", URL),
    ("OVERSEER_IP", "http://local host", URL),
    ("OVERSEER_IP", "http://localhost:4000,localhost:x", URL),
    ("WORKER_ID", "a worker", "must be 1 to 128 letters, digits"),
    ("WORKER_ID", "w" * 129, "must be 1 to 128 letters, digits"),
    ("ADVERTISE_URL", "localhost:3001", "must begin with http:// or https://"),
    ("ADVERTISE_URL", "http://:3001", URL),
    ("LINK_URL", "localhost:4001", "must begin with http:// or https://"),
    ("HANAS_ISOLATION_POLICY", "Leave", "must be one of Stay, StepDown"),
    ("HANAS_VALUE_BYTES", "8M", "must be a number of bytes from 1 to 67108864"),
    ("HANAS_VALUE_BYTES", "0", "must be a number of bytes from 1 to 67108864"),
    ("HANAS_SEGMENT_BYTES", "4096", "must be a number of bytes from 2097152 to 1073741824"),
    ("HANAS_SEGMENT_BYTES", "33554433", "must be a multiple of 4096 and at least twice HANAS_VALUE_BYTES"),
    ("HANAS_SEGMENT_BYTES", "2097152", "must be a multiple of 4096 and at least twice HANAS_VALUE_BYTES"),
]


@pytest.fixture(autouse=True)
def files_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program closes the files of its process when it ends; this process goes on."""
    monkeypatch.setattr(os, "closerange", lambda first, last: None)


@pytest.fixture(scope="module", autouse=True)
def sockets_closed() -> Iterator[None]:
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start in an empty directory, with free ports and nothing else said."""
    for name in [name for name in os.environ if name.startswith(("HANAS_", "LINK_"))]:
        monkeypatch.delenv(name)
    for name in ("COMMUNICATION_FOLDER", "OVERSEER_IP", "WORKER_ID", "ADVERTISE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    (tmp_path / "latin-1").write_bytes("geheimnisträger".encode("latin-1"))
    taken: set[int] = set()
    monkeypatch.setenv("PORT", str(ports.choose(taken)))
    monkeypatch.setenv("LINK_PORT", str(ports.choose(taken)))
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "latin-1"]


@pytest.mark.parametrize(("name", "value", "words"), OF_A_WORKER + OF_BOTH)
def test_a_worker_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, words: str
) -> None:
    if (name, value) == ("PORT", "64999"):
        monkeypatch.delenv("LINK_PORT")
    monkeypatch.setenv(name, value)
    assert worker() == 1
    line = capsys.readouterr().err
    assert line.startswith("hanas-worker: ")
    assert (line.count("\n"), line[-1]) == (1, "\n")
    assert name in line
    assert words in line


@pytest.mark.parametrize(("name", "value", "words"), OF_BOTH)
def test_an_overseer_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    assert overseer() == 1
    line = capsys.readouterr().err
    assert line.startswith("hanas-overseer: ")
    assert (line.count("\n"), line[-1]) == (1, "\n")
    assert f"{name}={value}" in line
    assert words in line


def test_the_log_level_may_be_written_in_lower_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANAS_LOG_LEVEL", "warning")
    monkeypatch.setenv("HANAS_PRESET", "none")
    assert worker() == 1
    assert "HANAS_PRESET=none" in capsys.readouterr().err
