"""The name of the next segment is taken ahead of the roll, which therefore needs no room on a full volume."""

import msgspec
import pytest

from hanas_core.log.segments import NotBegun, SegmentHeader, begin, new_nonce, prepare, read_header
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import pack
from hanas_core.volume.errors import FolderError, FolderUnavailable, Missing, NoSpace, Sealed
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import (
    FOLDER_ID,
    SEGMENT_BYTES,
    Main,
    bare_folder,
    contents,
    fresh_backup,
    incarnation,
    serve,
    win,
)

SEGMENT, NEXT = names.segment(1, 1), names.segment(1, 2)
LARGE = 9000
"""Two of these do not fit into one segment, bytes."""
FULL = NoSpace("no space left on device")


def about_to_roll() -> tuple[MemoryFolder, Main]:
    folder = bare_folder()
    main = serve(folder, 1)
    main.put("first", LARGE * "x")
    return folder, main


def more_space(folder: MemoryFolder) -> str:
    return run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES))


def read_by_others(main: Main) -> dict[str, str]:
    return contents(fresh_backup(main.folder.other(), 1, main.log.committed).index)


def test_a_roll_makes_no_name_and_takes_no_space() -> None:
    folder, main = about_to_roll()
    main.spare()
    folder.operations.clear()
    main.put("second", LARGE * "y")
    assert main.log.committed is not None
    assert main.log.committed.number == 2
    assert folder.log("link", "create", "allocate", "room", "sync_directory") == []
    assert set(read_by_others(main)) == {"first", "second"}


@pytest.mark.parametrize("error", [FULL, FolderUnavailable("no answer"), Missing("no such file")])
@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("other_space", [False, True])
def test_an_error_when_the_name_is_taken_does_not_end_the_epoch(
    error: FolderError, took_effect: bool, other_space: bool
) -> None:
    folder, main = about_to_roll()
    spare = more_space(folder)
    folder.at("link", NEXT, after=error if took_effect else None, before=None if took_effect else error)
    with pytest.raises(type(error)):
        run(main.log.name_ahead(spare))
    assert main.log.room == main.log.left < LARGE
    main.put("small", "z")
    if other_space:
        spare = more_space(folder)
    run(main.log.name_ahead(spare))
    main.log.spare = spare
    main.put("second", LARGE * "y")
    assert set(read_by_others(main)) == {"first", "small", "second"}
    folder.disk.crash()
    successor = serve(folder.other(), 2, "b")
    assert set(contents(successor.replica.index)) == {"first", "small", "second"}


def test_a_name_that_was_taken_ahead_is_nothing_to_a_successor() -> None:
    folder, main = about_to_roll()
    main.spare()
    successor = serve(folder.other(), 2, "b", known=main.log.committed)
    assert set(contents(successor.replica.index)) == {"first"}
    with pytest.raises(NotBegun, match="header at offset 0 is zero"):
        run(read_header(folder, 1, 2))


@pytest.mark.parametrize("begun_otherwise", [False, True])
def test_a_torn_marker_ends_the_log_although_the_next_name_is_taken(begun_otherwise: bool) -> None:
    folder, main = about_to_roll()
    main.spare()
    folder.disk.spoil(SEGMENT, main.log.end, b"\x01" * 24)
    epoch = 2
    if begun_otherwise:  # in that space a compaction began an epoch that came to nothing
        assert main.log.spare is not None
        header = SegmentHeader(FOLDER_ID, epoch, 1, new_nonce(folder), SEGMENT_BYTES)
        run(begin(folder, main.log.spare, header))
        win(folder, epoch)
        epoch += 1
    successor = serve(folder.other(), epoch, "b")
    assert set(contents(successor.replica.index)) == {"first"}


def test_a_name_that_leads_elsewhere_after_the_header_was_written_ends_the_epoch() -> None:
    """The file server crashed, and the name that it remembers is another one's."""
    folder, main = about_to_roll()
    main.spare()
    header = SegmentHeader(FOLDER_ID, 1, 2, 77, SEGMENT_BYTES)

    def swap() -> None:
        folder.disk.spoil(NEXT, 0, pack(msgspec.json.encode(header)))

    folder.at("write_block", NEXT, after=swap)
    with pytest.raises(FolderUnavailable, match="another file"):
        main.put("second", LARGE * "y")
    with pytest.raises(Sealed):
        run(main.log.check())
    assert set(contents(serve(folder.other(), 2, "b").replica.index)) == {"first"}
