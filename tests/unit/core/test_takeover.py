"""From a won claim to serving: in this order only, from the right predecessor, nothing lost and nothing invented."""

import copy
from contextlib import suppress

import pytest

from hanas_core.epochs.takeover import find_predecessor, rehearse
from hanas_core.log.batches import FIRST_OFFSET, size_of
from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Claim, Pointer, Seal
from hanas_core.log.claims import claim_epoch, read_claim, read_pointer, write_pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest
from hanas_core.log.positions import NOWHERE, Position, Version
from hanas_core.log.seals import write_seal
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable, Missing, NoSpace, Sealed
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation
from tests.unit.core.scenery import (
    Backup,
    Main,
    bare_folder,
    claim_of,
    contents,
    fresh_backup,
    incarnation,
    promoted,
    serve,
    stored,
    take_over,
    win,
)

MARKER_BYTES = size_of(0)


def manifest_of(folder: MemoryFolder, epoch: int) -> Manifest:
    pointer = run(read_pointer(folder, epoch))
    assert isinstance(pointer, Pointer)
    return run(read_manifest(folder, pointer))


def rolled(folder: MemoryFolder) -> Main:
    """Return the main of epoch 1 with three segments."""
    main = serve(folder, 1)
    for n in range(3):
        main.spare()
        main.put(f"k{n}", "v" * 9000)
    return main


ROLLED = {f"k{n}": "v" * 9000 for n in range(3)}


def test_the_first_main_of_an_empty_folder_begins_with_nothing() -> None:
    folder = bare_folder()
    main = serve(folder, 1)
    assert main.put("k", "v") == Outcome(Result.CREATED, Version(1, 1))
    manifest = manifest_of(folder, 1)
    assert (manifest.predecessor, manifest.cuts, manifest.relogged_end) == (0, (), BLOCK_BYTES)
    assert contents(fresh_backup(folder, 1, main.log.committed).index) == {"k": "v"}


def test_the_order_seals_predecessor_log_relog_manifest_pointer_check() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "v")
    old.append("l", "w")
    claim = win(folder, 2, "b")
    folder.operations.clear()
    promoted(folder, claim)
    pointer = run(read_pointer(folder, 2))
    assert isinstance(pointer, Pointer)
    own, old_claim, own_claim = names.segment(2, 1), names.claim(1), names.claim(2)
    story = folder.log("write", "write_block", "sync", "read", "sync_directory", "link")
    expected = [
        "sync_directory claims",
        f"read {own_claim}",  # the own claim, confirmed
        f"read {old_claim} @{POINTER_OFFSET}",  # how far down to seal
        f"write_block {old_claim} @{SEAL_OFFSET}",
        f"read {old_claim} @{POINTER_OFFSET}",  # the predecessor, only now
        f"read {names.segment(1, 1)} @{BLOCK_BYTES}",  # its log
        f"link {own}",
        "sync_directory segments",
        f"write {own} @{BLOCK_BYTES}",  # re-logged
        f"sync {own}",
        f"link {pointer.manifest}",
        "sync_directory manifests",
        f"write_block {own_claim} @{POINTER_OFFSET}",
        f"read {own_claim} @{SEAL_OFFSET}",
    ]
    at = 0
    for line in expected:
        at = story.index(line, at) + 1
    assert len([line for line in story if line.startswith("write_block claims")]) == 2


def test_a_takeover_seals_every_epoch_down_to_the_newest_one_that_has_a_manifest() -> None:
    folder = bare_folder()
    serve(folder, 1)
    serve(folder, 2, "b")
    win(folder, 3, "c")
    win(folder, 4, "d")
    folder.operations.clear()
    serve(folder, 5, "e")
    sealed = [line for line in folder.log("write_block") if f"@{SEAL_OFFSET}" in line]
    assert sealed == [f"write_block {names.claim(epoch)} @{SEAL_OFFSET}" for epoch in (4, 3, 2)]


def claimed_but_not_durable(folder: MemoryFolder, epoch: int, member: str) -> Claim:
    """Claim an epoch, and die before the name of the claim is durable: the overseer did, or a retransmission waits."""
    claim = claim_of(epoch, member)
    folder.at("sync_directory", names.CLAIMS, before=Died())
    with pytest.raises(Died):
        run(claim_epoch(folder, claim))
    return claim


