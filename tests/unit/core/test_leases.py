"""Leases in the log, one rule at a time; at random they are tested in test_revisions."""

import pytest
from msgspec import UNSET

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, Batch, Kind, encode
from hanas_core.log.cells import checksum_of
from hanas_core.log.positions import Version
from hanas_core.state import leases, queue
from hanas_core.state.index import Index
from hanas_core.state.judge import ForwardedWrite, Opening, Outcome, Request, Result, Write
from hanas_core.state.leases import Checkpoint, Grant, Lease, Revoke, cost_of
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.state.transactions import DeleteKeys, PutKey, Span, Transact, Transaction
from hanas_core.upkeep import logcheck
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.restoring import Restoration
from hanas_core.volume.blocking import run
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, promoted, win
from tests.unit.core.test_compaction import LARGE
from tests.unit.core.test_group_commit import ROOM
from tests.unit.core.test_revisions import Play, checked, in_a_folder
from tests.unit.core.test_transactions import PLACE, begun, commit, index_of


def results(commits: GroupCommit[None], *requests: Request) -> list[Result]:
    return [outcome.result for outcome in commit(commits, *requests)]


def put(key: str, lease: int = 7) -> Write:
    return Write(key.encode(), b"v", lease=lease)


# ---------------------------------------------------------------------- the records, and what they do


def test_a_grant_takes_no_revision_and_its_version_tells_it_from_others() -> None:
    commits = begun()
    (outcome,) = commit(commits, Grant(7, 30))
    assert outcome == Outcome(Result.LEASE_GRANTED, Version(3, 1), 1)
    assert index_of(commits).leases.all() == [(7, Lease(3, 1, 30, 30, 1))]
    (again,) = commit(commits, Grant(7, 60))
    assert again == Outcome(Result.LEASE_EXISTS, Version(3, 1), 1)
    assert results(commits, Revoke(7), Grant(7, 60)) == [Result.LEASE_REVOKED, Result.LEASE_GRANTED]
    assert index_of(commits).leases.all() == [(7, Lease(3, 3, 60, 60, 3))]


def test_a_revoke_deletes_all_keys_of_the_lease_in_one_revision() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), Grant(8, 30), put("b"), put("a"), put("c", 8), Write(b"d", b"v"))
    (outcome,) = commit(commits, Revoke(7))
    assert outcome == Outcome(Result.LEASE_REVOKED, Version(3, 1), 6)
    index = index_of(commits)
    assert [key for key, _ in index.page(b"", b"", 9).entries] == [b"c", b"d"]
    assert [key for key, _ in index.page(b"", b"", 9, 5).entries] == [b"a", b"b", b"c", b"d"]
    assert results(commits, Revoke(7)) == [Result.LEASE_NOT_FOUND]


def test_the_record_of_a_revoke_names_the_keys_in_order() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), put("b"), put("a"))
    commits.submit(Revoke(7), None)
    commits.next_batch(ROOM)
    assert commits._records == [records.Revoked(7, (b"a", b"b"))]


def test_a_revoke_without_keys_takes_no_revision() -> None:
    commits = begun()
    commit(commits, Grant(7, 30))
    assert commit(commits, Revoke(7)) == [Outcome(Result.LEASE_REVOKED, Version(3, 1), 1)]


def test_a_key_goes_with_the_lease_that_it_was_attached_to_last() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), Grant(8, 30), put("moved"), put("freed"), put("gone"), put("same"))
    commit(commits, put("moved", 8), put("freed", 0), Write(b"gone", None), put("same"))
    index = index_of(commits)
    assert (set(index.leases.keys(7)), set(index.leases.keys(8))) == ({b"same"}, {b"moved"})
    commit(commits, Write(b"gone", b"v"), Revoke(7))
    assert [key for key, _ in index.page(b"", b"", 9).entries] == [b"freed", b"gone", b"moved"]


