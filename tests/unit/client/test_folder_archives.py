"""`hanas export --folder` and `hanas restore`: from one folder to another, whole or not at all."""

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from hanas_client import cli, folder_export, places, restore
from hanas_core.log.positions import NOWHERE
from hanas_core.members import cluster
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.witness import Witness
from hanas_core.state.keyspace import Segment
from hanas_core.upkeep import fsck
from hanas_core.upkeep.archive import Item, read_items
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.restoring import Restoration
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Missing
from hanas_core.volume.posix import PosixFolder

Capture = pytest.CaptureFixture[str]
FOLDER_ID = "ab" * 16
ITEMS = [
    Item("a", b"1", "text/plain", "1-1", create=2, mod=2, generation=1),
    Item("b", b"\0\xff", version="1-2", create=3, mod=3, generation=1),
]


class LivingMain:
    """A main that has written `ITEMS`, and shows itself whenever somebody waits for it."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.folder = PosixFolder(path)
        restoration = run(Restoration.begin(self.folder, FOLDER_ID, 2 << 20, "", time.monotonic))
        run(restoration.add([Item(item.key, item.value, item.content_type) for item in ITEMS]))
        self._claim, self._committed = restoration._claim, restoration._log.committed or NOWHERE
        self._counter = 0
        self.show()

    def show(self) -> None:
        self._counter += 1
        claim, url = self._claim, "http://a:1"
        slot = run(Registry(self.folder).slot_of(claim.member, claim.incarnation, url, url))
        block = Presence(
            member=claim.member,
            incarnation=claim.incarnation,
            counter=self._counter,
            advertise_url=url,
            link_url=url,
            logs=(LogPresence(witness=Witness(FOLDER_ID, 1, self._committed)),),
        )
        run(Mailboxes(self.folder).write(Box.PRESENCE, slot, block))


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LivingMain:
    living = LivingMain(tmp_path / "folder")
    monkeypatch.setattr(time, "sleep", lambda _: living.show())
    monkeypatch.setenv("HANAS_SEGMENT_BYTES", str(2 << 20))
    return living


def archive_of(main: LivingMain, tmp_path: Path, *words: str, name: str = "archive") -> Path:
    archive = tmp_path / name
    assert cli.main(["export", "--folder", str(main.folder.path), str(archive), *words]) == 0
    return archive


def new(tmp_path: Path) -> Path:
    path = tmp_path / "new"
    path.mkdir()
    return path


def restored(path: Path) -> tuple[str, int]:
    """The id of a folder and its number of keys, when it is sound and nothing was left behind."""
    folder = PosixFolder(path)
    report = run(fsck.check(folder))
    assert report.errors == 0
    assert sorted(os.listdir(path)) == sorted([*names.DIRECTORIES, names.CLUSTER])
    return run(cluster.identify(folder)).folder_id, report.keys


def test_a_folder_is_exported_and_restored(main: LivingMain, tmp_path: Path, capsys: Capture) -> None:
    archive = archive_of(main, tmp_path, "--report", str(tmp_path / "report"))
    with archive.open("rb") as lines:
        assert list(read_items(lines)) == ITEMS
    report = json.loads((tmp_path / "report").read_bytes())
    expected = {"keys": 2, "valueBytes": 3, "revision": 2, "epoch": 1, "folderId": FOLDER_ID, "removed": 0}
    assert expected.items() <= report.items()
    assert report["size"] == archive.stat().st_size
    assert report["checksum"] in archive.read_text(encoding="utf-8")
    path = new(tmp_path)
    assert cli.main(["restore", str(path), str(archive)]) == 0
    assert "has 2 keys and the id" in capsys.readouterr().out
    assert restored(path)[1] == 2
    assert restored(path)[0] != FOLDER_ID


def test_the_archive_goes_to_standard_output(main: LivingMain, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["export", "--folder", str(main.folder.path)]) == 0
    assert list(read_items(capfdbinary.readouterr().out.splitlines(keepends=True))) == ITEMS


def test_the_latest_archives_of_a_series_are_kept(main: LivingMain, tmp_path: Path) -> None:
    for name in ("nightly-20260101000000.hanas", "nightly-20260102000000.hanas", "other-20260101000000.hanas", "x"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".nightly-20260101000000.hanas.ab.part").write_bytes(b"")
    before = set(os.listdir(tmp_path)) - {"nightly-20260101000000.hanas", ".nightly-20260101000000.hanas.ab.part"}
    last = archive_of(main, tmp_path, "--keep", "2", name="nightly-20260103000000.hanas")
    assert set(os.listdir(tmp_path)) == before | {last.name}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--folder", "F", "--keep", "2", "archive"], "with the date at the end"),
        (["--folder", "F", "--prefix", "a"], "--prefix is for exports through the cluster"),
        (["--keep", "2"], "--keep and --report need --folder"),
        (["--folder", "F", "--keep", "0"], "must be at least 1"),
    ],
)
def test_a_wrong_export_says_so(words: list[str], told: str, capsys: Capture) -> None:
    assert cli.main(["export", *words]) == 2
    assert told in capsys.readouterr().err


def test_without_a_main_there_is_no_export(
    main: LivingMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(folder_export, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert cli.main(["export", "--folder", str(main.folder.path), str(tmp_path / "archive")]) == 1
    assert "no main has shown itself there" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_a_segment_that_compaction_removes_is_looked_for_anew(
    main: LivingMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    hold, times = FolderCopy._hold, 1

    async def removed(copy: FolderCopy, segment: Segment) -> None:
        nonlocal times
        if times:
            times -= 1
            raise Missing("segments/0000000001-000001: no such file")
        await hold(copy, segment)

    monkeypatch.setattr(FolderCopy, "_hold", removed)
    archive_of(main, tmp_path)
    times = 1000
    assert cli.main(["export", "--folder", str(main.folder.path), str(tmp_path / "second")]) == 1
    assert "a segment was removed before it could be opened" in capsys.readouterr().err


def test_an_archive_that_is_not_whole_restores_nothing(main: LivingMain, tmp_path: Path, capsys: Capture) -> None:
    archive, path = archive_of(main, tmp_path), new(tmp_path)
    whole = archive.read_bytes()
    for content, told in (
        (whole[:-10], "line 4 is not"),
        (whole[: whole.rindex(b"{")], "incomplete"),
        (whole.replace(b'"MQ=="', b'"Mg=="'), "the archive is damaged"),
        (b"PK", "line 1 is not"),
    ):
        archive.write_bytes(content)
        assert cli.main(["restore", str(path), str(archive)]) == 1
        assert told in capsys.readouterr().err
        assert os.listdir(path) == []


def test_only_an_empty_folder_is_restored(main: LivingMain, tmp_path: Path, capsys: Capture) -> None:
    archive, path = archive_of(main, tmp_path), new(tmp_path)
    (path / "lost+found").mkdir()
    (path / "photo.jpg").write_bytes(b"")
    assert cli.main(["restore", str(path), str(archive)]) == 1
    assert "is not empty (photo.jpg): restore into an empty folder" in capsys.readouterr().err
    assert cli.main(["restore", str(main.folder.path), str(archive)]) == 1
    assert "is a HANas folder already, and is left as it is" in capsys.readouterr().err
    assert cli.main(["restore", str(path), str(archive), "--folder-id", "X"]) == 2


def test_it_is_repeated_with_the_id_of_the_folder(main: LivingMain, tmp_path: Path, capsys: Capture) -> None:
    archive, path, report = archive_of(main, tmp_path), new(tmp_path), tmp_path / "report"
    words = ["restore", str(path), str(archive), "--report", str(report), "--folder-id"]
    assert cli.main([*words, "cd" * 16]) == 0
    assert json.loads(report.read_bytes())["keys"] == 2
    archive.unlink()
    assert cli.main([*words, "cd" * 16, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["keys"] is None
    assert cli.main([*words, "cd" * 16]) == 0
    assert "was restored before, as the folder cdcd" in capsys.readouterr().out
    assert cli.main([*words, "ef" * 16]) == 1
    assert "it is already the HANas folder cdcd" in capsys.readouterr().err
    assert restored(path) == ("cd" * 16, 2)


@pytest.mark.parametrize("moves", range(9))
def test_whatever_moment_it_is_cut_off_at_it_is_repeated(
    main: LivingMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    archive, path = archive_of(main, tmp_path), new(tmp_path)
    rename, left = Path.rename, moves

    def cut_off(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        assert cli.main(["restore", str(path), str(archive), "--folder-id", FOLDER_ID]) == 1
    assert not (path / names.CLUSTER).exists(), "nobody uses the folder yet"
    if moves > 1:
        assert cli.main(["restore", str(path), str(archive)]) == 1, "whose archive is it?"
    assert cli.main(["restore", str(path), str(archive), "--folder-id", FOLDER_ID]) == 0
    assert restored(path) == (FOLDER_ID, 2)


@pytest.mark.parametrize("size", ["4096", "3000000", "many"])
def test_a_wrong_segment_size_says_so(
    main: LivingMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, capsys: Capture
) -> None:
    archive, path = archive_of(main, tmp_path), new(tmp_path)
    monkeypatch.setenv("HANAS_SEGMENT_BYTES", size)
    assert cli.main(["restore", str(path), str(archive)]) == 2
    assert f"HANAS_SEGMENT_BYTES={size}: must be a multiple of 4096" in capsys.readouterr().err
    assert os.listdir(path) == []


def test_large_archives_are_written_in_pieces(
    main: LivingMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "_PIECE_KEYS", 1)
    path = new(tmp_path)
    assert cli.main(["restore", str(path), str(archive_of(main, tmp_path))]) == 0
    assert restored(path)[1] == 2


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with places.writing(str(tmp_path / "archive")) as target:
            target.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []
    with places.writing("/dev/null") as target:
        target.write(msgspec.json.encode({}))
    assert target.size == 2