def test_a_claim_that_is_adopted_before_its_name_is_durable_is_made_so_first() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "1")
    claim = claimed_but_not_durable(folder.other(), 2, "b")
    promoted(folder.other(), claim).put("k", "2")
    folder.disk.crash()
    assert contents(serve(folder.other(), 3, "c").replica.index) == {"k": "2"}


def test_a_claim_that_the_file_server_forgot_is_not_acted_upon() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "1")
    forgotten = claimed_but_not_durable(folder.other(), 2, "b")
    folder.disk.crash()
    other = serve(folder.other(), 2, "c")
    with pytest.raises(Sealed):
        promoted(folder.other(), forgotten)
    assert other.put("k", "2").version == Version(2, 2)


def test_a_claim_that_the_file_server_forgot_is_not_acted_upon_because_a_cache_of_names_has_it() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "1")
    forgotten = claimed_but_not_durable(folder.other(), 2, "b")
    adopting = folder.other()
    adopting.remembers = True
    assert run(read_claim(adopting, 2)) == forgotten
    folder.disk.crash()
    with pytest.raises(Missing):
        promoted(adopting, forgotten)


def test_what_is_acknowledged_survives_the_takeover() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    old.put("l", "2")
    old.write(Write(b"k", None))
    new = serve(folder.other(), 2, "b")
    assert contents(new.replica.index) == {"l": "2"}
    assert new.put("m", "3").version == Version(2, 4)


def test_what_lies_beyond_the_commit_position_is_re_logged_with_its_version_and_synced() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    committed = old.log.committed
    old.append("k", "2")
    new = serve(folder.other(), 2, "b")
    entry = new.replica.index.get(b"k")
    assert entry is not None
    assert (new.replica.index.cached(b"k"), entry.version) == (b"2", Version(1, 2))
    assert entry.place[:2] == (2, 1)
    assert stored(folder, new.replica.index) == {"k": "2"}
    manifest = manifest_of(folder, 2)
    assert committed is not None
    assert manifest.cuts[-1].end <= committed.offset, "the re-logged write is not below the cut as well"
    assert manifest.relogged_end > BLOCK_BYTES
    folder.disk.crash()
    assert new.log.committed is not None
    assert contents(fresh_backup(folder, 2, new.log.committed).index) == {"k": "2"}
    assert new.put("l", "3").version == Version(2, 3)


def test_a_keep_alive_that_is_newer_than_the_headers_moves_the_cut() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    serve(folder.other(), 2, "b", known=old.log.committed)
    manifest = manifest_of(folder, 2)
    assert old.log.committed is not None
    assert manifest.cuts == (Cut(1, 1, old.log.committed.offset),)
    assert manifest.relogged_end == BLOCK_BYTES


def test_without_a_keep_alive_the_last_batch_is_re_logged_although_it_was_committed() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "1")
    new = serve(folder.other(), 2, "b")
    assert manifest_of(folder, 2).cuts == (Cut(1, 1, BLOCK_BYTES),)
    assert contents(new.replica.index) == {"k": "1"}


def test_a_keep_alive_about_another_epoch_moves_nothing() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "1")
    two = serve(folder.other(), 2, "b")
    two.put("k", "2")
    three = serve(folder.other(), 3, "c", known=Position(1, 9, 9))
    assert contents(three.replica.index) == {"k": "2"}


def test_a_torn_last_batch_is_ignored() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    end = old.log.end
    old.append("l", "2" * 3000)
    folder.disk.spoil(names.segment(1, 1), end + 1500, b"\0" * 512)
    new = serve(folder.other(), 2, "b")
    assert contents(new.replica.index) == {"k": "1"}
    assert new.put("m", "3").version == Version(2, 2)


def test_a_bad_batch_that_a_valid_one_follows_is_corruption() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    for key in "abc":
        old.put(key, key)
    first = BLOCK_BYTES
    folder.disk.spoil(names.segment(1, 1), first + 80, b"\xff")
    with pytest.raises(Corruption, match=rf"{names.segment(1, 1)}: at offset {first}.*follows at 1/1/"):
        serve(folder.other(), 2, "b")
    assert run(read_pointer(folder, 2)) is not None
    assert not isinstance(run(read_pointer(folder, 2)), Pointer)


def test_a_bad_marker_is_corruption_when_the_next_segment_has_batches() -> None:
    folder = bare_folder()
    old = rolled(folder)
    manifest_end = old.log.committed
    assert manifest_end is not None
    backup = fresh_backup(folder, 1, manifest_end)
    first_end = next(cut.end for cut in run(backup.tailer.cuts()) if cut.number == 1)
    folder.disk.spoil(names.segment(1, 1), first_end - MARKER_BYTES + 20, b"\xff")
    with pytest.raises(Corruption, match="follows at 1/2/4096"):
        serve(folder.other(), 2, "b")


