"""`hanas adopt`: a copy becomes a cluster of its own, unless somebody uses the folder."""

import json
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from hanas_client import cli
from hanas_core.members import cluster
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.witness import Witness
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder

Capture = pytest.CaptureFixture[str]
SHOWN = Presence(
    member="w1", incarnation="1" * 32, counter=1, advertise_url="http://w1:1", link_url="http://w1:2", logs=()
)


@pytest.fixture
def folder(tmp_path: Path) -> PosixFolder:
    folder = PosixFolder(tmp_path)
    run(cluster.initialise(folder))
    return folder


def show(folder: PosixFolder, presence: Presence) -> None:
    slot = run(Registry(folder).slot_of(presence.member, presence.incarnation, "http://w1:1", "http://w1:2"))
    run(Mailboxes(folder).write(Box.PRESENCE, slot, presence))


def test_a_copy_is_adopted(folder: PosixFolder, capsys: Capture) -> None:
    show(folder, SHOWN)
    before = run(cluster.identify(folder)).folder_id
    assert cli.main(["adopt", str(folder.path), "--watch", "0.01", "--json"]) == 0
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert "looking for 0.01 s whether anybody uses the folder" in output.err
    assert (document["formerId"], document["folderId"]) == (before, run(cluster.identify(folder)).folder_id)
    assert before != document["folderId"]
    assert cli.main(["adopt", str(folder.path)]) == 0, "nobody is left to wait for"
    assert document["folderId"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "who"), [({"counter": 2}, "w1"), ({"incarnation": "2" * 32}, "w1"), ({"member": "w2"}, "w2")]
)
def test_a_folder_in_use_is_left_alone(
    folder: PosixFolder, capsys: Capture, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], who: str
) -> None:
    show(folder, SHOWN)
    before = run(cluster.identify(folder))
    monkeypatch.setattr(time, "sleep", lambda _: show(folder, replace(SHOWN, **change)))
    assert cli.main(["adopt", str(folder.path)]) == 1
    assert f"is in use by {who}: stop every worker on it" in capsys.readouterr().err
    assert run(cluster.identify(folder)) == before


def test_a_copy_that_lacks_what_its_members_knew_is_left_alone_where_it_shall_be_whole(
    folder: PosixFolder, capsys: Capture
) -> None:
    before = run(cluster.identify(folder))
    knew = LogPresence(witness=Witness(before.folder_id, claim=1))
    show(folder, replace(SHOWN, logs=(knew,)))
    command = ["adopt", str(folder.path), "--watch", "0.01"]
    assert cli.main([*command, "--check"]) == 1
    output = capsys.readouterr().err
    assert "error: claims/0000000001: missing: a member has seen it" in output
    assert "is left as it is, since it is not whole: take another copy" in output
    assert run(cluster.identify(folder)) == before
    assert cli.main(command) == 0, "whoever asks for it accepts the loss"
    assert cli.main([*command, "--check"]) == 0


def test_what_is_no_folder_of_ours(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["adopt", str(tmp_path)]) == 1
    assert "it is not initialised" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e400", "soon"])
def test_nobody_adopts_without_a_look(folder: PosixFolder, capsys: Capture, seconds: str) -> None:
    show(folder, SHOWN)
    before = run(cluster.identify(folder))
    assert cli.main(["adopt", str(folder.path), "--watch", seconds]) == 2
    assert "--watch" in capsys.readouterr().err
    assert run(cluster.identify(folder)) == before
