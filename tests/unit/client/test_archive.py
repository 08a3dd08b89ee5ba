"""Archives: what goes out comes in again, and one that is not whole says so."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_client import cli
from hanas_client.archive import BadArchive, Item, read_items
from tests.unit.client.fake_cluster import FakeCluster, running

HEAD = b'{"hanas":1}\n'


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with running() as cluster:
        monkeypatch.setenv("OVERSEER_IP", cluster.url)
        yield cluster


def test_what_is_exported_is_imported_again(cluster: FakeCluster, tmp_path: Path) -> None:
    archive = str(tmp_path / "archive")
    for number in range(50):
        assert cli.main(["put", f"k/{number:02}", f"value {number}", "--content-type", "text/plain"]) == 0
    assert cli.main(["put", "other", "\n\x01ä"]) == 0
    before = dict(cluster.values)
    assert cli.main(["export", archive]) == 0
    lines = [json.loads(line) for line in Path(archive).read_text(encoding="utf-8").splitlines()]
    assert [line["key"] for line in lines[1:-1]] == sorted(before)
    assert (lines[0], lines[-1]["keys"]) == ({"hanas": 1, "prefix": ""}, 51)
    cluster.values.clear()
    assert cli.main(["import", archive]) == 0
    assert {key: (value, kind) for key, (value, _, kind) in cluster.values.items()} == {
        key: (value, kind) for key, (value, _, kind) in before.items()
    }


def test_a_part_and_keys_that_are_there_already(
    cluster: FakeCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "archive")
    for key in ("a/1", "a/2", "b"):
        cli.main(["put", key, "old"])
    assert cli.main(["export", archive, "--prefix", "a/"]) == 0
    cli.main(["put", "a/1", "new"])
    cli.main(["delete", "a/2"])
    assert cli.main(["import", "--keep", archive]) == 0
    assert {key: value for key, (value, _, _) in cluster.values.items()} == {"a/1": b"new", "a/2": b"old", "b": b"old"}
    errors = capfd.readouterr().err
    assert "1 existing keys are unchanged" in errors
    assert "imported 2 keys, 6 bytes" in errors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "incomplete: 0 keys"),
        (b"PK\3\4", "line 1 is not"),
        (b'{"hanas":2}\n', "format 2"),
        (HEAD + b'{"key":"a","value":"eA=="}\n', "its last line says nothing"),
        (HEAD + b'{"key":"a","value":"eA=="}\n{"keys":2,"bytes":2}\n', "its last line says 2 keys"),
        (HEAD + b'{"key":"a","value":"?"}\n', "line 2 is not"),
        (HEAD + b'{"keys":0,"bytes":0}\n{}\n', "line 3: something follows"),
    ],
)
def test_what_is_no_whole_archive_says_so(content: bytes, words: str) -> None:
    with pytest.raises(BadArchive, match=words):
        list(read_items(io.BytesIO(content)))


def test_a_key_that_is_no_text_cannot_be_imported(
    cluster: FakeCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(HEAD + b'{"key":"","keyBase64":"/wBh","value":"eA=="}\n{"keys":1,"bytes":1}\n')
    assert cli.main(["import", str(archive)]) == 1
    assert "the key b'\\xff\\x00a' is no UTF-8" in capfd.readouterr().err
    assert cluster.values == {}


def test_an_archive_by_hand() -> None:
    archive = HEAD + b'{"key":"a","value":"eA=="}\n{"keys":1,"bytes":1}\n'
    assert list(read_items(io.BytesIO(archive))) == [Item("a", b"x")]
