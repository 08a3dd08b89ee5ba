"""`hanas encryption-key new`, and the commands that read or write an encrypted folder."""

import json
import stat
from pathlib import Path

import pytest

from hanas_client import cli
from hanas_core.volume import names
from hanas_core.volume.encryption import parse
from hanas_core.volume.posix import PosixFolder
from tests.unit.client.folders import write_keys
from tests.unit.core.scenery import forge

Capture = pytest.CaptureFixture[str]
VARIABLE = "HANAS_ENCRYPTION_KEY_FILE"


@pytest.fixture
def key_file(tmp_path: Path, capsys: Capture) -> Path:
    made = tmp_path / "key"
    assert cli.main(["encryption-key", "new", str(made)]) == 0
    capsys.readouterr()
    return made


@pytest.fixture
def path(tmp_path: Path, key_file: Path) -> Path:
    """An encrypted folder whose main wrote some keys."""
    place = tmp_path / "folder"
    place.mkdir()
    folder = PosixFolder(place)
    folder.keys = parse(key_file.read_text().split())
    write_keys(folder, range(14))
    return place


def test_a_new_file_holds_one_key_for_its_owner_and_is_never_replaced(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "key"
    assert cli.main(["encryption-key", "new", str(file)]) == 0
    content = file.read_text()
    key = parse(content.split()).current
    assert capsys.readouterr().out == f"{file} holds the key {key}; keep a copy apart from the folder\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cli.main(["encryption-key", "new", str(file)]) == 1
    assert capsys.readouterr().err == f"hanas: {file}: File exists\n"
    assert file.read_text() == content
    assert cli.main(["encryption-key", "new", "--json", str(file)]) == 2


def test_for_machines(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "key"
    assert cli.main(["encryption-key", "--json", "new", str(file)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"file": str(file), "key": parse(file.read_text().split()).current}


def test_fsck_without_the_key_and_with_it(
    path: Path, key_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["fsck", str(path)]) == 0
    key = parse(key_file.read_text().split()).current
    out = capsys.readouterr().out
    assert f"note: {names.segment(1, 1)} at 0: encrypted with the key {key}: its contents are not checked" in out
    assert "0 errors, 1 notes: 0 keys in 1 segments, 1 batches" in out
    monkeypatch.setenv(VARIABLE, str(key_file))
    assert cli.main(["fsck", str(path)]) == 0
    assert capsys.readouterr().out.startswith("0 errors, 0 notes: 14 keys in 1 segments, 1 batches")


def test_a_copy_that_shall_be_whole_is_read_with_the_key(
    path: Path, key_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(key_file))
    segment = path / names.segment(1, 1)
    content = bytearray(segment.read_bytes())
    forge(content)
    segment.write_bytes(content)
    command = ["adopt", str(path), "--check"]
    assert cli.main(command) == 1
    told = capsys.readouterr().err
    assert f"error: {names.segment(1, 1)} at " in told
    assert "are not what was encrypted there" in told
    assert "is left as it is, since it is not whole" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"secret\n", "line 1 is no key: 32 bytes in base64 or hexadecimal are expected"),
        (b"\xff", "'utf-8' codec can't decode"),
    ],
)
def test_a_key_file_that_is_none(
    path: Path, key_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    key_file.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(key_file))
    assert cli.main(["fsck", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"hanas: {VARIABLE}={key_file}: {words}")
    assert "secret" not in told