def test_a_torn_marker_is_ignored() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "v" * 9000)
    old.spare()
    end = old.log.end
    old.append("l", "w" * 9000)  # the check of the marker is not answered: nothing was written behind it
    folder.disk.spoil(names.segment(1, 1), end + 20, b"\xff")
    new = serve(folder.other(), 2, "b")
    assert contents(new.replica.index) == {"k": "v" * 9000}


def test_a_torn_marker_without_a_next_segment_is_ignored() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "v")
    folder.disk.spoil(names.segment(1, 1), old.log.end, b"\xff" * 100)
    new = serve(folder.other(), 2, "b")
    assert contents(new.replica.index) == {"k": "v"}


@pytest.mark.parametrize("zeros", [True, False])
def test_bytes_lost_below_the_known_commit_position_are_corruption(*, zeros: bool) -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "v")
    at = old.log.end
    old.put("l", "w")
    folder.disk.spoil(names.segment(1, 1), at, bytes(200) if zeros else b"\xff" * 100)
    with pytest.raises(Corruption, match=f"at offset {at}"):
        serve(folder.other(), 2, "b", known=old.log.committed)


def test_bytes_lost_below_a_cut_are_corruption() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "v")
    serve(folder.other(), 2, "b", known=old.log.committed)
    folder.disk.spoil(names.segment(1, 1), BLOCK_BYTES, bytes(200))
    with pytest.raises(Corruption, match=f"nothing, but valid ones up to {old.log.end}"):
        serve(folder.other(), 3, "c")


def test_a_lost_marker_is_corruption_when_the_commit_position_lies_behind_it() -> None:
    folder = bare_folder()
    old = rolled(folder)
    backup = fresh_backup(folder, 1, old.log.committed)
    first_end = next(cut.end for cut in run(backup.tailer.cuts()) if cut.number == 1)
    folder.disk.spoil(names.segment(1, 1), first_end - MARKER_BYTES, bytes(MARKER_BYTES))
    with pytest.raises(Corruption, match=f"offset {first_end - MARKER_BYTES}"):
        serve(folder.other(), 2, "b", known=old.log.committed)


def test_the_end_of_a_lost_manifest_pointer_is_corruption_not_an_older_state() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "old")
    two = serve(folder, 2, "b")
    two.put("k", "new")
    folder.disk.spoil(names.claim(2), POINTER_OFFSET, ZERO_BLOCK)
    with pytest.raises(Corruption, match="block 1"):
        serve(folder.other(), 3, "c", known=two.log.committed)


def test_a_keep_alive_of_a_later_epoch_means_sealed_not_corruption() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "v")
    slow = folder.other()
    claim = win(slow, 2, "b")
    newest = serve(folder.other(), 3, "c")
    with pytest.raises(Sealed):
        promoted(slow, claim, known=newest.log.committed)


def test_a_pointer_that_is_gone_between_two_looks_stops_the_takeover() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "v")
    member = folder.other()
    backup = fresh_backup(member, 1)
    win(folder, 2, "b")
    run(write_seal(folder, 1, Seal(2, "b", incarnation("b"))))
    claim = win(member, 3, "c")
    run(write_pointer(folder, 2, Pointer("manifests/x", BLOCK_BYTES, 1)))
    # reads of block 1: sealing 2, the predecessor, and following it
    member.at(
        "read", names.claim(2), nth=3, before=lambda: folder.disk.spoil(names.claim(2), POINTER_OFFSET, ZERO_BLOCK)
    )
    with pytest.raises(Corruption, match="a moment ago"):
        promoted(member, claim, replica=backup)


def test_a_rotten_pointer_stops_the_takeover() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "v")
    serve(folder, 2, "b")
    folder.disk.spoil(names.claim(2), POINTER_OFFSET, b"\xff" * BLOCK_BYTES)
    with pytest.raises(Corruption, match=f"{names.claim(2)}: block 1 at offset 4096"):
        serve(folder.other(), 3, "c")
    for wanted in (find_predecessor(folder, 3), Backup(folder).follow(2)):
        with pytest.raises(Corruption, match="block 1"):
            run(wanted)


