"""A backup reads the log as it grows and hands out what is known to be committed, and nothing else."""

import pytest

from hanas_core.log.batches import Batch, Kind, size_of
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.tailer import Tailer
from hanas_core.state.replica import Standing
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import (
    SEGMENT_BYTES,
    Backup,
    Main,
    bare_folder,
    contents,
    fresh_backup,
    promoted,
    put_payload,
    serve,
    win,
)

SEGMENT = names.segment(1, 1)


def a_main_and_a_backup() -> tuple[Main, Backup]:
    folder = bare_folder()
    main = serve(folder, 1)
    backup = Backup(folder.other())
    assert run(backup.follow(1))
    return main, backup


def catch_up(backup: Backup, main: Main | None = None) -> dict[str, str]:
    if main is not None:
        assert main.log.committed is not None
        backup.tailer.know(main.log.committed)
    run(backup.catch_up())
    return contents(backup.index)


def test_a_batch_is_applied_once_the_next_one_says_that_it_was_committed() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    assert catch_up(backup) == {}
    main.put("l", "2")
    assert catch_up(backup) == {"k": "1"}


def test_or_a_keep_alive_says_so() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    assert catch_up(backup, main) == {"k": "1"}
    assert backup.tailer.applied == main.log.committed
    assert backup.tailer.lag_bytes == 0


def test_a_keep_alive_may_come_before_the_batch_was_read() -> None:
    main, backup = a_main_and_a_backup()
    for n in range(4):
        main.put(f"k{n}", "v" * 500)
    assert main.log.committed is not None
    backup.tailer.know(main.log.committed)
    assert backup.tailer.lag_bytes == main.log.committed.offset - BLOCK_BYTES
    assert len(catch_up(backup)) == 4
    assert main.log.proof is not None
    last = main.log.committed._replace(offset=main.log.proof.offset)
    assert backup.standing == Standing(main.log.committed, 0, sequence=4, keys=4, value_bytes=2000, last=last)


def test_a_commit_that_becomes_known_while_an_older_end_was_read_is_no_corruption() -> None:
    main, backup = a_main_and_a_backup()
    run(backup.catch_up())

    def write_meanwhile() -> None:
        main.put("k", "v")
        assert main.log.committed is not None
        backup.tailer.know(main.log.committed)

    reader = backup._folder
    assert isinstance(reader, MemoryFolder)
    reader.at("read", SEGMENT, after=write_meanwhile)
    run(backup.catch_up())
    assert catch_up(backup) == {"k": "v"}


def test_older_commit_positions_and_those_of_other_epochs_are_ignored() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "v")
    catch_up(backup, main)
    known = backup.tailer.committed
    backup.tailer.know(Position(1, 1, BLOCK_BYTES))
    backup.tailer.know(Position(2, 1, 10**9))
    backup.tailer.know(Position(0, 9, 10**9))
    assert backup.tailer.committed == known


def test_before_anything_is_followed_nothing_is_known() -> None:
    tailer = Tailer(bare_folder())
    tailer.know(Position(1, 1, 1))
    assert tailer.committed == NOWHERE
    assert tailer.lag_bytes == 0
    with pytest.raises(AssertionError, match="follow"):
        run(tailer.step())


def test_an_epoch_without_a_manifest_changes_nothing() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "v")
    win(main.folder, 2, "b")
    catch_up(backup, main)
    assert not run(backup.follow(2))
    assert contents(backup.index) == {"k": "v"}
    main_manifest = backup.tailer.manifest
    assert main_manifest is not None
    assert main_manifest.epoch == 1


def test_nothing_is_handed_out_before_the_followed_epoch_passed_its_first_check() -> None:
    """What a manifest names may be forgotten with the pointer to it, which the first check is not yet behind."""
    folder = bare_folder()
    old = serve(folder, 1)
    old.append("k", "1")
    died = folder.other()
    claim = win(died, 2, "b")
    died.at("read", names.claim(2), nth=2, before=FolderUnavailable("dies before its check"))
    with pytest.raises(FolderUnavailable):
        promoted(died, claim)
    slow = folder.other()
    claim = win(slow, 3, "c")
    backup = Backup(folder)
    seen: list[object] = []
    slow.at("read", names.claim(3), nth=2, before=lambda: seen.append(run(backup.follow(3)) and catch_up(backup)))
    new = promoted(slow, claim)
    assert seen == [{}]
    assert catch_up(backup) == {}, "nobody says yet that it serves"
    assert catch_up(backup, new) == {"k": "1"}


def test_the_first_batch_of_an_epoch_tells_that_it_serves() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    old.put("k", "1")
    old.append("l", "2")
    new = serve(folder.other(), 2, "b")
    backup = fresh_backup(folder, 2)
    assert contents(backup.index) == {}
    new.put("m", "3")
    assert catch_up(backup) == {"k": "1", "l": "2"}
    assert catch_up(backup, new) == {"k": "1", "l": "2", "m": "3"}


def test_batches_bigger_than_a_read_and_many_small_ones() -> None:
    folder = bare_folder()
    main = serve(folder, 1)
    main.put("big", "v" * 7000)
    for n in range(12):
        main.put(f"k{n}", "v" * (n * 37))
    main.put("big", "w" * 900)
    assert contents(fresh_backup(folder, 1, main.log.committed).index) == contents(main.replica.index)


def test_an_idle_tail_is_read_with_small_reads() -> None:
    main, backup = a_main_and_a_backup()
    for n in range(12):
        main.put(f"k{n}", "v" * 700)
    catch_up(backup, main)
    reader = backup._folder
    assert isinstance(reader, MemoryFolder)
    reader.operations.clear()
    run(backup.catch_up())
    assert len(reader.operations) == 1
    assert backup.tailer.at_end


