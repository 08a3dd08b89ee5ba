"""A cold start from a snapshot finds what the log says, whatever was written meanwhile; without one it reads it all."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.log.positions import Position
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.state.judge import Write
from hanas_core.state.snapshots import Ending, SnapshotFile, SnapshotFrames, SnapshotHeader
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import pack
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Backup, Main, bare_folder, contents, fresh_backup, serve, stored
from tests.unit.core.test_compaction import compact, fill, learn, manifest_of

TEMPORARY = "tmp/snapshot"


def write_snapshot(main: Main, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Take a snapshot; ``meanwhile`` runs between two frames."""
    assert main.log.committed is not None
    header = SnapshotHeader(
        folder_id=FOLDER_ID,
        position=main.log.committed,
        sequence=main.replica.index.sequence,
        revision=main.replica.index.revision,
        form=main.replica.index.form,
        merged=main.replica.merged,
        keys=0,
        size=0,
    )
    written(main, TEMPORARY, header, meanwhile)
    return snapshots.name_of(header.position)


def written(main: Main, temporary: str, header: SnapshotHeader, meanwhile: Callable[[], None]) -> None:
    file, frames = SnapshotFile(main.folder, temporary, header), SnapshotFrames(main.replica.index)
    for payload in frames:
        run(file.write(payload))
        meanwhile()
    run(file.finish(frames.ending))


def started(main: Main) -> Backup:
    """A member that starts cold and reads everything that is committed."""
    return fresh_backup(main.folder.other(), main.claim.epoch, main.log.committed)


def filled() -> Main:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b", "c", "a")
    main.write(Write(b"once", b"1", "text/plain", idempotency_key="i"))
    main.write(Write(b"b", None))
    return main


def alike(one: Index, other: Index) -> bool:
    assert one.page(b"", b"", 10**6) == other.page(b"", b"", 10**6)
    assert one.remembered.all() == other.remembered.all()
    assert one.sequence == other.sequence
    assert +one.live == +other.live
    assert one.value_bytes == other.value_bytes
    return True


def test_who_starts_from_a_snapshot_reads_no_more_of_the_log_than_came_since() -> None:
    main = filled()
    name = write_snapshot(main)
    assert run(main.folder.names(names.SNAPSHOTS)) == [name.rpartition("/")[2]]
    main.put("after", "x")
    cold = started(main)
    assert alike(cold.index, main.replica.index)
    assert stored(main.folder, cold.index) == contents(main.replica.index)
    assert contents(cold.index) == dict.fromkeys("ac", "") | {"after": "x", "once": ""}, "the rest was never read"


def test_an_empty_index_makes_a_snapshot_too() -> None:
    main = serve(bare_folder(), 1)
    write_snapshot(main)
    main.put("k", "v")
    assert alike(started(main).index, main.replica.index)


def test_only_the_newest_snapshot_stays() -> None:
    main = filled()
    first = write_snapshot(main)
    main.put("k", "v")
    second = write_snapshot(main)
    assert first < second
    assert run(snapshots.newest(main.folder)) == [second]
    assert run(snapshots.read_header(main.folder, second)).position == main.log.committed


def test_a_snapshot_of_a_sleeper_does_not_remove_a_newer_one() -> None:
    main = filled()
    late: list[str] = []

    def meanwhile() -> None:
        if not late:
            late.append("")
            main.put("k", "v")
            late[0] = write_snapshot(Main(main.folder, main.claim, main.replica, main.log, main.commits))

    header_position = main.log.committed
    assert header_position is not None
    index = main.replica.index
    header = SnapshotHeader(
        folder_id=FOLDER_ID, position=header_position, sequence=index.sequence, merged=(), keys=0, size=0
    )
    written(main, "tmp/late", header, meanwhile)
    assert run(snapshots.newest(main.folder))[0] == late[0]
    assert alike(started(main).index, index)


def test_what_is_given_up_leaves_nothing() -> None:
    main = filled()
    assert main.log.committed is not None
    header = SnapshotHeader(folder_id=FOLDER_ID, position=main.log.committed, sequence=1, merged=(), keys=0, size=0)
    file = SnapshotFile(main.folder, TEMPORARY, header)
    with pytest.raises(ValueError, match="no frame"):
        run(file.finish(Ending(0, 1, 1)))
    run(file.write(next(iter(SnapshotFrames(main.replica.index)))))
    run(file.discard())
    assert TEMPORARY.rpartition("/")[2] not in run(main.folder.names(names.TEMPORARY))


stories = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 2000), st.none() | st.sampled_from("ijk"))
    | st.just(()),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(stories, stories, stories)
