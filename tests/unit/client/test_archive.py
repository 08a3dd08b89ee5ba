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


@pytest.mark.long
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


LEASED = (
    b'{"hanas":1,"storeRevision":9,"leases":[[7,60],[8,5]]}\n'
    b'{"key":"a","value":"eA==","lease":7,"create":2,"mod":3,"generation":2}\n'
    b'{"key":"b","value":"eA=="}\n'
    b'{"key":"c","value":"eA==","lease":7}\n'
    b'{"keys":3,"bytes":3}\n'
)


@pytest.mark.parametrize("there", [{}, {7: 99}])
def test_keys_are_attached_to_their_leases_again(cluster: FakeCluster, tmp_path: Path, there: dict[int, int]) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(LEASED)
    cluster.leases = dict(there)
    assert cli.main(["import", str(archive)]) == 0
    assert cluster.leases == {7: 60} | there, "one without keys is of no use, and one that is there stays as it is"
    assert cluster.attached == {"a": 7, "b": 0, "c": 7}
    assert [path for _, path, _ in cluster.requests if path == "/v1/leases"] == ["/v1/leases"]


def test_a_key_whose_lease_expires_during_an_import_is_gone_with_it(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(LEASED)
    monkeypatch.setattr(cluster, "leases", Expired())
    assert cli.main(["import", str(archive)]) == 0
    assert list(cluster.values) == ["b"]


class Expired(dict[int, int]):
    """Leases that are gone as soon as they are granted."""

    def __setitem__(self, lease: int, ttl: int) -> None:
        pass


def test_a_lease_that_is_missing_or_refused_ends_an_import(
    cluster: FakeCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(LEASED.replace(b"[7,60],", b""))
    assert cli.main(["import", str(archive)]) == 1
    assert "the key 'a' is attached to lease 7, which the archive lacks" in capfd.readouterr().err
    archive.write_bytes(LEASED)
    cluster.refuses["grant"] = 403
    assert cli.main(["import", str(archive)]) == 1
    assert "403" in capfd.readouterr().err
    assert not cluster.values


@pytest.mark.parametrize(
    "head",
    [
        b'{"hanas":1,"leases":[[0,60]]}\n',
        b'{"hanas":1,"leases":[[7,0]]}\n',
        b'{"hanas":1,"leases":[[9223372036854775808,60]]}\n',
        b'{"hanas":1,"leases":[[7,9000000001]]}\n',
        b'{"hanas":1,"storeRevision":0}\n',
    ],
)
def test_numbers_out_of_range_are_no_archive(head: bytes) -> None:
    with pytest.raises(BadArchive, match="line 1 is not"):
        list(read_items([head]))


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
