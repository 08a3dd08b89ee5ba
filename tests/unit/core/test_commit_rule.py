"""Append, sync, check - in this order, one at a time; and whatever goes wrong on the way ends the epoch."""

import pytest

from hanas_core.log.batches import Batch, size_of
from hanas_core.log.claimfile import SEAL_OFFSET, Seal
from hanas_core.log.positions import Position
from hanas_core.log.seals import write_seal
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK
from hanas_core.volume.errors import FolderError, FolderUnavailable, NoSpace, Sealed
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import (
    SEGMENT_BYTES,
    Main,
    bare_folder,
    contents,
    fresh_backup,
    incarnation,
    put_payload,
    serve,
)

SEGMENT = names.segment(1, 1)
NEXT_SEGMENT = names.segment(1, 2)
CLAIM = names.claim(1)


def batch(sequence: int = 1, payload_bytes: int = 0) -> Batch:
    payload = put_payload("k", bytes(payload_bytes))
    return Batch(1, sequence, 1, payload)


def serving() -> tuple[MemoryFolder, Main]:
    folder = bare_folder()
    main = serve(folder, 1)
    folder.operations.clear()
    return folder, main


def test_a_write_is_appended_then_synced_then_checked() -> None:
    folder, main = serving()
    main.put("k", "v")
    assert folder.log() == [f"write {SEGMENT} @4096", f"sync {SEGMENT}", f"read {CLAIM} @{SEAL_OFFSET}"]


def test_every_write_makes_its_own_check() -> None:
    folder, main = serving()
    main.put("k", "1")
    main.put("k", "2")
    assert [line.split()[0] for line in folder.log()] == ["write", "sync", "read"] * 2


def test_a_seal_that_comes_during_the_sync_is_seen() -> None:
    folder, main = serving()
    seal = Seal(2, "b", incarnation("b"))
    folder.at("sync", SEGMENT, after=lambda: run(write_seal(folder.other(), 1, seal)))
    with pytest.raises(Sealed):
        main.put("k", "v")


def test_a_seal_that_comes_after_the_check_began_does_not_matter() -> None:
    folder, main = serving()
    seal = Seal(2, "b", incarnation("b"))
    folder.at("read", CLAIM, after=lambda: run(write_seal(folder.other(), 1, seal)))
    main.put("k", "v")
    with pytest.raises(Sealed):
        main.put("k", "w")


@pytest.mark.parametrize("at", [0, 1, 2047, 4095])
def test_any_byte_of_the_seal_block_seals(at: int) -> None:
    folder, main = serving()
    folder.disk.spoil(CLAIM, SEAL_OFFSET + at, b"\1")
    with pytest.raises(Sealed):
        main.put("k", "v")


def test_a_seal_block_that_cannot_be_read_whole_is_no_unsealed_one() -> None:
    folder, main = serving()
    del folder.disk.content(CLAIM).visible[-1:]
    with pytest.raises(FolderUnavailable):
        main.put("k", "v")


def test_a_main_that_slept_acknowledges_nothing_more() -> None:
    folder, main = serving()
    main.put("k", "old")
    successor = serve(folder.other(), 2, "b", replica=None)
    with pytest.raises(Sealed):
        main.put("k", "phantom")
    assert contents(successor.replica.index) == {"k": "old"}
    assert contents(fresh_backup(folder, 2, successor.log.committed).index) == {"k": "old"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["write", "sync", "read"])
def test_any_error_ends_the_log(kind: str, when: str) -> None:
    folder, main = serving()
    error = FolderUnavailable("the server is gone")
    folder.at(kind, before=error if when == "before" else None, after=error if when == "after" else None)
    with pytest.raises(FolderUnavailable):
        main.put("k", "v")
    folder.operations.clear()
    with pytest.raises(Sealed):
        run(main.log.commit(batch(2)))
    with pytest.raises(Sealed):
        run(main.log.check())
    with pytest.raises(Sealed):
        run(main.log.relog([]))
    assert folder.operations == []


@pytest.mark.parametrize("nth", range(1, 14))
def test_any_error_in_a_roll_ends_the_log(nth: int) -> None:
    folder, main = serving()
    main.put("k", "a" * 9000)
    main.spare()
    folder.at(nth=nth, before=FolderUnavailable("gone"))
    with pytest.raises(FolderUnavailable):
        main.put("k", "b" * 9000)
    with pytest.raises(Sealed):
        run(main.log.commit(batch(9)))
    assert not folder.planned


def test_a_second_write_cannot_begin_before_the_first_one_was_checked() -> None:
    folder, main = serving()

    def another() -> None:
        with pytest.raises(Sealed):
            run(main.log.commit(batch(2)))

    folder.at("sync", SEGMENT, after=another)
    main.put("k", "v")