def test_an_elect_that_dies_anywhere_before_its_pointer_has_changed_nothing() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        old = serve(folder, 1)
        old.put("k", "1")
        old.append("l", "2")
        elect = folder.other()
        claim = win(elect, 2, "b")
        elect.at(nth=nth, before=Died())
        with suppress(Died):
            promoted(elect, claim)
        served = isinstance(run(read_pointer(folder, 2)), Pointer)
        folder.disk.crash()
        third = serve(folder.other(), 3, "c")
        assert manifest_of(folder, 3).predecessor == (2 if served else 1)
        assert contents(third.replica.index) == {"k": "1", "l": "2"}
        entry = third.replica.index.get(b"l")
        assert entry is not None
        assert entry.version == Version(1, 2)
        return elect.planned

    at_every_operation(attempt)


def test_two_claimants_at_once_never_both_acknowledge() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        serve(folder, 1).put("k", "1")
        slow, fast = folder.other(), folder.other()
        claim = win(slow, 2, "b")
        mains: list[Main] = []

        def overtake() -> None:
            mains.append(serve(fast, 3, "c"))
            mains[0].put("k", "3")

        slow.at(nth=nth, before=overtake)
        try:
            main = promoted(slow, claim)
            if mains or slow.planned is False:
                with pytest.raises(Sealed):
                    main.put("k", "2")
        except (Sealed, FolderError):
            assert mains
        if not mains:
            return True
        backup = fresh_backup(folder, 3, mains[0].log.committed)
        assert contents(backup.index) == {"k": "3"}
        return False

    at_every_operation(attempt)


def test_an_older_elect_that_comes_to_serve_at_any_moment_of_a_takeover_loses_nothing_that_it_acknowledged() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        serve(folder, 1).put("k", "1")
        slow, fast = folder.other(), folder.other()
        older, newer = win(slow, 2, "b"), win(fast, 3, "c")
        acknowledged: list[str] = []

        def serve_in_between() -> None:
            try:
                promoted(slow, older).put("l", "2")
                acknowledged.append("l")
            except Sealed:
                pass

        fast.at(nth=nth, before=serve_in_between)
        main = promoted(fast, newer)
        assert set(contents(main.replica.index)) == {"k", *acknowledged}
        return fast.planned

    at_every_operation(attempt)


def test_a_higher_claim_before_the_check_means_sealed_and_an_untouched_index() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    old.append("l", "2")
    member, replica = folder.other(), Backup(folder)
    claim = win(member, 2, "b")
    seal = Seal(3, "c", incarnation("c"))
    member.at("write_block", names.claim(2), before=lambda: run(write_seal(folder, 2, seal)))
    with pytest.raises(Sealed):
        run(take_over(member, claim, replica))
    assert contents(replica.index) == {"k": "1"}, "what was re-logged is committed by nobody"


def test_rolled_segments_are_cut_where_they_end() -> None:
    folder = bare_folder()
    old = rolled(folder)
    new = serve(folder.other(), 2, "b", known=old.log.committed)
    assert contents(new.replica.index) == ROLLED
    cuts = manifest_of(folder, 2).cuts
    assert [(cut.epoch, cut.number) for cut in cuts] == [(1, 1), (1, 2), (1, 3)]
    assert contents(fresh_backup(folder, 2, new.log.committed).index) == ROLLED


def test_the_cuts_of_a_warm_backup_come_from_the_headers_where_it_did_not_read_the_markers_itself() -> None:
    folder = bare_folder()
    old = rolled(folder)
    cold = run(fresh_backup(folder, 1, old.log.committed).tailer.cuts())
    warm = fresh_backup(folder, 1, old.log.committed)
    assert run(warm.follow(1))
    run(warm.catch_up())
    assert run(warm.tailer.cuts()) == cold


def test_cuts_of_earlier_epochs_are_copied() -> None:
    folder = bare_folder()
    rolled(folder)
    two = serve(folder.other(), 2, "b")
    two.put("m", "2")
    before = manifest_of(folder, 2).cuts
    three = serve(folder.other(), 3, "c", known=two.log.committed)
    assert manifest_of(folder, 3).cuts[: len(before)] == before
    assert contents(three.replica.index) == {**ROLLED, "m": "2"}
    three.put("n", "3")
    assert contents(serve(folder.other(), 4, "d").replica.index) == {**ROLLED, "m": "2", "n": "3"}


def test_an_epoch_without_a_write_leaves_no_trace_but_its_cut() -> None:
    folder = bare_folder()
    main = serve(folder, 1)
    main.put("k", "v")
    for epoch, member in enumerate("bcd", 2):
        main = serve(folder.other(), epoch, member)
    assert contents(main.replica.index) == {"k": "v"}
    assert contents(fresh_backup(folder, 4, main.log.committed).index) == {"k": "v"}