def test_a_revoke_sees_the_earlier_writes_of_its_batch() -> None:
    commits = begun()
    outcomes = commit(
        commits,
        Grant(7, 30),
        put("a"),
        put("b"),
        put("a"),
        put("b", 0),
        put("c"),
        Write(b"c", None),
        Revoke(7),
        put("d"),
        Write(b"a", None),
    )
    assert [outcome.result for outcome in outcomes[-3:]] == [
        Result.LEASE_REVOKED,
        Result.LEASE_NOT_FOUND,
        Result.NOT_FOUND,
    ]
    assert [key for key, _ in index_of(commits).page(b"", b"", 9).entries] == [b"b"]


def test_an_expiry_ends_no_lease_that_was_granted_anew() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), Revoke(7), Grant(7, 60))
    assert results(commits, Revoke(7, Version(3, 1))) == [Result.LEASE_NOT_FOUND]
    assert results(commits, Revoke(7, Version(3, 3))) == [Result.LEASE_REVOKED]


def test_a_checkpoint_notes_what_remains_of_the_leases_that_it_was_made_for() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), Grant(8, 30), Grant(9, 30), Revoke(9))
    wish = Checkpoint(((7, Version(3, 1), 12), (8, Version(3, 9), 12), (9, Version(3, 3), 12)))
    assert commit(commits, wish) == [Outcome(Result.CHECKPOINTED, None, 1)]
    index = index_of(commits)
    assert index.leases.get(7) == Lease(3, 1, 30, 12, 5)
    assert index.leases.get(8) == Lease(3, 2, 30, 30, 2)
    sequence = index.sequence
    commit(commits, Checkpoint(((9, Version(3, 3), 12),)))
    assert index.sequence == sequence, "nothing was noted, so there is no record"


def test_a_checkpoint_of_a_lease_that_is_not_known_is_passed_by() -> None:
    index = Replica().index
    index.leases.checkpoint([(7, 3)], 9)
    index.leases.revoke(7)
    assert not index.leases


# ---------------------------------------------------------------------- what is refused


def test_a_key_is_not_attached_to_a_lease_that_is_not_there() -> None:
    commits = begun()
    assert commit(commits, put("k")) == [Outcome(Result.LEASE_NOT_FOUND, None, 1)]
    transaction = Transact(Transaction((), (PutKey(b"a", b"v"), PutKey(b"k", b"v", lease=7))))
    assert commit(commits, transaction) == [Outcome(Result.LEASE_NOT_FOUND, None, 1)]
    assert len(index_of(commits)) == 0
    plain = GroupCommit[None](Replica(), 3, 1)
    assert [one.result for one in commit(plain, put("k"))] == [Result.LEASE_NOT_FOUND]


def test_conditions_come_before_the_lease() -> None:
    commits = begun()
    assert results(commits, Write(b"k", b"v", if_match=("*",), lease=7)) == [Result.CONDITION_FAILED]


def test_a_transaction_attaches_and_frees() -> None:
    commits = begun()
    commit(commits, Grant(7, 30), put("a"), put("b"))
    steps = PutKey(b"k", b"v", lease=7), PutKey(b"a", b"w"), DeleteKeys(Span.one(b"b"))
    commit(commits, Transact(Transaction((), steps)))
    assert list(index_of(commits).leases.keys(7)) == [b"k"]


def test_so_many_leases_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_LEASES", 2)
    commits = begun()
    granted, refused, revoked = Result.LEASE_GRANTED, Result.TOO_MANY_LEASES, Result.LEASE_REVOKED
    wishes = Grant(1, 9), Grant(2, 9), Grant(3, 9), Revoke(1), Grant(3, 9), Grant(4, 9)
    assert results(commits, *wishes) == [granted, granted, refused, revoked, granted, refused]
    assert results(commits, Grant(1, 9)) == [refused]
    assert len(index_of(commits).leases) == 2


def test_so_many_keys_of_a_lease_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_KEY_BYTES", 3 * cost_of(b"a"))
    commits = begun()
    commit(commits, Grant(7, 30), put("a"))
    assert results(commits, put("b"), put("b"), put("a"), put("c"), put("d")) == [
        Result.CREATED,
        Result.REPLACED,
        Result.REPLACED,
        Result.CREATED,
        Result.LEASE_CROWDED,
    ]
    assert results(commits, Transact(Transaction((), (PutKey(b"d", b"v", lease=7),)))) == [Result.LEASE_CROWDED]
    assert results(commits, Write(b"a", None)) == [Result.DELETED]
    assert results(commits, put("d")) == [Result.CREATED]


