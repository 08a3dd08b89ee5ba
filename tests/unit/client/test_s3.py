"""Archives in a bucket: written in parts, read in lines, removed by name."""

import sys
from pathlib import Path

import obstore
import obstore.exceptions
import obstore.store
import pytest

from hanas_client import cli, places, s3

Capture = pytest.CaptureFixture[str]
PLACE = "s3://backups/shop/demo.nightly-20260103000000.hanas"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> obstore.store.MemoryStore:
    """A bucket in memory; `options`: how it was opened."""
    made = obstore.store.MemoryStore()

    def opened(name: str, **options: object) -> obstore.store.MemoryStore:
        assert name == "backups"
        assert options["access_key_id"] == "me"
        return made

    monkeypatch.setattr(obstore.store, "S3Store", opened)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    return made


def names(bucket: obstore.store.MemoryStore) -> set[str]:
    return {one["path"] for chunk in obstore.list(bucket) for one in chunk}


def test_what_is_written_is_read_in_lines(bucket: obstore.store.MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [b"x" * 3000 + b"\n", b"\n", b"short\n", b"without an end"]
    with places.writing(PLACE) as target:
        for line in lines:
            target.write(line)
    assert target.size == sum(map(len, lines))
    monkeypatch.setattr(s3, "_READ_BYTES", 100)
    with places.reading(PLACE) as source:
        assert list(source) == lines


def test_an_export_that_fails_leaves_no_object(bucket: obstore.store.MemoryStore) -> None:
    def fail() -> None:
        with places.writing(PLACE) as target:
            target.write(b"x" * 100)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(bucket) == set()


def test_the_latest_of_a_series_are_kept(bucket: obstore.store.MemoryStore) -> None:
    series = [f"shop/demo.nightly-2026010{day}000000.hanas" for day in (1, 2, 3)]
    for name in (*series, "shop/demo.other-20250101000000.hanas", "shop/deep/demo.nightly-20250101000000.hanas", "x"):
        obstore.put(bucket, name, b"")
    assert places.prune(PLACE, 2) == ["demo.nightly-20260101000000.hanas"]
    assert names(bucket) & set(series) == set(series[1:])
    assert len(names(bucket)) == 5
    top = "s3://backups/y-20260102000000.hanas"
    obstore.put(bucket, "y-20260101000000.hanas", b"")
    obstore.put(bucket, "y-20260102000000.hanas", b"")
    assert places.prune(top, 1) == ["y-20260101000000.hanas"]
    assert "y-20260102000000.hanas" in names(bucket)


def test_what_is_wrong_with_a_place_is_told(
    bucket: obstore.store.MemoryStore, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    assert cli.main(["restore", str(tmp_path / "new"), "s3://backups"]) == 2
    assert "s3://backups: must be s3://BUCKET/KEY" in capsys.readouterr().err
    assert cli.main(["restore", str(tmp_path / "new"), PLACE]) == 1
    assert f"hanas: {PLACE}: Object at location" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert cli.main(["restore", str(tmp_path / "new"), PLACE]) == 1
    assert "pip install 'hanas[s3]'" in capsys.readouterr().err


REFUSED = (
    "The operation lacked the necessary privileges to complete for path shop/x: Error performing PUT http://s3/x - "
    "Server returned non-2xx status code: 403 Forbidden: <?xml version='1.0'?>\n"
    "<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message></Error>"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            obstore.exceptions.PermissionDeniedError(REFUSED),
            f"hanas: {PLACE}: the service answers SignatureDoesNotMatch: Check your key; check AWS_ACCESS_KEY_ID",
        ),
        (FileNotFoundError("<Error><Code>NoSuchBucket</Code></Error>"), "the service answers NoSuchBucket\n"),
        (obstore.exceptions.GenericError("no route to host\n\nDebug source: …"), f"{PLACE}: no route to host\n"),
    ],
)
def test_what_the_service_answers_is_told_without_the_request(
    error: Exception, told: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(obstore.store, "S3Store", refuse)
    (tmp_path / "new").mkdir()
    assert cli.main(["restore", str(tmp_path / "new"), PLACE]) == 1
    assert told in capsys.readouterr().err


def test_the_variables_of_the_environment() -> None:
    given = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "AWS_REGION": "",
    }
    settings = s3._settings(given)
    assert (settings["access_key_id"], settings["secret_access_key"]) == ("a", "b")
    assert (settings["endpoint"], settings["region"]) == ("http://s3:9000", "us-east-1")
    assert s3._settings({"AWS_REGION": "eu-1"})["region"] == "eu-1"
    assert "endpoint" not in s3._settings({})