def test_a_paused_main_that_appends_after_the_cut_is_ignored_and_never_acknowledged() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    mains: list[Main] = []
    folder.at("write", names.segment(1, 1), before=lambda: mains.append(serve(folder.other(), 2, "b")))
    with pytest.raises(Sealed):
        old.put("k", "phantom")
    (new,) = mains
    assert contents(new.replica.index) == {"k": "1"}
    third = serve(folder.other(), 3, "c")
    assert contents(third.replica.index) == {"k": "1"}
    assert contents(fresh_backup(folder, 3, third.log.committed).index) == {"k": "1"}


def test_a_paused_main_that_appends_while_its_log_is_read_to_the_end_is_ignored_too() -> None:
    def attempt(nth: int) -> bool:
        folder, member = bare_folder(), None
        old = serve(folder, 1)
        old.put("k", "1")
        member = folder.other()

        def wake() -> None:
            try:
                old.put("l", "2")
                acknowledged.append("l")
            except Sealed:
                pass

        acknowledged: list[str] = []
        claim = win(member, 2, "b")
        member.at(nth=nth, before=wake)
        new = promoted(member, claim)
        found = contents(new.replica.index)
        assert set(acknowledged) | {"k"} <= set(found) <= {"k", "l"}
        assert new.log.committed is not None
        assert contents(fresh_backup(folder, 2, new.log.committed).index) == found
        return member.planned

    at_every_operation(attempt)


def test_a_stepped_down_main_continues_warm() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    old.put("l", "2")
    new = serve(folder.other(), 2, "b")  # knows the position of k only, and re-logs l
    new.put("m", "3")
    assert old.log.committed is not None
    old.replica.continue_from(old.log.committed)
    index = old.replica.index
    assert run(old.replica.follow(2))
    assert new.log.committed is not None
    old.replica.tailer.know(new.log.committed)
    run(old.replica.catch_up())
    assert old.replica.index is index, "it did not start anew"
    assert contents(index) == {"k": "1", "l": "2", "m": "3"}
    assert index.sequence == 3


def test_a_stepped_down_main_continues_warm_although_its_last_segment_is_not_in_the_manifest() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1" * 9000)
    old.spare()
    old.put("l", "2" * 9000)  # the first of a new segment: its position is in no header yet
    new = serve(folder.other(), 2, "b")
    assert [cut.number for cut in manifest_of(folder, 2).cuts] == [1]
    assert old.log.committed is not None
    old.replica.continue_from(old.log.committed)
    index = old.replica.index
    assert run(old.replica.follow(2))
    assert new.log.committed is not None
    old.replica.tailer.know(new.log.committed)
    run(old.replica.catch_up())
    assert old.replica.index is index
    assert contents(index) == {"k": "1" * 9000, "l": "2" * 9000}


def test_a_stepped_down_main_can_be_the_next_one_again() -> None:
    folder = bare_folder()
    one = serve(folder, 1)
    one.put("k", "1")
    two = serve(folder.other(), 2, "b")
    two.put("k", "2")
    assert one.log.committed is not None
    one.replica.continue_from(one.log.committed)
    three = serve(folder, 3, "a", replica=one.replica)
    assert contents(three.replica.index) == {"k": "2"}
    assert three.put("k", "3").version == Version(3, 3)


def test_a_backup_that_followed_an_epoch_which_was_forgotten_goes_on_behind_the_marker() -> None:
    folder = bare_folder()
    rolled(folder)
    backup = fresh_backup(folder.other(), 1)
    assert backup.tailer.applied == Position(1, 3, FIRST_OFFSET), "the last write is not known to be committed"
    serve(folder.other(), 2, "b")
    assert run(backup.follow(2))
    assert backup.tailer.applied == Position(1, 2, manifest_of(folder, 2).cuts[-1].end)
    folder.disk.spoil(names.claim(2), POINTER_OFFSET, ZERO_BLOCK)
    assert contents(serve(folder.other(), 3, "c", replica=backup).replica.index) == ROLLED