def test_writes_and_compactions_while_it_is_taken_come_once_more(before: list, during: list, after: list) -> None:  # type: ignore[type-arg]
    snapshots_at_once, snapshots.KEYS_AT_ONCE = snapshots.KEYS_AT_ONCE, 2
    try:
        mains = [serve(bare_folder(), 1)]

        def play(steps: list[tuple[str, int | None, str | None] | tuple[()]]) -> None:
            main = mains[0]
            for step in steps:
                if not step:
                    if main.log.sealed:
                        made = run(compact(main))
                        mains[0] = main = made
                    continue
                if main.log.spare is None:
                    main.spare()
                key, size, idempotency = step
                main.write(Write(key.encode(), None if size is None else bytes(size), idempotency_key=idempotency))

        play(before)
        steps = iter([during[at : at + 4] for at in range(0, len(during), 4)])
        write_snapshot(mains[0], lambda: play(next(steps, [])))
        play(after)
        cold = started(mains[0])
        learn(cold)
        assert alike(cold.index, mains[0].replica.index)
        assert stored(mains[0].folder, cold.index) == stored(mains[0].folder, mains[0].replica.index)
    finally:
        snapshots.KEYS_AT_ONCE = snapshots_at_once


def test_a_takeover_goes_on_from_a_snapshot_whose_end_it_re_logs() -> None:
    main = filled()
    write_snapshot(main)
    taker = serve(main.folder.other(), 2, "b")  # knows of no commit position: the cut is below the snapshot's
    assert alike(started(taker).index, taker.replica.index)
    assert stored(main.folder, taker.replica.index) == stored(main.folder, main.replica.index)


def test_a_snapshot_of_segments_that_are_gone_is_not_used() -> None:
    main = filled()
    fill(main, "c", "d", "e", "f")
    name = write_snapshot(main)
    fill(main, "c", "d", "e", "f")
    new = run(compact(main))
    assert run(snapshots.newest(new.folder)) == [name]
    assert alike(started(new).index, new.replica.index)


@pytest.mark.parametrize("at", [20, BLOCK_BYTES + 3, BLOCK_BYTES + 8, -1])
def test_a_damaged_snapshot_is_left_aside(at: int) -> None:
    main = filled()
    name = write_snapshot(main)
    size = len(main.folder.disk.content(name).visible)
    main.folder.disk.spoil(name, at % size, b"\xff")
    refuses(main)


def test_one_with_another_header_or_without_its_end_is_left_aside() -> None:
    main = filled()
    name = write_snapshot(main)
    del main.folder.disk.content(name).visible[-5:]
    refuses(main)
    main.folder.disk.spoil(name, 0, pack(b"{}"))
    refuses(main)


def refuses(main: Main) -> None:
    cold = started(main)
    (trouble,) = cold.troubles
    assert names.SNAPSHOTS in trouble
    assert alike(cold.index, main.replica.index)


def resized(folder: MemoryFolder, name: str, keys: int, size: int) -> None:
    header = run(snapshots.read_header(folder, name))
    changed = msgspec.structs.replace(header, keys=header.keys + keys, size=header.size + size)
    folder.disk.spoil(name, 0, pack(msgspec.json.encode(changed)))


@pytest.mark.parametrize(("keys", "size", "words"), [(1, 0, "were written"), (0, -3, "damaged")])
def test_a_snapshot_that_is_not_whole_is_no_snapshot(keys: int, size: int, words: str) -> None:
    main = filled()
    name = write_snapshot(main)
    resized(main.folder, name, keys, size)
    with pytest.raises(Corruption, match=words):
        run(snapshots.load(main.folder, name, Index()))


def test_a_frame_header_that_is_cut_short_is_damage() -> None:
    main = filled()
    name = write_snapshot(main)
    content = main.folder.disk.content(name)
    first = BLOCK_BYTES + 12 + int.from_bytes(content.visible[BLOCK_BYTES : BLOCK_BYTES + 4], "little")
    resized(main.folder, name, 0, first + 5 - len(content.visible))
    with pytest.raises(Corruption, match=f"at offset {first}"):
        run(snapshots.load(main.folder, name, Index()))


def test_rubbish_with_a_good_checksum_is_no_snapshot() -> None:
    main = filled()
    name = write_snapshot(main)
    frame = snapshots.frame_of(b"\xc1")
    main.folder.disk.spoil(name, BLOCK_BYTES, frame)
    resized(main.folder, name, 0, BLOCK_BYTES + len(frame) - len(main.folder.disk.content(name).visible))
    with pytest.raises(Corruption, match="is no snapshot"):
        run(snapshots.load(main.folder, name, Index()))


def test_a_folder_that_does_not_answer_is_no_reason_to_read_everything() -> None:
    main = filled()
    write_snapshot(main)
    other = main.folder.other()
    other.at("names", names.SNAPSHOTS, before=FolderUnavailable("no answer"))
    with pytest.raises(FolderError):
        run(Backup(other).follow(1))


def test_how_much_log_lies_behind_a_position() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b", "c", "d", "e")
    new = run(compact(main, 0, 1))
    manifest = manifest_of(new.folder, 2)
    whole = sum(cut.end for cut in manifest.cuts)
    assert manifest.behind(None) == whole
    assert manifest.behind(Position(9, 1, 1)) == whole
    assert manifest.behind(Position(2, 1, BLOCK_BYTES)) == 0
    last = manifest.cuts[-1]
    assert manifest.behind(Position(last.epoch, last.number, last.end - 10)) == 10
