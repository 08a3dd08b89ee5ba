"""Whether a member notices that its folder is changed under it, file by file."""

from collections.abc import Callable

import msgspec
import pytest

from hanas_core.log.claimfile import Claim, Pointer
from hanas_core.log.claims import write_pointer
from hanas_core.log.manifests import Cut
from hanas_core.log.positions import Position
from hanas_core.log.seals import SealWatch
from hanas_core.members import cluster
from hanas_core.members.registry import Registry
from hanas_core.state.judge import Write
from hanas_core.upkeep.custody import Custody, Reliance
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Displaced, FolderUnavailable, Missing
from tests.unit.core.memory_folder import Content, Directory, MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Main, bare_folder, serve, win

ALL_TURNS = 6
"""Checks after which everything was looked at once."""


class Scene:
    """A main, one more member, and its custody."""

    def __init__(self) -> None:
        folder = bare_folder()
        run(cluster.initialise(folder, FOLDER_ID))
        run(Registry(folder).slot_of("a", "a" * 32, "http://a", "http://a"))
        self.main: Main = serve(folder, 1)
        self.main.write(Write(b"k", b"v"))
        self.folder: MemoryFolder = folder.other()
        self.custody = Custody(self.folder, FOLDER_ID)

    def backup(self, **more: object) -> Reliance:
        applied = self.main.log.committed
        assert applied is not None
        assert self.main.log.proof is not None
        tail = applied._replace(offset=self.main.log.proof.offset)
        return changed(Reliance("a", 0, self.main.claim, tail), **more)

    def serving(self, **more: object) -> Reliance:
        watch = run(SealWatch.on(self.main.folder, 1))
        held = (*self.main.log.files, watch.held)
        return changed(Reliance("a", 0, self.main.claim, held=held, proof=self.main.log.proof), **more)

    def check(self, reliance: Reliance) -> list[bool]:
        """Look at everything in its turn."""
        return [run(self.custody.check(reliance)) for _ in range(ALL_TURNS)]

    def directory(self, name: str) -> tuple[Directory, str]:
        return self.folder.disk.parent(name)

    def remove(self, name: str) -> None:
        directory, base = self.directory(name)
        del directory.visible[base]

    def replace(self, name: str) -> None:
        """Put a copy of a file under its name."""
        directory, base = self.directory(name)
        content = self.folder.disk.content(name)
        directory.visible[base] = Content(bytearray(content.visible), content.durable)


def changed(reliance: Reliance, **more: object) -> Reliance:
    return reliance._replace(**more)  # type: ignore[arg-type]  # what a test says, it means


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("who", [Scene.backup, Scene.serving])
def test_nothing_is_said_of_a_folder_that_is_as_it_was(scene: Scene, who: Callable[[Scene], Reliance]) -> None:
    assert scene.check(Reliance("a", 0)) == [False] * ALL_TURNS
    assert scene.check(who(scene)) == [False] * ALL_TURNS
    scene.main.write(Write(b"l", b"v"))
    assert scene.check(who(scene)) == [False] * ALL_TURNS


@pytest.mark.parametrize("who", [Scene.backup, Scene.serving])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (names.CLUSTER, "cluster.json is gone"),
        (names.claim(1), "claims/0000000001"),
        (names.segment(1, 1), "segments/0000000001-000001"),
    ],
)
def test_what_was_removed_is_told_by_its_name(
    scene: Scene, who: Callable[[Scene], Reliance], name: str, words: str
) -> None:
    reliance = who(scene)
    scene.remove(name)
    for _ in range(2):
        with pytest.raises(Displaced, match=words):
            run(scene.custody.check(reliance))


@pytest.mark.parametrize("name", [names.claim(1), names.segment(1, 1)])
def test_a_copy_is_not_the_file_into_which_a_main_writes(scene: Scene, name: str) -> None:
    reliance = scene.serving()
    scene.replace(name)
    with pytest.raises(Displaced, match=f"{name} was replaced by another file"):
        run(scene.custody.check(reliance))
    assert scene.check(scene.backup()) == [False] * ALL_TURNS


@pytest.mark.parametrize("who", [Scene.backup, Scene.serving])
def test_an_older_copy_in_the_same_file_is_told(scene: Scene, who: Callable[[Scene], Reliance]) -> None:
    reliance = who(scene)
    assert scene.main.log.proof is not None
    scene.folder.disk.spoil(names.segment(1, 1), scene.main.log.proof.offset, bytes(100))
    with pytest.raises(Displaced, match=f"{names.segment(1, 1)} was overwritten: what was"):
        run(scene.custody.check(reliance))


