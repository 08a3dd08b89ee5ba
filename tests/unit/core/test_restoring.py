"""A folder that is filled from an archive is one that any worker goes on with."""

import pytest

from hanas_core.epochs import arbitration
from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET
from hanas_core.log.claimfile import Pointer
from hanas_core.log.claims import read_claim, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.log.positions import Facts, Version
from hanas_core.members.cluster import identify
from hanas_core.state.judge import Result, Write
from hanas_core.state.queue import MOST_WAITING
from hanas_core.upkeep import fsck
from hanas_core.upkeep.archive import BadArchive, Item
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.restoring import LEFT_OUT, MEMBER, Restoration
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import NoSpace
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Main, contents, promoted, stored, win

NOW = "2026-01-01T00:00:00.000+00:00"


def begin(folder: MemoryFolder, revision: int = 0) -> Restoration:
    return run(
        Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, NOW, lambda: 0.0, revision, [(9, 30)] if revision else [])
    )


def successor(folder: MemoryFolder) -> Main:
    return promoted(folder, win(folder, 2, "b"))


def test_a_restored_folder_is_sound_and_handed_over() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    run(restoration.add([Item("a", b"1", "text/plain", "7-9"), Item("b", b"")]))
    run(restoration.add([]))
    run(restoration.add([Item("c", b"3")]))
    assert run(restoration.finish()) == 5, "history was forgotten twice, too"
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
    assert (outcome.result, outcome.version) == (Result.REPLACED, Version(2, 4))


def test_a_restored_store_goes_on_behind_the_one_that_was_exported() -> None:
    folder = MemoryFolder()
    restoration = begin(folder, 70)
    first = Item("a", b"1", lease=9, create=60, mod=65, generation=3)
    run(restoration.add([first, Item("b", b"2", create=70, mod=70, generation=1), Item("c", b"3")]))
    run(restoration.finish())
    assert run(fsck.check(folder.other())).errors == 0
    main = successor(folder.other())
    index, at = main.replica.index, 70 + LEFT_OUT
    assert (index.revision, index.compacted) == (at + 3, at + 3), "there is no history: a watch from before is told so"
    assert {key: entry.facts for key, entry in index.page(b"", b"", 9).entries} == {
        b"a": Facts(at + 1, 60, 3, 9),
        b"b": Facts(at + 2, 70, 1),
        b"c": Facts(at + 3, at + 3, 1),
    }, "of a key that nothing is known of its creation is this one"
    main.commits.form = records.REVISED
    main.put("a", "4")
    facts = index.get(b"a")
    assert facts is not None
    assert facts.facts == Facts(at + 4, 60, 4)
    copy = FolderCopy(folder.other())
    assert main.log.committed is not None
    run(copy.read(main.log.committed))
    assert copy.store_revision == at + 4
    assert run(fsck.check(folder.other())).errors == 0


def test_more_than_a_segment_and_more_than_may_wait() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    count = MOST_WAITING + 10
    run(restoration.add([Item(f"k{number:05}", b"") for number in range(count)]))
    run(restoration.add([Item(f"v{number}", b"x" * 4000) for number in range(10)]))
    assert run(restoration.finish()) == count + 10 + 2
    assert len(run(folder.names(names.SEGMENTS))) > 2
    main = successor(folder.other())
    assert len(main.replica.index) == count + 10
    assert stored(folder, main.replica.index)["v9"] == "x" * 4000
    assert main.write(Write(b"v9", None))[0].result is Result.DELETED


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([Item("a", b"", lease=8, create=2, generation=1)], "the key 'a' was refused .lease not found."),
        ([Item("a", b"", lease=8)], "the key 'a' was refused .lease not found."),
        ([Item("a", b""), Item("a", b"")], "the key 'a' is there twice"),
        ([Item("a", b"", create=71, generation=1)], "the key 'a' was created behind revision 70"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(items: list[Item], words: str) -> None:
    with pytest.raises(BadArchive, match=words):
        run(begin(MemoryFolder(), 70).add(items))


def test_a_lease_is_in_an_archive_once() -> None:
    twice = Restoration.begin(MemoryFolder(), FOLDER_ID, SEGMENT_BYTES, NOW, lambda: 0.0, 0, [(9, 30), (9, 40)])
    with pytest.raises(BadArchive, match="the lease 9 is there twice"):
        run(twice)


def test_an_archive_of_a_store_without_revisions_leaves_no_history_either() -> None:
    folder = MemoryFolder()
    restoration = begin(folder)
    run(restoration.add([Item("a", b"1", version="1-7")]))
    run(restoration.finish())
    index = successor(folder.other()).replica.index
    assert (index.revision, index.compacted) == (2, 2)


def test_a_value_that_fits_no_segment_says_what_to_set() -> None:
    restoration = begin(MemoryFolder())
    with pytest.raises(NoSpace, match="set HANAS_SEGMENT_BYTES"):
        run(restoration.add([Item("a", b"x" * SEGMENT_BYTES)]))
