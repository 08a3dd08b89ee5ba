"""A backup that takes over just when the main has begun a new segment."""

from hanas_core.log.positions import Position
from hanas_core.volume.blocking import run
from tests.unit.core.scenery import Backup, Main, bare_folder, contents, fresh_backup, promoted, serve, win

LARGE = 9000
"""Two of these do not fit into one segment, bytes."""


def rolled() -> Main:
    """A main whose last write, acknowledged, is the first of its second segment."""
    main = serve(bare_folder(), 1)
    main.put("first", LARGE * "x")
    main.spare()
    main.put("last", LARGE * "y")
    assert main.log.committed is not None
    assert main.log.committed.number == 2
    return main


def unaware_backup(main: Main) -> Backup:
    """A backup that has read all, but knows only that what stands before the last write is committed."""
    backup = fresh_backup(main.folder.other(), 1)
    assert set(contents(backup.index)) == {"first"}
    return backup


def test_the_first_write_of_a_segment_is_not_lost_when_the_main_dies_right_after_it() -> None:
    main = rolled()
    backup = unaware_backup(main)
    successor = promoted(main.folder.other(), win(main.folder, 2, "b"), replica=backup)
    assert set(contents(successor.replica.index)) == {"first", "last"}
    assert set(contents(fresh_backup(main.folder.other(), 2, successor.log.committed).index)) == {"first", "last"}


def test_a_backup_that_starts_anew_behind_the_marker_goes_on_in_the_next_segment() -> None:
    main = rolled()
    backup = unaware_backup(main)
    committed: Position | None = main.log.committed
    assert committed is not None
    backup.continue_from(backup.tailer.applied)
    assert run(backup.follow(1))
    backup.tailer.know(committed)
    run(backup.catch_up())
    assert set(contents(backup.index)) == {"first", "last"}