def test_the_commit_position_is_the_end_of_the_last_checked_batch() -> None:
    _, main = serving()
    assert main.log.committed == Position(1, 1, BLOCK_BYTES)
    position = run(main.log.commit(batch()))
    assert position == main.log.committed == Position(1, 1, main.log.end)


def test_nothing_is_committed_by_re_logging() -> None:
    _, main = serving()
    before = main.log.committed
    run(main.log.relog([batch()]))
    assert main.log.committed == before
    assert run(main.log.check()).offset == main.log.end


def test_a_new_segment_is_durable_before_the_old_one_points_to_it_and_that_before_it_is_used() -> None:
    folder, main = serving()
    main.put("k", "a" * 9000)
    folder.operations.clear()
    main.spare()
    main.put("l", "b" * 9000)
    (spare,) = (line.removeprefix("allocate ") for line in folder.log("allocate"))
    assert [line for line in folder.log() if not line.startswith(("open", "remove"))] == [
        "room ",
        f"allocate {spare}",
        f"link {NEXT_SEGMENT}",
        "sync_directory segments",
        "refresh segments",
        f"read {NEXT_SEGMENT}",
        f"read {NEXT_SEGMENT}",
        f"write_block {NEXT_SEGMENT}",
        f"read {NEXT_SEGMENT}",
        next(line for line in folder.log("write") if SEGMENT in line),
        f"sync {SEGMENT}",
        f"read {CLAIM} @{SEAL_OFFSET}",
        f"close {SEGMENT}",
        f"write {NEXT_SEGMENT} @4096",
        f"sync {NEXT_SEGMENT}",
        f"read {CLAIM} @{SEAL_OFFSET}",
    ]
    assert main.log.committed is not None
    assert main.log.committed[:2] == (1, 2)


def test_a_batch_that_fits_exactly_does_not_roll_and_one_byte_more_does() -> None:
    _, main = serving()
    fitting = next(n for n in range(main.log.left, 0, -1) if size_of(len(batch(1, n).payload)) == main.log.left)
    main.spare()
    assert run(main.log.commit(batch(1, fitting)))[:2] == (1, 1)
    assert main.log.left == 0
    assert main.log.room == SEGMENT_BYTES - BLOCK_BYTES - size_of(0)
    assert run(main.log.commit(batch(2)))[:2] == (1, 2)


def test_a_full_log_has_no_room_without_prepared_space() -> None:
    _, main = serving()
    main.put("k", "a" * 9000)
    assert main.log.room == main.log.left < 9000
    with pytest.raises(AssertionError, match="fits into `room`"):
        run(main.log.commit(batch(2, 9000)))


def test_what_must_be_re_logged_and_does_not_fit_is_refused_before_a_byte_is_written() -> None:
    folder, main = serving()
    with pytest.raises(NoSpace):
        run(main.log.relog([batch(1, SEGMENT_BYTES)]))
    assert folder.log("write") == []


def test_a_segment_name_that_somebody_else_took_ends_the_epoch() -> None:
    folder, main = serving()
    main.put("k", "a" * 9000)
    other = bare_folder()
    taken = serve(other, 1)
    taken.put("k", "a" * 9000)
    taken.spare()
    taken.put("k", "a" * 9000)
    run(folder.create(NEXT_SEGMENT, bytes(other.disk.content(NEXT_SEGMENT).visible)))
    main.spare()
    with pytest.raises(FolderUnavailable, match="taken"):
        main.put("k", "b" * 9000)


def test_a_lost_reply_of_the_link_of_a_segment_does_no_harm() -> None:
    folder, main = serving()
    main.put("k", "a" * 9000)
    folder.at("link", NEXT_SEGMENT, answer=False)
    main.spare()
    main.put("k", "b" * 9000)
    assert contents(fresh_backup(folder, 1, main.log.committed).index) == {"k": "b" * 9000}


def test_the_seal_block_of_a_new_claim_is_all_zero() -> None:
    folder, _ = serving()
    assert bytes(folder.disk.content(CLAIM).visible[SEAL_OFFSET:]) == ZERO_BLOCK


def test_what_was_acknowledged_survives_a_crash_of_the_server_at_any_operation() -> None:
    for nth in range(1, 30):
        folder, main = serving()
        acknowledged = {}
        folder.at(nth=nth, before=FolderUnavailable("the server restarts"))
        try:
            for n in range(6):
                main.spare()
                main.put(f"k{n}", "v" * 5000)
                acknowledged[f"k{n}"] = "v" * 5000
        except FolderError:
            pass
        folder.disk.crash()
        successor = serve(folder.other(), 2, "b", known=main.log.committed)
        found = contents(successor.replica.index)
        assert acknowledged.items() <= found.items()
        assert len(found) <= len(acknowledged) + 1
