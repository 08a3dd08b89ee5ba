"""Seals end epochs."""

import pytest

from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Pointer, Seal
from hanas_core.log.claims import write_pointer
from hanas_core.log.seals import SealWatch, read_seal, seal_below, write_seal
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import FolderUnavailable, Sealed
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, claim_of, win

SEAL = Seal(9, "z", "f" * 32)
POINTER = Pointer("manifests/x", 4096, 1)


def epochs(count: int, pointed: tuple[int, ...]) -> MemoryFolder:
    folder = bare_folder()
    for epoch in range(1, count + 1):
        win(folder, epoch)
    for epoch in pointed:
        run(write_pointer(folder, epoch, POINTER))
    return folder


def test_a_seal_is_durable_when_it_is_written() -> None:
    folder = epochs(1, ())
    assert run(read_seal(folder, 1)) is Blank.ZERO
    run(write_seal(folder, 1, SEAL))
    folder.disk.crash()
    assert run(read_seal(folder, 1)) == SEAL


def test_every_epoch_is_sealed_down_to_the_newest_with_a_pointer() -> None:
    folder = epochs(5, (1, 3))
    assert run(seal_below(folder, claim_of(6, "z"))) == [5, 4, 3]
    for epoch in (3, 4, 5):
        seal = run(read_seal(folder, epoch))
        assert isinstance(seal, Seal)
        assert (seal.by_epoch, seal.member, seal.planned) == (6, "z", False)
    assert run(read_seal(folder, 2)) is Blank.ZERO


def test_without_any_pointer_all_are_sealed() -> None:
    folder = epochs(3, ())
    assert run(seal_below(folder, claim_of(4))) == [3, 2, 1]
    assert run(seal_below(folder, claim_of(1))) == []


def test_a_seal_that_can_be_seen_is_written_again_because_it_may_not_be_durable() -> None:
    folder = epochs(2, (1,))
    for epoch in (1, 2):
        content = folder.disk.content(names.claim(epoch))
        content.visible[SEAL_OFFSET : SEAL_OFFSET + 5] = b"other"
    run(seal_below(folder, claim_of(3, "z")))
    folder.disk.crash()
    for epoch in (1, 2):
        assert isinstance(run(read_seal(folder, epoch)), Seal)


def test_a_rotten_pointer_does_not_end_the_sealing() -> None:
    folder = epochs(3, (1,))
    folder.disk.spoil(names.claim(2), POINTER_OFFSET, b"\xff")
    assert run(seal_below(folder, claim_of(4))) == [3, 2, 1]


def test_a_pointer_that_comes_between_the_look_and_the_seal_is_sealed_all_the_same() -> None:
    folder = epochs(2, (1,))
    folder.at("write_block", names.claim(2), before=lambda: run(write_pointer(folder.other(), 2, POINTER)))
    assert run(seal_below(folder, claim_of(3))) == [2, 1]


def test_an_error_stops_the_sealing() -> None:
    folder = epochs(2, (1,))
    folder.at("write_block", names.claim(1), before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        run(seal_below(folder, claim_of(3)))


def test_the_watch_asks_every_time_and_keeps_its_descriptor() -> None:
    folder = epochs(1, ())
    watch = run(SealWatch.on(folder, 1))
    folder.operations.clear()
    run(watch.check())
    run(watch.check())
    assert folder.log() == [f"read {names.claim(1)} @{SEAL_OFFSET}"] * 2
    run(write_seal(folder.other(), 1, SEAL))
    with pytest.raises(Sealed):
        run(watch.check())


def test_a_seal_of_rubbish_is_a_seal() -> None:
    folder = epochs(1, ())
    folder.disk.spoil(names.claim(1), SEAL_OFFSET + 4095, b"\1")
    assert run(read_seal(folder, 1)) is Blank.ROTTEN
    with pytest.raises(Sealed):
        run(run(SealWatch.on(folder, 1)).check())
