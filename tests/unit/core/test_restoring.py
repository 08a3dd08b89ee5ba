"""A folder that is filled from an archive is one that any worker goes on with."""

import pytest

from hanas_core.epochs import arbitration
from hanas_core.log.batches import FIRST_OFFSET
from hanas_core.log.claimfile import Pointer
from hanas_core.log.claims import read_claim, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.log.positions import Version
from hanas_core.members.cluster import identify
from hanas_core.state.judge import Result, Write
from hanas_core.state.queue import MOST_WAITING
from hanas_core.upkeep import fsck
from hanas_core.upkeep.archive import Item
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.restoring import MEMBER, Restoration
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import NoSpace
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Main, contents, promoted, stored, win

NOW = "2026-01-01T00:00:00.000+00:00"


def begin(folder: MemoryFolder) -> Restoration:
    return run(Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, NOW, lambda: 0.0))


def successor(folder: MemoryFolder) -> Main:
    return promoted(folder, win(folder, 2, "b"))


def test_a_restored_folder_is_sound_and_handed_over() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    run(restoration.add([Item("a", b"1", "text/plain", "7-9"), Item("b", b"")]))
    run(restoration.add([]))
    run(restoration.add([Item("c", b"3")]))
    assert run(restoration.finish()) == 3
    report = run(fsck.check(folder.other()))
    assert (report.errors, report.keys) == (0, 3)
    assert run(identify(folder.other())).folder_id == FOLDER_ID
    assert run(folder.names(names.TEMPORARY)) == []
    claim = run(read_claim(folder, 1))
    assert (claim.member, claim.claimed_at) == (MEMBER, NOW)
    assert run(arbitration.handed_over(folder, claim, "ab" * 8)), "whoever comes may be the main"


def test_the_next_main_has_every_key_and_goes_on() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    run(restoration.add([Item("a", b"1", "text/plain"), Item("b", b"2")]))
    run(restoration.finish())
    main = successor(folder.other())
    pointer = run(read_pointer(folder, 2))
    assert isinstance(pointer, Pointer)
    manifest = run(read_manifest(folder, pointer))
    assert manifest.relogged_end == FIRST_OFFSET, "nothing is re-logged: the last batch may not fit its segments"
    assert contents(main.replica.index) == {"a": "1", "b": "2"}
    entry = main.replica.index.get(b"a")
    assert entry is not None
    assert (entry.content_type, entry.version) == ("text/plain", Version(1, 1))
    outcome = main.put("a", "3")
    assert (outcome.result, outcome.version) == (Result.REPLACED, Version(2, 3))


def test_a_restored_store_goes_on_behind_the_one_that_was_exported() -> None:
    folder = MemoryFolder()
    restoration = run(Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, NOW, lambda: 0.0, 70))
    run(restoration.add([Item("a", b"1"), Item("b", b"2")]))
    assert run(restoration.finish()) == 3
    assert run(fsck.check(folder.other())).errors == 0
    main = successor(folder.other())
    index = main.replica.index
    assert (index.revision, index.compacted) == (72, 70)
    assert [entry.facts.revision for _, entry in index.page(b"", b"", 9).entries] == [71, 72]
    copy = FolderCopy(folder.other())
    assert main.log.committed is not None
    run(copy.read(main.log.committed))
    assert (copy.revision, copy.store_revision) == (3, 72)


def test_more_than_a_segment_and_more_than_may_wait() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    count = MOST_WAITING + 10
    run(restoration.add([Item(f"k{number:05}", b"") for number in range(count)]))
    run(restoration.add([Item(f"v{number}", b"x" * 4000) for number in range(10)]))
    assert run(restoration.finish()) == count + 10
    assert len(run(folder.names(names.SEGMENTS))) > 2
    main = successor(folder.other())
    assert len(main.replica.index) == count + 10
    assert stored(folder, main.replica.index)["v9"] == "x" * 4000
    assert main.write(Write(b"v9", None))[0].result is Result.DELETED


def test_a_value_that_fits_no_segment_says_what_to_set() -> None:
    restoration = begin(MemoryFolder())
    with pytest.raises(NoSpace, match="set HANAS_SEGMENT_BYTES"):
        run(restoration.add([Item("a", b"x" * SEGMENT_BYTES)]))
