"""`hanas fsck`: one line for each finding, and an exit code."""

import json
from pathlib import Path

import pytest

from hanas_client import cli
from hanas_core.volume import names
from hanas_core.volume.posix import PosixFolder
from tests.unit.client.folders import write_keys

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder whose main wrote some keys."""
    write_keys(PosixFolder(tmp_path), range(12), range(12, 14))
    return tmp_path


def test_a_good_folder(path: Path, capsys: Capture) -> None:
    assert cli.main(["fsck", str(path)]) == 0
    assert capsys.readouterr().out.startswith("0 errors, 0 notes: 14 keys in 1 segments, 2 batches")


def test_a_bad_one_in_words_and_for_machines(path: Path, capsys: Capture) -> None:
    (path / names.segment(1, 9)).write_bytes(b"")
    (path / names.segment(1, 1)).write_bytes((path / names.segment(1, 1)).read_bytes().replace(b"value", b"VALUE", 1))
    assert cli.main(["fsck", str(path)]) == 1
    output = capsys.readouterr().out
    assert "error: segments/0000000001-000001 at 4096: a damaged batch" in output
    assert "keys: key/00, key/01," in output
    assert "and 2 more" in output
    assert "orphan" in output
    assert cli.main(["fsck", "--quiet", str(path)]) == 1
    assert "orphan" not in capsys.readouterr().out
    assert cli.main(["fsck", "--json", str(path)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert len([finding for finding in document["findings"] if finding["severity"] == "error"]) == 1


def test_what_is_no_folder_of_ours(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["fsck", str(tmp_path / "nowhere")]) == 1
    assert cli.main(["fsck", str(tmp_path)]) == 1
    assert "hanas init" in capsys.readouterr().err
