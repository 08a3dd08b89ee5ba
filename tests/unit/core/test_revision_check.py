"""The check of a folder finds what contradicts what came before: revisions, history, leases, snapshots."""

from unittest.mock import patch

import pytest

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, Batch
from hanas_core.log.cells import checksum_of
from hanas_core.log.positions import Version
from hanas_core.state.entries import grave
from hanas_core.state.index import Index
from hanas_core.state.keyspace import KeySpace
from hanas_core.upkeep.revisioncheck import RevisionCheck
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.test_compaction import LARGE, sources
from tests.unit.core.test_revisions import Play, checked, in_a_folder

NOTHING = checksum_of(b"", b"")


def revised(key: bytes, create: int, generation: int, lease: int = 0) -> records.RevisedPut:
    return records.RevisedPut(key, 0, NOTHING, "", None, False, create, generation, lease)


def created(key: bytes) -> records.Put:
    return records.Put(key, 0, NOTHING, "", None, created=True)


def appended(play: Play, *changes: records.Record) -> None:
    """Commit records that no judge has made, with empty values."""
    main, index = play.main, play.main.replica.index
    cells = [b""] * sum(isinstance(part, records.Put) for part in changes)
    batch = Batch(
        main.claim.epoch,
        index.sequence + 1,
        len(changes),
        records.encode(changes, cells, index.revision),
        format=records.REVISED,
    )
    run(main.log.commit(batch))


def begun() -> Play:
    """Keys `a` (twice), `b` (deleted) and `c`, the last one with lease 1, and history from revision 3 on."""
    play = in_a_folder()
    play.grant(1, 9)
    for key in (b"a", b"a", b"b"):
        play.put(key, 1, 97)
    play.delete(b"b")
    play.put(b"c", 1, 97, 1)
    play.forget(3)
    assert (play.model.revision, play.model.compacted) == (6, 3)
    return play


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (revised(b"a", 2, 4), "'a' has the generation 4 since revision 2: generation 3 since revision 2 follows"),
        (revised(b"a", 3, 3), "'a' has the generation 3 since revision 3: generation 3 since revision 2 follows"),
        (created(b"a"), "'a' has the generation 1 since revision 7: generation 3 since revision 2 follows"),
        (revised(b"b", 4, 2), "'b' has the generation 2 since revision 4: generation 1 since revision 7 follows"),
        (records.Delete(b"b"), "'b' is deleted, and was deleted before"),
        (records.Compacted(3), "history is forgotten up to revision 3, and was up to 3"),
        (records.Compacted(7), "history is forgotten up to revision 7, which is behind the last, 6"),
        (records.Transacted((created(b"x"), records.Delete(b"x")), created=True), "a transaction changes a key twice"),
        (records.Granted(0, 9), "the lease 0 with 9 s to live: there can be no such"),
        (records.Granted(2, 0), "the lease 2 with 0 s to live: there can be no such"),
        (records.Checkpointed(((1, 10),)), "10 s remain of the lease 1, which lives for 9 s"),
        (records.Checkpointed(((1, 0),)), "0 s remain of the lease 1, which lives for 9 s"),
        (records.Revoked(1, (b"a", b"c")), "the lease 1 ends with keys that are not attached to it"),
        (records.Revoked(1, (b"b", b"c")), "the lease 1 ends with keys that are not attached to it"),
        (records.Revoked(1, ()), "'c' is attached to lease 1, which is gone"),
    ],
)
def test_what_contradicts_the_log_is_an_error(change: records.Record, words: str) -> None:
    play = begun()
    assert checked(play) == []
    appended(play, change)
    assert words in checked(play)


def test_what_is_right_is_none() -> None:
    play = begun()
    appended(play, records.Checkpointed(((1, 9), (7, 99))), records.Revoked(1, (b"c",)), revised(b"a", 2, 3))
    assert checked(play) == []


def test_what_follows_from_a_damage_is_not_told_besides() -> None:
    play = begun()
    at = play.main.log.end
    play.put(b"a", 1, 98)
    appended(play, revised(b"a", 2, 5), records.Granted(1, 9))
    assert isinstance(play.main.folder, MemoryFolder)
    play.main.folder.disk.spoil(names.segment(1, 1), at + 80, b"\xff")
    (told,) = checked(play)
    assert "a damaged batch" in told


