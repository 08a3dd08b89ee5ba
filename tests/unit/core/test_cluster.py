"""A folder gets its identity once, explicitly, and is never taken for another or for an empty one."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.members.cluster import FORMAT, Cluster, identify, initialise
from hanas_core.members.mailboxes import SLOTS, Box
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable, NotInitialised, WrongFolder
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import FOLDER_ID, win


def with_identity(cluster: dict[str, object]) -> MemoryFolder:
    folder = MemoryFolder()
    run(folder.create(names.CLUSTER, msgspec.json.encode(cluster).ljust(BLOCK_BYTES)))
    return folder


def whole(folder: MemoryFolder) -> bool:
    sizes = [len(folder.disk.content(f"mailboxes/{box}").durable) for box in Box]
    return sizes == [SLOTS * BLOCK_BYTES] * len(Box) and set(run(folder.names(""))) == {
        names.CLUSTER,
        *names.DIRECTORIES,
    }


def test_an_empty_folder_is_initialised_and_survives_a_crash() -> None:
    folder = MemoryFolder()
    cluster = run(initialise(folder))
    assert names.is_nonce(cluster.folder_id)
    folder.disk.crash()
    assert run(identify(folder.other(), cluster.folder_id)) == cluster
    assert run(initialise(folder)) == cluster
    assert whole(folder)


def test_a_given_id_is_taken() -> None:
    assert run(initialise(MemoryFolder(), "f" * 32)) == Cluster("f" * 32)


def test_the_identity_comes_last() -> None:
    folder = MemoryFolder()
    run(initialise(folder))
    links = folder.log("link")
    assert links[-1] == f"link {names.CLUSTER}"
    assert len(links) == len(Box) + 1
    before = folder.log()[: folder.log().index(links[-1])]
    assert "sync_directory mailboxes" in before
    assert "sync_directory " in before


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1), max_size=80))
def test_two_at_once_agree(turns: list[int]) -> None:
    folder = MemoryFolder(suspends=True)
    one, two = interleave([initialise(folder), initialise(folder.other(suspends=True))], turns)
    assert one == two
    assert whole(MemoryFolder(folder.disk))


def test_one_that_is_overtaken_anywhere_finds_the_others_identity_and_its_claims() -> None:
    def attempt(nth: int) -> bool:
        folder = MemoryFolder()
        others: list[Cluster] = []

        def overtake() -> None:
            others.append(run(initialise(folder.other())))
            if others:
                win(folder.other(), 1)

        folder.at(nth=nth, before=overtake)
        cluster = run(initialise(folder))
        assert others in ([], [cluster])
        return not others

    at_every_operation(attempt)


def test_it_is_resumed_after_a_death_and_a_crash_at_any_operation() -> None:
    def attempt(nth: int) -> bool:
        folder = MemoryFolder()
        folder.at(nth=nth, after=Died())
        try:
            run(initialise(folder))
            return True
        except Died:
            folder.disk.crash()
        again = folder.other()
        cluster = run(initialise(again))
        again.disk.crash()
        assert run(identify(again)) == cluster
        assert whole(again)
        return False

    at_every_operation(attempt)


def test_a_folder_that_holds_something_else_is_refused() -> None:
    folder = MemoryFolder()
    run(folder.create("photos", b""))
    with pytest.raises(WrongFolder, match="not empty"):
        run(initialise(folder))
    assert run(folder.names("")) == ["photos"]


def test_what_file_systems_put_into_a_volume_is_nothing() -> None:
    folder = MemoryFolder()
    run(folder.create("lost+found", b""))
    run(folder.create(".snapshot", b""))
    run(initialise(folder))


def test_claims_without_an_identity_mean_damage() -> None:
    folder = MemoryFolder()
    run(initialise(folder, FOLDER_ID))
    win(folder, 1)
    run(folder.remove(names.CLUSTER))
    with pytest.raises(WrongFolder, match="damaged"):
        run(initialise(folder))


def test_a_folder_without_identity_is_never_an_empty_cluster() -> None:
    with pytest.raises(NotInitialised, match="hanas init"):
        run(identify(MemoryFolder()))


def test_another_id_another_format_or_rubbish_is_refused() -> None:
    folder = with_identity({"folderId": "a" * 32})
    assert run(identify(folder)) == Cluster("a" * 32)
    for wanted in (identify, initialise):
        with pytest.raises(WrongFolder, match="another volume"):
            run(wanted(folder, "b" * 32))
    with pytest.raises(WrongFolder, match=f"format {FORMAT + 1}"):
        run(identify(with_identity({"folderId": "a" * 32, "format": FORMAT + 1})))
    with pytest.raises(WrongFolder, match="cannot be read"):
        run(identify(with_identity({"folder": "?"})))
    for odd in (b'{"folderId":"\xff"}', b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}"):
        folder.disk.spoil(names.CLUSTER, 0, odd)
        with pytest.raises(WrongFolder, match="cannot be read"):
            run(identify(folder))


def test_an_identity_that_cannot_be_read_is_not_a_missing_one() -> None:
    folder = with_identity({"folderId": "a" * 32})
    folder.at("read", before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        run(identify(folder))