def test_the_roll_to_a_new_segment_is_followed() -> None:
    main, backup = a_main_and_a_backup()
    for n in range(5):
        main.spare()
        main.put(f"k{n}", "v" * 9000)
        catch_up(backup)
    assert len(catch_up(backup, main)) == 5
    assert backup.tailer.applied == main.log.committed
    assert backup.tailer.applied.number == 5


def test_a_marker_that_is_not_known_to_be_committed_is_read_past_but_not_handed_out() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "v" * 9000)
    catch_up(backup, main)
    main.spare()
    end = main.log.end
    main.append("l", "w" * 9000)
    assert catch_up(backup) == {"k": "v" * 9000}
    assert backup.tailer.applied == Position(1, 1, end)
    assert run(backup.tailer.finish()) == []


def test_a_segment_that_is_full_to_the_last_byte() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    size = main.log.left - 100
    while size_of(len(put_payload("full", bytes(size)))) < main.log.left:
        size += 1
    run(main.log.commit(Batch(1, 2, 1, put_payload("full", bytes(size)))))
    assert main.log.left == 0
    main.spare()
    run(main.log.commit(Batch(1, 3, 1, put_payload("next", b"v"))))
    assert list(catch_up(backup, main)) == ["full", "k", "next"]
    assert backup.tailer.applied == main.log.committed


def test_a_batch_that_is_half_visible_is_waited_for() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    end = main.log.end
    main.put("l", "2" * 300)
    segment = main.folder.disk.content(SEGMENT)
    whole = bytes(segment.visible)
    segment.visible[end + 150 : end + 200] = bytes(50)
    assert catch_up(backup) == {}
    assert backup.tailer.at_end
    segment.visible[:] = whole
    assert catch_up(backup, main) == {"k": "1", "l": "2" * 300}


def test_a_half_visible_batch_that_is_said_to_be_committed_is_corruption() -> None:
    main, backup = a_main_and_a_backup()
    main.put("l", "2" * 300)
    main.folder.disk.spoil(SEGMENT, BLOCK_BYTES + 150, bytes(50))
    with pytest.raises(Corruption, match="a bad batch, but valid ones up to"):
        catch_up(backup, main)


def test_a_length_that_points_beyond_the_segment_is_a_bad_batch() -> None:
    main, backup = a_main_and_a_backup()
    main.put("l", "2" * 300)
    main.folder.disk.spoil(SEGMENT, BLOCK_BYTES + 16, (1 << 30).to_bytes(4, "little"))
    with pytest.raises(Corruption, match="a bad batch"):
        catch_up(backup, main)


def test_a_segment_that_the_server_does_not_find_is_an_error_never_the_end() -> None:
    main, backup = a_main_and_a_backup()
    for n in range(2):
        main.spare()
        main.put(f"k{n}", "v" * 9000)
    run(main.folder.remove(names.segment(1, 2)))
    with pytest.raises(Missing):
        catch_up(backup)


def test_a_stale_look_up_is_asked_again() -> None:
    main, backup = a_main_and_a_backup()
    reader = backup._folder
    assert isinstance(reader, MemoryFolder)
    main.put("k", "v")
    reader.stale.add(SEGMENT)
    assert catch_up(backup, main) == {"k": "v"}
    assert "refresh segments" in reader.log()


def test_an_error_in_between_changes_nothing() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "v")
    reader = backup._folder
    assert isinstance(reader, MemoryFolder)
    reader.at("read", SEGMENT, nth=2, before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        catch_up(backup, main)
    assert catch_up(backup) == {"k": "v"}


def test_reading_afresh_hands_out_nothing_twice() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    main.put("l", "2")
    catch_up(backup)
    backup.continue_from(backup.tailer.applied)
    assert run(backup.follow(1))
    batches = run(backup.tailer.step())
    assert batches == []
    assert catch_up(backup, main) == {"k": "1", "l": "2"}


def test_an_epoch_is_known_to_have_served_by_what_its_main_says_although_there_is_nothing_new() -> None:
    main, backup = a_main_and_a_backup()
    assert run(backup.follow(1))
    assert not run(backup.reader.step()).served
    step = run(backup.reader.step(Position(1, 1, main.log.end)))
    assert (step.batches, step.served) == ([], True)


def test_the_end_of_a_dead_epoch_has_to_reach_its_commit_position() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    catch_up(backup, main)
    backup.tailer.know(Position(1, 1, SEGMENT_BYTES))
    with pytest.raises(Corruption, match="the log ends at 1/1/"):
        run(backup.tailer.finish())


def test_the_end_of_an_epoch_that_was_not_read_yet() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    assert run(backup.tailer.finish()) == []


def test_a_finished_epoch_gives_its_last_batches() -> None:
    main, backup = a_main_and_a_backup()
    main.put("k", "1")
    catch_up(backup)
    (batch,) = run(backup.tailer.finish())
    assert batch.kind is Kind.RECORDS
    assert (batch.origin, batch.first_sequence, batch.count) == (1, 1, 1)


def test_a_backup_resumes_within_a_cut_of_an_older_epoch() -> None:
    folder = bare_folder()
    old = serve(folder, 1)
    for key in "abc":
        old.put(key, key)
    backup = fresh_backup(folder, 1)
    index = backup.index
    assert contents(index) == {"a": "a", "b": "b"}
    new = serve(folder.other(), 2, "b", known=old.log.committed)
    third = serve(folder.other(), 3, "c", known=new.log.committed)
    assert run(backup.follow(3))
    assert catch_up(backup, third) == {"a": "a", "b": "b", "c": "c"}
    assert backup.index is index