def test_a_takeover_that_comes_too_late_leaves_a_replica_that_reads_from_the_start() -> None:
    folder = bare_folder()
    late = folder.other()
    claim = win(late, 1, "a")
    two = serve(folder.other(), 2, "b")
    two.put("k", "1")
    backup = fresh_backup(late, 2, two.log.committed)
    with pytest.raises(Sealed):
        promoted(late, claim, replica=backup)
    two.put("l", "2")
    assert two.log.committed is not None
    assert run(backup.follow(2))
    backup.tailer.know(two.log.committed)
    run(backup.catch_up())
    assert contents(backup.index) == {"k": "1", "l": "2"}


def test_a_backup_whose_state_is_no_prefix_starts_anew() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    two = serve(folder.other(), 2, "b")
    backup = fresh_backup(folder, 2, two.log.committed)
    assert backup.tailer.applied.epoch == 2
    folder.disk.spoil(names.claim(2), POINTER_OFFSET, ZERO_BLOCK)
    three = serve(folder.other(), 3, "c")
    old_index = backup.index
    assert run(backup.follow(3))
    assert backup.index is not old_index
    assert three.log.committed is not None
    backup.tailer.know(three.log.committed)
    run(backup.catch_up())
    assert contents(backup.index) == {"k": "1"}


def test_a_replica_of_nothing_is_forgotten_when_no_epoch_ever_served() -> None:
    folder = bare_folder()
    replica = Backup(folder)
    win(folder, 1)
    main = serve(folder, 2, "b", replica=replica)
    assert manifest_of(folder, 2).predecessor == 0
    assert main.put("k", "v").version == Version(2, 1)


def test_no_predecessor_and_the_highest_with_a_pointer() -> None:
    folder = bare_folder()
    win(folder, 1)
    win(folder, 2)
    assert run(find_predecessor(folder, 3)) == 0
    serve(folder, 3)
    win(folder, 4)
    assert run(find_predecessor(folder, 5)) == 3


def test_a_tail_that_does_not_fit_into_the_own_segment_stops_the_takeover() -> None:
    folder = bare_folder()
    serve(folder, 1).put("k", "v" * 9000)
    with pytest.raises(NoSpace, match="re-logged"):
        serve(folder.other(), 2, "b", segment_bytes=2 * BLOCK_BYTES)
    assert contents(serve(folder.other(), 3, "b").replica.index) == {"k": "v" * 9000}


def test_an_error_at_any_operation_of_a_takeover_loses_nothing() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        old = serve(folder, 1)
        old.put("k", "1")
        member, replica = folder.other(), fresh_backup(folder, 1, old.log.committed)
        claim = win(member, 2, "b")
        member.at(nth=nth, after=FolderUnavailable("no answer"))
        with suppress(FolderUnavailable):
            promoted(member, claim, replica=replica)
        survived = member.planned
        member.cancel()
        folder.disk.crash()
        three = serve(member, 3, "b", replica=replica)
        assert contents(three.replica.index) == {"k": "1"}
        return survived

    at_every_operation(attempt)


def test_idempotency_keys_survive_the_takeover() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    write = Write(b"k", b"v", idempotency_key="once")
    assert old.write(write) == [Outcome(Result.CREATED, Version(1, 1))]
    new = serve(folder.other(), 2, "b")
    assert new.write(write) == [Outcome(Result.CREATED, Version(1, 1))]
    assert new.write(Write(b"k", b"w", idempotency_key="once")) == [Outcome(Result.KEY_REUSED)]


def test_steps_are_timed() -> None:
    folder = bare_folder()
    serve(folder, 1)
    assert set(manifest_of(folder, 1).seconds) == {"claim", "seals", "replay", "relog"}


def test_a_rehearsal_finds_what_a_takeover_would_and_changes_nothing() -> None:
    folder = bare_folder()
    run(rehearse(folder, 0, NOWHERE, None))
    old = rolled(folder)
    warm = fresh_backup(folder, 1, old.log.committed).applied
    win(folder.other(), 2, "b")
    before = copy.deepcopy(folder.disk.root)
    for known in (None, old.log.committed, Position(3, 1, 4096)):
        run(rehearse(folder, 2, NOWHERE, known))
        run(rehearse(folder, 2, warm, known))
    assert folder.disk.root == before
    with pytest.raises(Corruption, match="block 1 at offset 4096 is gone"):
        run(rehearse(folder, 2, NOWHERE, Position(2, 1, 4096)))
    folder.disk.spoil(names.segment(1, 1), BLOCK_BYTES + 80, b"\xff")
    with pytest.raises(Corruption, match=f"{names.segment(1, 1)}: at offset {BLOCK_BYTES}"):
        run(rehearse(folder, 2, NOWHERE, None))
    run(rehearse(folder, 2, warm, None))