MERGED = (
    records.Floor(3),
    records.KeptRevised(1, 3, b"k", 0, NOTHING, "", revision=4, create=2, generation=2, lease=0),
    records.GoneRevised(1, 5, b"g", revision=6),
    records.Lease(1, 6, 1, 9),
    records.Left(1, 7, 1, 4),
    records.Lease(1, 8, 2, 9),
    records.Ended(1, 9, 2),
)


def complaints(check: RevisionCheck, *merged: records.Merged) -> list[str]:
    check.gap()
    what = []
    for record in merged:
        what += [one.what for one in check.record(record, Version(1, 1), 0)]
        what += [one.what for one in check.part(record, 0)]
    return what + [one.what for one in check.ended(check._revision)]


@pytest.mark.parametrize(
    ("merged", "words"),
    [
        ([*MERGED, records.ReachedRevision(9, revision=6, compacted=3)], None),
        ([*MERGED, records.ReachedRevision(9, revision=6, compacted=2)], "up to revision 2, but lacks it up to 3"),
        ([*MERGED, records.ReachedRevision(9, revision=6, compacted=7)], "up to revision 7, and the last one is 6"),
        ([*MERGED, records.ReachedRevision(9, revision=5, compacted=3)], "ends with revision 5, but holds 6"),
        ([*MERGED, records.Left(1, 10, 1, 10)], "10 s remain of the lease 1"),
        ([*MERGED, records.Lease(1, 10, 1, 9)], "the lease 1 is granted a second time"),
        ([*MERGED, MERGED[1]], "'k' has the generation 2 since revision 2, as it had before"),
    ],
)
def test_what_was_merged_is_checked(merged: list[records.Merged], words: str | None) -> None:
    told = complaints(RevisionCheck(), *merged)
    assert (words is None and not told) or (len(told) == 1 and words is not None and words in told[0])


def test_merged_parts_follow_each_other() -> None:
    check = RevisionCheck()
    assert complaints(check, records.Floor(1), records.ReachedRevision(9, revision=8, compacted=4)) == []
    (told,) = complaints(check, records.Floor(4), records.ReachedRevision(12, revision=7, compacted=5))
    assert told == "what was merged ends with revision 7, but holds 8"


def test_what_was_left_out_proves_nothing() -> None:
    check = RevisionCheck()
    list(check.part(created(b"a"), 2))
    check.gap()
    assert list(check.part(revised(b"a", 2, 9), 9)) == [], "writes in between were merged away"
    assert list(check.record(records.Revoked(3, (b"b",)), Version(1, 9), 9)) == []


# ---------------------------------------------------------------------- snapshots


def with_snapshot() -> Play:
    play = begun()
    play.put(b"d", LARGE, 98)
    play.snapshot([])
    play.put(b"e", 1, 98)
    return play


def test_a_snapshot_tells_what_the_log_tells() -> None:
    play = with_snapshot()
    assert checked(play) == []
    play.take_over(unsure=False, cold=True)
    assert checked(play) == []


@pytest.mark.parametrize("what", ["revisions", "keys", "history", "leases"])
def test_a_snapshot_that_tells_something_else_is_an_error(what: str) -> None:
    play = begun()
    play.put(b"d", LARGE, 98)
    index = play.main.replica.index
    keys, leases = index.keys, index.leases
    with patch.object(Index, "check_invariants"), patch.object(KeySpace, "check_invariants"):
        match what:
            case "revisions":
                index.revision += 1
            case "keys":
                del keys.entries[b"d"]
                keys._order.remove(b"d")
            case "history":
                keys.history.replace(1, grave(3))  # what `b` held before its delete
            case _:
                leases.checkpoint([(1, 3)], 2)
        play.snapshot([])
    (told, *_) = [one for one in checked(play) if "than the log" in one]
    assert told == f"tells other {what} than the log: remove it"


def test_a_snapshot_that_nobody_reads_is_not_compared() -> None:
    play = with_snapshot()
    for sign in (97, 98, 99):
        play.put(b"f", LARGE, sign)
    play.merge(0, 9, [])
    assert run(play.main.folder.names(names.SNAPSHOTS))
    assert checked(play) == []


# ---------------------------------------------------------------------- epochs


def test_an_epoch_without_records_that_is_merged_by_itself_ends_nothing() -> None:
    play = begun()
    for _ in range(3):
        play.take_over(unsure=False, cold=True)
    empty = [at for at, cut in enumerate(sources(play.main)) if cut.end == FIRST_OFFSET]
    play.merge(empty[-1], 1, [])
    play.put(b"a", 1, 98)
    assert checked(play) == []
