"""What dead processes left is found, and nothing that a living one may still use."""

from hanas_core.log.claimfile import POINTER_OFFSET
from hanas_core.upkeep.leftovers import Manifests, Patience, momentary_names, temporary_names
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, incarnation, serve, win

A, B = incarnation("a"), incarnation("b")
OF_A, OF_B = names.temporary("a", A, "1" * 32), names.temporary("b", B, "2" * 32)
REFRESH, CHECK = f"{names.CLAIMS}/.refresh-{'3' * 32}", f".check-{'4' * 32}"
SILLY = f"{names.SEGMENTS}/.nfs00000000000000210000000f"


def with_files(*files: str) -> MemoryFolder:
    folder = bare_folder()
    for name in files:
        run(folder.create(name, b""))
    return folder


def test_temporary_files_and_momentary_names_are_found_and_nothing_else() -> None:
    other = [names.claim(1), f"{names.TEMPORARY}/strange", ".hidden", f"{names.SEGMENTS}/.nfs0001"]
    folder = with_files(OF_A, REFRESH, CHECK, SILLY, *other)
    assert run(temporary_names(folder)) == [OF_A]
    assert sorted(run(momentary_names(folder))) == sorted([REFRESH, CHECK, SILLY])


def test_what_nobody_lives_for_is_due_after_the_whole_time() -> None:
    patience = Patience(60.0)
    assert patience.due(100.0, [OF_A, OF_B, REFRESH], {A}) == []
    assert patience.due(159.9, [OF_A, OF_B, REFRESH], {A}) == []
    assert patience.due(160.0, [OF_A, OF_B, REFRESH], {A}) == [OF_B, REFRESH]


def test_a_sign_of_life_and_a_new_name_begin_the_time_anew() -> None:
    patience = Patience(60.0)
    assert patience.due(0.0, [OF_A], set()) == []
    assert patience.due(59.0, [OF_A], {A}) == []
    assert patience.due(61.0, [OF_A, OF_B], set()) == []
    assert patience.due(121.0, [OF_A, OF_B], {B}) == [OF_A]
    assert patience.due(130.0, [], set()) == []
    assert patience.due(131.0, [OF_A], set()) == [], "it was gone in between"


def unfinished(folder: MemoryFolder, epoch: int, sign: str) -> str:
    name = names.manifest(epoch, sign * 32)
    run(folder.create(name, b""))
    return name


def test_manifests_of_earlier_epochs_that_no_claim_points_to_are_found() -> None:
    folder = bare_folder()
    serve(folder, 1)
    win(folder, 2, "b")
    serve(folder, 3)
    loser, never = unfinished(folder, 1, "c"), unfinished(folder, 2, "d")
    unfinished(folder, 3, "e")
    unfinished(folder, 4, "f")
    run(folder.create(f"{names.MANIFESTS}/strange", b""))
    manifests = Manifests()
    assert run(manifests.unnamed(folder, 3)) == [never, loser]
    assert not manifests.all_named
    for name in (never, loser):
        run(folder.remove(name))
    folder.operations.clear()
    assert run(manifests.unnamed(folder, 3)) == []
    assert folder.log("open") == [], "each manifest is compared once"
    assert manifests.all_named


def test_a_manifest_of_a_damaged_pointer_is_kept() -> None:
    folder = bare_folder()
    serve(folder, 1)
    serve(folder, 2, "b")
    for at in (20, 2068):
        folder.disk.spoil(names.claim(1), POINTER_OFFSET + at, b"\xff")
    assert run(Manifests().unnamed(folder, 2)) == []


def test_a_long_history_is_looked_at_in_parts() -> None:
    folder = bare_folder()
    serve(folder, 1)
    serve(folder, 2)
    left = [unfinished(folder, 1, f"{number:03d}a") for number in range(120)]
    manifests = Manifests()
    first = run(manifests.unnamed(folder, 2))
    assert len(first) in {99, 100}, "one of those that were looked at may be the named one"
    for name in first:
        run(folder.remove(name))
    assert sorted([*first, *run(manifests.unnamed(folder, 2))]) == sorted(left)