def test_a_revoke_finds_room_for_all_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = begun()
    commit(commits, Grant(7, 30), *(put(f"key-{number}") for number in range(300)))
    index = index_of(commits)
    commits.submit(Revoke(7), None)
    assert commits.next_batch(index.leases.cost(7)) is None, "it waits for a segment with room"
    assert commits.refuse_for_space(index.leases.cost(7), 0) == [(None, Outcome(Result.NO_SPACE))]
    commits.submit(Revoke(7), None)
    room = index.leases.cost(7) + 512
    assert commits.refuse_for_space(room, 1 << 20) == [], "as a delete, it may use the last room"
    batch = commits.next_batch(room, 1 << 20)
    assert batch is not None
    assert len(batch.payload) <= index.leases.cost(7) + Revoke.size
    commits.committed(PLACE)
    monkeypatch.setattr(queue, "_MOST_BATCH_BYTES", 4096)
    commit(commits, Grant(7, 30), *(put(f"key-{number}") for number in range(300)))
    commits.submit(Write(b"k", b"v"), None)
    commits.submit(Revoke(7), None)
    batch = commits.next_batch(ROOM)
    assert batch is not None
    assert batch.count == 1, "it begins a batch"


def test_a_record_takes_no_more_than_its_request_says() -> None:
    most = leases.MOST_ID
    version = Version((1 << 32) - 1, most)
    left = Checkpoint(tuple((most - number, version, leases.MOST_TTL) for number in range(40)))
    record = records.Checkpointed(tuple((lease, seconds) for lease, _, seconds in left.left))
    assert len(records.encode([record], (), most)) <= left.size
    assert len(records.encode([records.Granted(most, leases.MOST_TTL)], (), most)) <= Grant(1, 1).size
    keys = tuple(b"\xff" * number for number in range(1, 40))
    assert len(records.encode([records.Revoked(most, keys)], (), most)) <= Revoke.size + sum(map(cost_of, keys))


def test_a_lease_is_a_part_of_the_request_that_an_idempotency_key_covers() -> None:
    assert put("k", 0).digest() == Write(b"k", b"v").digest()
    assert put("k", 1).digest() != put("k", 2).digest()


def test_a_forwarded_write_attaches_as_well() -> None:
    commits = begun()
    opened, _ = commit(commits, Opening("b"), Grant(7, 30))
    assert opened.version is not None
    writes = [ForwardedWrite(put("k"), records.Forwarded(opened.version, number, 1)) for number in (1, 2)]
    assert results(commits, *writes) == [Result.CREATED, Result.REPLACED]
    assert index_of(commits).leases.attached == {b"k": 7}


# ---------------------------------------------------------------------- whoever reads it


def test_leases_outlive_takeovers_snapshots_and_merges() -> None:
    play = in_a_folder()
    play.grant(1, 9)
    play.grant(2, 9)
    play.put(b"a", LARGE, 97, 1)
    play.put(b"b", LARGE, 97, 2)
    play.checkpoint(1, 4)
    play.put(b"c", LARGE, 97, 2)
    play.revoke(2)
    play.put(b"d", LARGE, 97, 1)
    play.forget(0)
    play.snapshot([("put", b"a", 5, 97), ("grant", 2, 5), ("put", b"b", 5, 97, 2), ("checkpoint", 1, 3)])
    play.fall_behind()
    play.put(b"e", LARGE, 97, 1)
    play.merge(1, 2, [("revoke", 1)])
    play.merge(0, 9, [("checkpoint", 2, 2)])
    play.take_over(unsure=False, cold=True)
    assert checked(play) == []
    play.end()