def test_a_proof_of_a_segment_that_was_left_meanwhile_is_no_matter(scene: Scene) -> None:
    reliance = scene.serving()
    assert reliance.proof is not None
    assert scene.check(reliance._replace(proof=reliance.proof._replace(name=names.segment(1, 9)))) == [False] * 6
    assert scene.check(reliance._replace(proof=None)) == [False] * ALL_TURNS


def test_a_tail_of_which_no_batch_is_known_is_only_looked_up(scene: Scene) -> None:
    assert scene.check(scene.backup(tail=Position(1, 1, 0))) == [False] * ALL_TURNS


def test_another_folder_is_told(scene: Scene) -> None:
    with pytest.raises(Displaced, match="another volume is mounted here"):
        run(Custody(scene.folder, "0" * 32).check(scene.backup()))


def test_a_cached_look_up_of_the_folders_id_is_asked_again(scene: Scene) -> None:
    scene.folder.stale.add(names.CLUSTER)
    assert not run(scene.custody.check(scene.backup()))


def test_a_claim_of_another_folder_is_told_and_another_claim_of_this_one_is_no_matter(scene: Scene) -> None:
    claim: Claim = scene.main.claim
    assert not run(scene.custody.check(scene.backup(claim=msgspec.structs.replace(claim, nonce="0" * 32))))
    elsewhere = msgspec.structs.replace(claim, folder_id="0" * 32)
    with pytest.raises(Displaced, match=f"is a claim of the folder {FOLDER_ID}, not of {'0' * 32}"):
        run(scene.custody.check(scene.backup(claim=elsewhere)))


def test_a_segment_may_be_gone_once_a_later_epoch_has_served(scene: Scene) -> None:
    reliance = scene.backup()
    scene.remove(names.segment(1, 1))
    win(scene.folder, 2, "b")
    with pytest.raises(Displaced, match="the end of the log, was removed"):
        run(scene.custody.check(reliance))
    run(write_pointer(scene.folder, 2, Pointer(names.manifest(2, "m"), 4096, 0)))
    assert not run(scene.custody.check(reliance))


def test_where_every_claim_is_gone_the_end_of_the_log_is_missed_all_the_same(scene: Scene) -> None:
    scene.remove(names.segment(1, 1))
    scene.remove(names.claim(1))
    with pytest.raises(Missing):
        run(scene.custody.check(scene.backup(claim=None)))


def test_a_mailbox_that_was_replaced_is_told_once(scene: Scene) -> None:
    scene.check(scene.backup())
    scene.replace(f"{names.MAILBOXES}/answers")
    assert sorted(scene.check(scene.backup())) == [False] * 5 + [True]
    assert scene.check(scene.backup()) == [False] * ALL_TURNS


@pytest.mark.parametrize("name", [f"{names.MAILBOXES}/canaries", names.member(0), names.segment(1, 7)])
def test_what_else_is_missing_is_told_until_it_is_back(scene: Scene, name: str) -> None:
    reliance = scene.backup(older=(Cut(1, 7, 5000),))
    directory, base = scene.directory(name)
    run(scene.folder.create(names.segment(1, 7), bytes(10)))
    kept = directory.visible.pop(base)
    with pytest.raises(Missing, match=name):
        scene.check(reliance)
    with pytest.raises(Missing, match=name):
        run(scene.custody.check(reliance))
    directory.visible[base] = kept
    assert scene.check(reliance) == [False] * ALL_TURNS


def test_older_segments_are_looked_at_one_after_the_other(scene: Scene) -> None:
    reliance = scene.backup(older=(Cut(1, 1, 5000), Cut(1, 8, 5000)))
    scene.check(reliance)
    with pytest.raises(Missing, match=names.segment(1, 8)):
        scene.check(reliance)


def test_a_mailbox_that_is_cut_short_does_not_take_the_place_of_another(scene: Scene) -> None:
    scene.check(scene.backup())
    scene.replace(f"{names.MAILBOXES}/probes")
    del scene.folder.disk.content(f"{names.MAILBOXES}/probes").visible[5000:]
    with pytest.raises(FolderUnavailable, match="0 of 4096 bytes"):
        scene.check(scene.backup())


def test_another_members_registration_in_its_place_is_told(scene: Scene) -> None:
    with pytest.raises(FolderUnavailable, match="members/000 was the registration of b and is now that of a"):
        scene.check(scene.backup(member="b"))


def test_what_is_not_known_is_not_displaced(scene: Scene) -> None:
    for part in (names.CLUSTER, names.claim(1), names.segment(1, 1)):
        scene.folder.at("open", part, before=FolderUnavailable("input/output error"))
        with pytest.raises(FolderUnavailable, match="input/output error"):
            run(scene.custody.check(scene.backup()))
