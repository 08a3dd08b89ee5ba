"""Compaction: what is live is kept, with its versions; nothing else is; and nothing is lost whoever sleeps or dies."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.epochs.takeover import Promotion
from hanas_core.log.batches import FIRST_OFFSET, Batch
from hanas_core.log.claimfile import Claim, Pointer
from hanas_core.log.claims import claim_epoch, highest_claim, read_pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest
from hanas_core.log.pieces import PIECE_BYTES
from hanas_core.log.positions import Position, Version
from hanas_core.log.records import Merged, Remembered, decode_merged
from hanas_core.log.segments import SegmentHeader as Header
from hanas_core.log.segments import SegmentReader, begin, new_nonce, prepare
from hanas_core.state import remembered
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.upkeep import compaction
from hanas_core.upkeep.compaction import Plan
from hanas_core.upkeep.merging import MergeFiles, Merger
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable, Missing, Sealed, WrongFolder
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import (
    FOLDER_ID,
    SEGMENT_BYTES,
    Backup,
    Main,
    bare_folder,
    claim_of,
    contents,
    fresh_backup,
    promoted,
    serve,
    stored,
    take_over,
    win,
)

LARGE = 5000
"""Two of these fit into a segment, bytes."""


def fill(main: Main, *keys: str, sign: str = "v") -> None:
    """Write large values; a new segment is begun where the present one has no room."""
    for key in keys:
        if main.log.spare is None:
            main.spare()
        main.put(key, sign * LARGE)


def sources(main: Main) -> tuple[Cut, ...]:
    return manifest_of(main.folder, main.claim.epoch).cuts + main.log.sealed


def manifest_of(folder: MemoryFolder, epoch: int) -> Manifest:
    reader = folder.other()
    pointer = run(read_pointer(reader, epoch))
    assert isinstance(pointer, Pointer)
    return run(read_manifest(reader, pointer))


def segment_files(folder: MemoryFolder) -> list[str]:
    return run(folder.names(names.SEGMENTS))


async def merge_piece(merger: Merger, files: MergeFiles) -> None:
    chunk = merger.take(await files.read(*merger.source))
    if chunk is not None:
        merger.written(await files.write(chunk))


async def merge(
    main: Main, plan: Plan, segment_bytes: int = SEGMENT_BYTES, meanwhile: Callable[[], None] = lambda: None
) -> tuple[Cut, ...]:
    taken = [names.segment_of(name) for name in await main.folder.names(names.SEGMENTS)]
    used = [segment[1] + 1 for segment in taken if segment and segment[0] == main.claim.epoch]
    number = max([names.MERGED_FROM, *used])
    merger = Merger(main.replica.index, plan, number, main.commits.form)
    files = MergeFiles(main.folder, main.claim, segment_bytes)
    while not merger.done:
        await merge_piece(merger, files)
        meanwhile()
    return tuple(merger.cuts)


async def compact(
    main: Main, first: int = 0, count: int | None = None, meanwhile: Callable[[], None] = lambda: None
) -> Main:
    """Merge some of the sealed segments and go on in the next epoch; ``meanwhile`` runs after each piece."""
    all_of_them = sources(main)
    chosen = all_of_them[first : None if count is None else first + count]
    plan = Plan(first, chosen, 0, 0)
    merged = await merge(main, plan, meanwhile=meanwhile)
    spare = await prepare(main.folder, main.claim.member, main.claim.incarnation, SEGMENT_BYTES)
    before = manifest_of(main.folder, main.claim.epoch).cuts + main.log.cuts
    claim = claim_of(main.claim.epoch + 1, main.claim.member)
    if (await claim_epoch(main.folder, claim)).nonce != claim.nonce:
        raise Sealed
    promotion = await compaction.roll(
        main.folder,
        claim,
        cuts=plan.replaced(before, merged),
        spare=spare,
        segment_bytes=SEGMENT_BYTES,
        next_sequence=main.commits.next_sequence,
        clock=lambda: 0.0,
    )
    main.replica.compacted(promotion.manifest)
    while main.replica.unread:
        await main.replica.learn()
    for name in await compaction.removable(main.folder, promotion.manifest):
        await main.folder.remove(name)
    main.commits.roll(claim.epoch)
    return Main(main.folder, claim, main.replica, promotion.log, main.commits)


def overwritten(folder: MemoryFolder | None = None) -> Main:
    """A main with several segments, most of what they hold overwritten or deleted."""
    main = serve(folder or bare_folder(), 1)
    fill(main, "a", "b", "c", "d", "a", "b", "gone", "a", "b")
    main.write(Write(b"gone", None))
    main.write(Write(b"once", b"1", idempotency_key="i"))
    fill(main, "a", "e")
    assert len(main.log.sealed) >= 5
    return main


EXPECTED = dict.fromkeys("abcde", "v" * LARGE) | {"once": "1"}


def test_what_is_live_is_kept_with_its_version_and_the_rest_is_removed() -> None:
    main = overwritten()
    versions = {key: entry.version for key, entry in main.replica.index.page(b"", b"", 99).entries}
    before = segment_files(main.folder)
    new = run(compact(main))
    assert len(segment_files(main.folder)) < len(before)
    assert all(name not in segment_files(main.folder) for name in before[:4])
    cold = fresh_backup(main.folder.other(), 2, new.log.committed)
    assert contents(cold.index) == EXPECTED
    assert {key: entry.version for key, entry in cold.index.page(b"", b"", 99).entries} == versions
    assert cold.index.sequence == main.replica.index.sequence
    assert cold.index.live == main.replica.index.live
    assert new.put("a", "next").version == Version(2, cold.index.sequence + 1)


def test_idempotency_keys_survive() -> None:
    new = run(compact(overwritten()))
    cold = fresh_backup(new.folder.other(), 2, new.log.committed)
    assert cold.index.done("i") == new.replica.index.done("i")
    assert new.write(Write(b"once", b"1", idempotency_key="i")) == [Outcome(Result.CREATED, Version(1, 11))]
    again = run(compact(new))
    assert again.write(Write(b"once", b"2", idempotency_key="i")) == [Outcome(Result.KEY_REUSED)]
    colder = fresh_backup(new.folder.other(), 3, again.log.committed)
    assert colder.index.done("i") == again.replica.index.done("i")


def test_an_idempotency_key_of_a_write_that_was_deleted_since_survives_alone() -> None:
    main = serve(bare_folder(), 1)
    main.write(Write(b"k", b"1", idempotency_key="i"))
    main.write(Write(b"k", None, idempotency_key="j"))
    fill(main, "a", "b", "c")
    new = run(compact(main))
    cold = fresh_backup(new.folder.other(), 2, new.log.committed)
    assert cold.index.get(b"k") is None
    assert [cold.index.done(key) for key in "ij"] == [main.replica.index.done(key) for key in "ij"]
    assert cold.index.live == main.replica.index.live


def test_idempotency_keys_that_are_forgotten_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "IDEMPOTENCY_WINDOW", 2)
    main = serve(bare_folder(), 1)
    for key in "ijk":
        main.write(Write(b"k", key.encode(), idempotency_key=key))
    fill(main, "a", "b", "c")
    new = run(compact(main))
    assert kept_keys(new.folder, 2) == {"j", "k"}
    new.write(Write(b"k", b"l", idempotency_key="l"))
    fill(new, "a", "b", "c")
    third = run(compact(new))
    assert kept_keys(third.folder, 3) == {"k", "l"}


def kept_keys(folder: MemoryFolder, epoch: int) -> set[str]:
    return {record.idempotency.key for record in merged_records(folder, epoch) if isinstance(record, Remembered)}


def merged_batches(folder: MemoryFolder, epoch: int) -> list[Batch]:
    found = []
    for cut in manifest_of(folder, epoch).cuts:
        if cut.number >= names.MERGED_FROM:
            reader = run(SegmentReader.open(folder.other(), cut.epoch, cut.number))
            found.extend(run(reader.take(FIRST_OFFSET, cut.end))[0])
    return found


def merged_records(folder: MemoryFolder, epoch: int) -> list[Merged]:
    return [record for batch in merged_batches(folder, epoch) for record in decode_merged(batch)[0]]


def learn(backup: Backup) -> None:
    while backup.unread:
        run(backup.learn())


def test_a_backup_goes_on_and_learns_where_the_values_are_now() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b", "gone")
    main.write(Write(b"gone", None))
    main.write(Write(b"once", b"1", idempotency_key="i"))
    fill(main, "a", "c", "d", "b", "e")
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    index = backup.index
    assert backup.tailer.applied == main.log.committed
    new = run(compact(main, 1))
    new.put("c", "newer")
    assert run(backup.follow(2))
    assert new.log.committed is not None
    backup.tailer.know(new.log.committed)
    run(backup.catch_up())
    assert backup.index is index, "nothing was forgotten"
    with pytest.raises(Missing):
        stored(new.folder, index)
    learn(backup)
    assert index.page(b"", b"", 99) == new.replica.index.page(b"", b"", 99)
    assert stored(new.folder, index) == contents(new.replica.index)
    assert index.done("i") == new.replica.index.done("i")
    assert +index.live == +new.replica.index.live
    # What it knows it reads no second time.
    assert run(backup.follow(2))
    assert backup.unread == []


def test_a_backup_that_lags_reads_the_merged_part_on_its_way() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b", "c", "gone")
    main.write(Write(b"gone", None), Write(b"once", b"1", idempotency_key="i"))
    fill(main, "d", "e", "a")
    taker = serve(main.folder.other(), 2, "b", known=main.log.committed)
    backup = fresh_backup(main.folder.other(), 2, taker.log.committed)
    fill(taker, "a", "b", "c", "a", "b", "c")
    new = run(compact(taker, 1))
    backup.continue_from(Position(1, 3, FIRST_OFFSET))
    assert run(backup.follow(3))
    assert backup.tailer.applied[:2] == (1, 1), "the last segment before the merged part"
    assert new.log.committed is not None
    backup.tailer.know(new.log.committed)
    run(backup.catch_up())
    assert contents(backup.index) == contents(new.replica.index)
    assert stored(new.folder, backup.index) == contents(new.replica.index)
    assert backup.index.done("i") == new.replica.index.done("i")


def test_much_is_learned_in_pieces() -> None:
    main = serve(bare_folder(), 1)
    keys = [f"k{n:03}" for n in range(2 * PIECE_BYTES // LARGE + 2)]
    fill(main, *keys)
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    plan = Plan(0, sources(main), 0, 0)
    merged = run(merge(main, plan, 1 << 20))
    manifest = manifest_of(main.folder, 1)
    backup.compacted(msgspec.structs.replace(manifest, cuts=merged))
    assert len(run(backup.learn())) == 1
    assert backup.unread == list(merged)
    learn(backup)
    assert set(+backup.index.live) == {(1, names.MERGED_FROM), (1, main.log.cuts[-1].number)}
    assert stored(main.folder, backup.index) == contents(main.replica.index)


def test_who_takes_over_before_it_has_learned_learns_it_as_the_main() -> None:
    main = overwritten()
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    new = run(compact(main))
    successor = serve(new.folder.other(), 3, "b", replica=backup)
    assert backup.unread
    successor.put("after", "x")
    learn(backup)
    assert stored(new.folder, backup.index) == EXPECTED | {"after": "x"}


def test_a_main_that_compacts_while_it_still_learns_learns_the_newer_places_too() -> None:
    main = overwritten()
    member = main.folder.other()
    backup = fresh_backup(member, 1, main.log.committed)
    manifest, plan = manifest_of(main.folder, 1), Plan(0, sources(main), 0, 0)
    older, newer = run(merge(main, plan, 1 << 20)), run(merge(main, plan, 1 << 20))
    backup.compacted(msgspec.structs.replace(manifest, cuts=older))
    segment = names.segment(older[0].epoch, older[0].number)
    member.at("read", segment, before=lambda: backup.compacted(msgspec.structs.replace(manifest, cuts=newer)))
    run(backup.learn())
    assert backup.unread == list(newer), "what was read in the meantime is another one"
    learn(backup)
    assert set(+backup.index.live) == {(1, newer[0].number), (1, main.log.cuts[-1].number)}
    assert stored(main.folder, backup.index) == EXPECTED


def test_a_merged_segment_that_rots_before_a_backup_has_read_it_is_corruption() -> None:
    main = overwritten()
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    new = run(compact(main))
    new.folder.disk.spoil(names.segment(1, names.MERGED_FROM), FIRST_OFFSET + 200, b"\xff")
    assert run(backup.follow(2))
    with pytest.raises(Corruption, match="hanas fsck"):
        run(backup.learn())


def test_the_part_in_the_middle_remembers_what_went() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "gone", "b")
    main.write(Write(b"gone", None))
    main.write(Write(b"gone", b"back"))
    main.write(Write(b"gone", None))
    fill(main, "b", "c", "b", "c")
    assert len(main.log.sealed) == 3
    new = run(compact(main, 1))
    assert manifest_of(main.folder, 2).cuts[0] == Cut(1, 1, main.log.sealed[0].end)
    cold = fresh_backup(new.folder.other(), 2, new.log.committed)
    assert contents(cold.index) == dict.fromkeys("abc", "v" * LARGE)
    # Once more, with the deletes that were kept, and at last all of it: then nothing is left of them.
    fill(new, "d", "d", "d")
    third = run(compact(new, 1))
    assert contents(fresh_backup(third.folder, 3, third.log.committed).index).keys() == set("abcd")
    fill(third, "d", "d", "d")
    fourth = run(compact(third))
    assert contents(fresh_backup(fourth.folder, 4, fourth.log.committed).index).keys() == set("abcd")


def test_everything_deleted_leaves_a_segment_that_only_knows_how_far_it_went() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b", "c")
    for key in "abc":
        main.write(Write(key.encode(), None))
    fill(main, "d", "e")
    new = run(compact(main, 0, 1))
    assert manifest_of(new.folder, 2).cuts[0].end < FIRST_OFFSET + 128
    cold = fresh_backup(new.folder, 2, new.log.committed)
    assert contents(cold.index).keys() == {"d", "e"}
    assert cold.index.sequence == main.replica.index.sequence


def test_more_than_a_segment_of_live_data_becomes_several() -> None:
    main = serve(bare_folder(), 1)
    keys = [f"k{n:03}" for n in range(2 * PIECE_BYTES // LARGE + 2)]
    fill(main, *keys)
    merged = run(merge(main, Plan(0, sources(main), 0, 0)))
    assert [cut.number for cut in merged] == [names.MERGED_FROM, names.MERGED_FROM + 1, names.MERGED_FROM + 2][
        : len(merged)
    ]
    assert len(merged) >= 2
    assert len(run(merge(main, Plan(0, sources(main), 0, 0), 1 << 20))) == 1
    new = run(compact(main))
    assert contents(fresh_backup(new.folder, 2, new.log.committed).index).keys() == set(keys)


def test_a_backup_that_is_up_to_date_goes_on_and_learns_the_new_places() -> None:
    main = overwritten()
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    index = backup.index
    new = run(compact(main))
    new.put("after", "x")
    assert run(backup.follow(2))
    assert new.log.committed is not None
    backup.tailer.know(new.log.committed)
    run(backup.catch_up())
    assert backup.index is index, "nothing was forgotten"
    assert contents(backup.index) == EXPECTED | {"after": "x"}


def test_a_backup_that_lags_behind_in_a_removed_segment_starts_anew() -> None:
    main = serve(bare_folder(), 1)
    fill(main, "a", "b")
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    fill(main, "a", "b", "a", "b", "c")
    new = run(compact(main))
    with pytest.raises(Missing):
        run(backup.catch_up())
    assert run(backup.follow(2))
    assert len(backup.index) == 0
    assert new.log.committed is not None
    backup.tailer.know(new.log.committed)
    run(backup.catch_up())
    assert contents(backup.index) == dict.fromkeys("abc", "v" * LARGE)


def test_a_backup_within_a_merged_part_goes_on_as_long_as_that_part_is_there() -> None:
    new = run(compact(overwritten()))
    position = Position(1, names.MERGED_FROM, FIRST_OFFSET)
    assert manifest_of(new.folder, 2).resume(position) == position
    fill(new, "x", "y", "z", "a", "b")
    run(compact(new))
    assert manifest_of(new.folder, 3).resume(position) is None


def test_a_takeover_after_a_compaction_continues_its_log() -> None:
    new = run(compact(overwritten()))
    new.put("after", "x")
    new.append("unknown", "y")
    other = serve(new.folder.other(), 3, "b")
    expected = EXPECTED | {"after": "x", "unknown": "y"}
    assert contents(other.replica.index) == expected
    third = serve(new.folder.other(), 4, "c", replica=fresh_backup(new.folder.other(), 3, other.log.committed))
    assert contents(third.replica.index) == expected
    fourth = run(compact(third))
    assert contents(fresh_backup(new.folder, 5, fourth.log.committed).index) == expected


def test_re_logged_writes_are_found_where_they_were_re_logged() -> None:
    """The copy behind the cut goes with its segment: a state that applied it there must learn of the other one."""
    main = serve(bare_folder(), 1)
    main.write(Write(b"k", b"v", idempotency_key="i"))
    backup = fresh_backup(main.folder.other(), 1, main.log.committed)
    taker = serve(main.folder.other(), 2, "b")  # knows of no commit position: it re-logs
    assert run(backup.follow(2))
    assert taker.log.committed is not None
    backup.tailer.know(taker.log.committed)
    run(backup.catch_up())
    entry = backup.index.get(b"k")
    assert entry is not None
    assert entry.place[:2] == (2, 1)
    assert stored(main.folder, backup.index) == {"k": "v"}
    assert backup.index.live == taker.replica.index.live


Step = Callable[[MemoryFolder, Claim], None]


def story_of_a_sleeper(nth: int) -> bool:
    """The main falls asleep before its ``nth`` operation; another takes over, compacts and writes; then it wakes."""
    folder = bare_folder()
    main = overwritten(folder)
    others: list[Main] = []

    def meanwhile() -> None:
        other = folder.other()
        highest = run(highest_claim(other))
        assert highest is not None
        taken = serve(other, highest.epoch + 1, "b")
        taken.put("by-b", "1")
        fill(taken, "a", "b", "a", "b", sign="w")
        others.append(run(compact(taken)))
        others[0].put("later", "2")

    folder.at(None, "", nth, before=meanwhile)
    with suppress(Sealed, FolderError):
        run(compact(main))
    if not others:
        folder.cancel()
        return True
    (survivor,) = others
    survivor.put("last", "3")
    expected = EXPECTED | {"a": "w" * LARGE, "b": "w" * LARGE, "by-b": "1", "later": "2", "last": "3"}
    cold = fresh_backup(folder.other(), survivor.claim.epoch, survivor.log.committed)
    assert contents(cold.index) == expected
    with suppress(Sealed, FolderError):
        main.append("too-late", "x")
    successor = serve(folder.other(), survivor.claim.epoch + 1, "c")
    assert contents(successor.replica.index) == expected
    assert contents(run(compact(successor)).replica.index) == expected
    return False


def test_a_main_frozen_at_any_step_loses_nothing_and_removes_nothing_of_its_successors() -> None:
    at_every_operation(story_of_a_sleeper)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_main_that_dies_at_any_step_has_lost_nothing(moment: str, *, crash: bool) -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        main = overwritten(folder)
        died = Died()
        folder.at(None, "", nth, before=died if moment == "before" else None, after=died if moment == "after" else None)
        with suppress(Died):
            run(compact(main))
        if folder.planned:
            return True
        if crash:
            folder.disk.crash()
        other = folder.other()
        highest = run(highest_claim(other))
        assert highest is not None
        successor = serve(other, highest.epoch + 1, "b")
        assert contents(successor.replica.index) == EXPECTED
        fill(successor, "a", "b", "a", "b", sign="w")
        compacted = run(compact(successor))
        left = {name for name in segment_files(other) if int(name[:10]) < compacted.claim.epoch}
        named = {names.segment(cut.epoch, cut.number) for cut in manifest_of(other, compacted.claim.epoch).cuts}
        assert {f"{names.SEGMENTS}/{name}" for name in left} == named, "leftovers are removed by whoever comes next"
        cold = fresh_backup(other, compacted.claim.epoch, compacted.log.committed)
        assert contents(cold.index) == EXPECTED | {"a": "w" * LARGE, "b": "w" * LARGE}
        return False

    at_every_operation(attempt)


def test_a_sleeper_does_not_acknowledge_in_either_epoch() -> None:
    folder = bare_folder()
    main = overwritten(folder)
    new = run(compact(main))
    serve(folder.other(), 3, "b")
    with pytest.raises(Sealed):
        main.put("old", "x")
    main.commits.ended()
    with pytest.raises(Sealed):
        new.put("new", "x")


def test_two_who_want_the_next_epoch_get_one_winner() -> None:
    folder = bare_folder()
    main = overwritten(folder)
    win(folder.other(), 2, "b")
    with pytest.raises(Sealed):
        run(compact(main))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1), max_size=400))
def test_a_takeover_and_a_compaction_at_once(turns: list[int]) -> None:
    folder = bare_folder()
    main = overwritten(folder)
    sleeper = Main(folder.other(suspends=True), main.claim, main.replica, main.log, main.commits)
    rival = folder.other(suspends=True)

    async def take() -> Promotion:
        highest = await highest_claim(rival)
        assert highest is not None
        claim = claim_of(highest.epoch + 1, "b")
        if (await claim_epoch(rival, claim)).nonce != claim.nonce:
            raise Sealed
        return await take_over(rival, claim, Replica())

    procedures: list[Coroutine[Any, Any, Any]] = [compact(sleeper), take()]
    outcomes = interleave(procedures, turns, errors=(Sealed, FolderError))  # type: ignore[arg-type]
    assert any(not isinstance(outcome, Exception) for outcome in outcomes)
    highest = run(highest_claim(folder))
    assert highest is not None
    assert contents(serve(folder.other(), highest.epoch + 1, "c").replica.index) == EXPECTED


writes = st.tuples(
    st.sampled_from([bytes([point]) for point in b"abcdefgh"]),
    st.none() | st.integers(0, 3000),
    st.none() | st.sampled_from("ijkl"),
)
compactions = st.tuples(st.integers(0, 3), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(writes | compactions, max_size=60))
def test_whatever_is_written_and_merged_a_cold_start_finds_the_same(story: list[tuple[Any, ...]]) -> None:
    main = serve(bare_folder(), 1)
    for step in story:
        if len(step) == 3:
            key, size, idempotency = step
            if main.log.spare is None:
                main.spare()
            main.write(Write(key, None if size is None else bytes(size), idempotency_key=idempotency))
        elif len(sources(main)) > step[0]:
            main = run(compact(main, *step))
    cold = fresh_backup(main.folder.other(), main.claim.epoch, main.log.committed)
    index = main.replica.index
    assert cold.index.page(b"", b"", 99) == index.page(b"", b"", 99)
    assert [cold.index.done(key) for key in "ijkl"] == [index.done(key) for key in "ijkl"]
    assert cold.index.sequence == index.sequence
    assert +cold.index.live == +index.live
    assert stored(main.folder, cold.index) == contents(index)
    assert stored(main.folder, index) == contents(index), "the places are right, whatever was moved"


# ---------------------------------------------------------------------- what is worth it


FULL = 8 << 20


def cuts(count: int) -> tuple[Cut, ...]:
    return tuple(Cut(1, number, FULL) for number in range(1, count + 1))


def planned(lives: list[int], *, share: float = 0.5, least: int = 1, room: int | None = None) -> Plan | None:
    live = {(1, number): part for number, part in enumerate(lives, 1)}
    return compaction.plan(cuts(len(lives)), live, FULL, share=share, least=least, room=room)


def test_nothing_to_merge_is_no_plan() -> None:
    assert planned([]) is None
    assert planned([FULL, FULL, 0]) is None, "a third is less than half"
    assert planned([0, 0], least=3 * FULL) is None, "too little to be worth an epoch"


def test_what_is_full_of_life_at_either_end_stays() -> None:
    plan = planned([FULL, 0, FULL, 0, 0, 0, FULL])
    assert plan == Plan(1, cuts(7)[1:6], 5 * FULL, FULL)


def test_where_room_is_short_only_what_fits_is_merged() -> None:
    plan = planned([0, FULL // 4, FULL // 4, 0], room=PIECE_BYTES * 2 + FULL // 3)
    assert plan is not None
    assert plan.cuts == cuts(4)[2:]
    assert planned([FULL // 4, 0, 0, 0], room=PIECE_BYTES) is None


def test_what_frees_most_is_merged_where_room_is_short() -> None:
    room = PIECE_BYTES * 2 + FULL // 2
    plan = planned([FULL // 3, FULL // 4, FULL, 0, 0, 0, FULL // 4], share=0.02, room=room)
    assert plan is not None
    assert plan.cuts == cuts(7)[3:]


def test_merged_segments_take_what_they_hold() -> None:
    assert compaction.space_of(Cut(1, 1, 5000), SEGMENT_BYTES) == SEGMENT_BYTES
    assert compaction.space_of(Cut(1, names.MERGED_FROM, 5000), SEGMENT_BYTES) == 5000


# ---------------------------------------------------------------------- what goes wrong


def test_a_rotten_source_is_corruption_and_not_merged() -> None:
    main = overwritten()
    main.folder.disk.spoil(names.segment(1, 2), FIRST_OFFSET + 100, b"\xff\xff")
    with pytest.raises(Corruption, match=rf"{names.segment(1, 2)}: at offset 4096.*hanas fsck"):
        run(compact(main))


def test_a_name_that_is_taken_is_an_error() -> None:
    main = overwritten()
    spare = run(prepare(main.folder, "b", "b" * 32, SEGMENT_BYTES))
    header = Header(FOLDER_ID, 1, names.MERGED_FROM, new_nonce(main.folder), SEGMENT_BYTES)
    main.folder.at(
        "link", names.segment(1, names.MERGED_FROM), before=lambda: run(begin(main.folder.other(), spare, header))
    )
    with pytest.raises(FolderUnavailable, match="taken"):
        run(compact(main))


def test_what_is_given_up_is_removed() -> None:
    main = serve(bare_folder(), 1)
    fill(main, *(f"k{n:03}" for n in range(2 * PIECE_BYTES // LARGE + 2)))
    before = segment_files(main.folder), run(main.folder.names(names.TEMPORARY))
    plan = Plan(0, sources(main), 0, 0)
    for failing in ("link", "write"):
        merger = Merger(main.replica.index, plan, names.MERGED_FROM)
        files = MergeFiles(main.folder, main.claim, SEGMENT_BYTES)
        run(files.discard(merger.cuts))
        main.folder.at(failing, nth=2, before=FolderUnavailable("no answer"))
        with suppress(FolderUnavailable):
            while not merger.done:
                run(merge_piece(merger, files))
        assert not merger.done
        run(files.discard(merger.cuts))
        assert (segment_files(main.folder), run(main.folder.names(names.TEMPORARY))) == before


def test_only_segments_of_earlier_epochs_that_nobody_names_are_removed() -> None:
    main = overwritten()
    disk = main.folder.disk
    run(main.folder.create("segments/README", b"what somebody left here"))
    claim = win(main.folder, 2)
    manifest = Manifest(
        epoch=2,
        member="a",
        incarnation=claim.incarnation,
        predecessor=1,
        cuts=(Cut(1, 3, 1),),
        relogged_end=4096,
        next_sequence=1,
    )
    run(main.folder.create(names.segment(2, 1), b""))
    gone = run(compaction.removable(main.folder, manifest))
    assert names.segment(1, 3) not in gone
    assert names.segment(2, 1) not in gone
    assert names.segment(1, 1) in gone
    assert "segments/README" not in gone
    assert disk.content("segments/README").visible


def test_nothing_is_removed_where_the_claim_is_anothers() -> None:
    main = overwritten()
    claim = win(main.folder, 2)
    manifest = Manifest(
        epoch=2, member="a", incarnation="b" * 32, predecessor=1, cuts=(), relogged_end=4096, next_sequence=1
    )
    assert claim.incarnation != manifest.incarnation
    with pytest.raises(WrongFolder, match="0000000002 is not the claim of a: nothing is removed"):
        run(compaction.removable(main.folder, manifest))


def test_a_queue_rolls_only_between_batches() -> None:
    commits = GroupCommit[str](Replica(), 1, 1)
    commits.submit(Write(b"k", b"v"), "k")
    assert commits.next_batch(1 << 20) is not None
    with pytest.raises(AssertionError, match="in flight"):
        commits.roll(2)
    commits.committed(Position(1, 1, 8192))
    commits.roll(2)
    assert commits.next_sequence == 2


def test_versions_grow_over_epochs() -> None:
    main = overwritten()
    versions = [main.put("k", "1").version]
    main = run(compact(main))
    versions.append(main.put("k", "2").version)
    successor = promoted(main.folder.other(), win(main.folder, 3, "b"))
    versions.append(successor.put("k", "3").version)
    assert all(one is not None and two is not None and one < two for one, two in pairwise(versions))