def test_a_revoke_is_kept_for_the_segments_before_the_merged_ones() -> None:
    play = in_a_folder()
    play.grant(1, 9)
    play.put(b"a", LARGE, 97)
    play.put(b"b", LARGE, 97)
    play.revoke(1)
    play.put(b"c", LARGE, 97)
    play.put(b"d", LARGE, 97)
    play.merge(1, 2, [])
    play.take_over(unsure=False, cold=True)
    assert checked(play) == []
    play.end()


def appended(play: Play, *changes: records.Record) -> None:
    """Commit records that no judge has made."""
    main, index = play.main, play.main.replica.index
    payload = records.encode(changes, (), index.revision)
    batch = Batch(main.claim.epoch, index.sequence + 1, len(changes), payload, format=records.REVISED)
    run(main.log.commit(batch))


def test_a_lease_that_is_granted_twice_is_an_error() -> None:
    play = in_a_folder()
    play.grant(1, 9)
    appended(play, records.Granted(1, 9))
    assert checked(play) == ["the lease 1 is granted a second time"]


def test_a_key_whose_lease_is_gone_is_an_error() -> None:
    play = in_a_folder()
    play.grant(1, 9)
    play.put(b"a", 1, 97, 1)
    appended(play, records.Revoked(1, ()))
    assert checked(play) == ["'a' is attached to lease 1, which is gone"]


def test_copies_carry_leases_and_a_restored_store_gives_them_their_whole_time() -> None:
    play = in_a_folder()
    play.grant(1, 9)
    play.checkpoint(1, 4)
    play.put(b"a", 1, 97, 1)
    play.put(b"b", 1, 97)
    copy = FolderCopy(play.main.folder.other())
    assert play.main.log.committed is not None
    run(copy.read(play.main.log.committed))
    items = run(copy.take())
    assert [(item.key, item.lease) for item in items] == [("a", 1), ("b", UNSET)]
    folder = MemoryFolder()
    restoration = run(
        Restoration.begin(folder, FOLDER_ID, SEGMENT_BYTES, "now", lambda: 0.0, copy.store_revision, copy.leases)
    )
    run(restoration.add(items))
    run(restoration.finish())
    index = promoted(folder.other(), win(folder.other(), 2, "b")).replica.index
    assert [(lease, held.ttl, held.remaining) for lease, held in index.leases.all()] == [(1, 9, 9)]
    assert index.leases.attached == {b"a": 1}


def test_a_merged_part_tells_of_leases_and_of_their_ends() -> None:
    index = Index()
    index.leases.grant(2, 9, Version(1, 1))
    nothing = checksum_of(b"", b"")
    newer = records.KeptRevised(1, 5, b"k", 0, nothing, "", revision=4, create=4, generation=1, lease=1)
    older = records.KeptRevised(1, 4, b"k", 0, nothing, "", revision=3, create=3, generation=1, lease=2)
    reached = records.ReachedRevision(6, revision=4, compacted=4)
    merged: list[records.Merged] = [
        records.Floor(4),
        records.Lease(1, 2, 1, 9),
        records.Left(1, 3, 1, 5),
        newer,
        older,
        records.Ended(1, 6, 2),
        reached,
    ]
    index.apply(
        Batch(
            1,
            0,
            len(merged),
            records.encode_merged(merged, (), records.REVISED),
            Kind.MERGED,
            1,
            1,
            format=records.REVISED,
        )
    )
    assert index.leases.all() == [(1, Lease(1, 2, 9, 5, 3))]
    assert index.leases.attached == {b"k": 1}


def test_what_was_revoked_is_named_where_its_batch_is_damaged() -> None:
    written: list[records.Record] = [records.Revoked(1, (b"a", b"b")), records.Granted(1, 9)]
    payload = records.encode(written, (), 1)
    content = encode(Batch(1, 5, 2, payload, epoch=1, number=1, format=records.REVISED), 1)
    damaged = bytearray(bytes(FIRST_OFFSET) + content)
    damaged[FIRST_OFFSET + 9] ^= 1
    assert logcheck._salvaged(bytes(damaged), FIRST_OFFSET) == {b"a": 5, b"b": 5}
