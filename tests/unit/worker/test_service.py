"""The main's service on a folder in memory: commits, checks, a full volume, and the end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from hanas_core.epochs.takeover import Promotion
from hanas_core.log.batches import Batch
from hanas_core.log.claimfile import Claim, Seal
from hanas_core.log.positions import Version
from hanas_core.log.seals import write_seal
from hanas_core.state import queue
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.upkeep import compaction
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from tests.unit.core.scenery import contents, fresh_backup, put_payload, win
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.stage import SEGMENT_BYTES, Gate, Stage, started

QUARTER = SEGMENT_BYTES // 4


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = await started()
    yield stage
    stage.service.end("the test is over")


async def soon(waiter: asyncio.Future[Outcome]) -> Outcome:
    async with asyncio.timeout(AMPLE_SECONDS):
        return await waiter


def put(key: str, size: int = 1) -> Write:
    return Write(key.encode(), bytes(size))


async def test_writes_are_committed_in_order_and_can_be_read_after_the_answer(stage: Stage) -> None:
    waiters = [stage.service.write(put(key)) for key in ("a", "b", "a")]
    outcomes = [await soon(waiter) for waiter in waiters]
    assert outcomes == [
        Outcome(Result.CREATED, Version(1, 1)),
        Outcome(Result.CREATED, Version(1, 2)),
        Outcome(Result.REPLACED, Version(1, 3)),
    ]
    assert set(contents(stage.service.index)) == {"a", "b"}
    assert await soon(stage.service.write(Write(b"a", None))) == Outcome(Result.DELETED, Version(1, 4))
    assert await soon(stage.service.write(None)) == Outcome(Result.COMMITTED)
    assert set(contents(fresh_backup(stage.folder.other(), 1, stage.service.applied).index)) == {"b"}
    assert stage.service.epoch == 1
    assert stage.ends == []


async def test_what_arrives_during_a_sync_forms_one_batch(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", names.segment(1, 1), before=gate)
    first = stage.service.write(put("first"))
    await until(gate.reached.is_set)
    others = [stage.service.write(put(f"{number}")) for number in range(20)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in (first, *others))
    assert contents(stage.service.index) == {}
    syncs = len(stage.folder.log("sync"))
    gate.open()
    await soon(others[-1])
    assert [waiter.result().result for waiter in (first, *others)] == 21 * [Result.CREATED]
    assert len(stage.folder.log("sync")) - syncs == 2


async def test_a_write_is_not_answered_before_the_check_that_began_after_its_sync(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("read", names.claim(1), before=gate)
    waiter = stage.service.write(put("a"))
    await until(gate.reached.is_set)
    assert stage.folder.log("write", "sync")[-1].startswith("sync")
    assert not waiter.done()
    gate.open()
    assert (await soon(waiter)).result is Result.CREATED


async def test_one_check_serves_all_the_reads_that_wait(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("read", names.claim(1), before=gate)
    first = stage.service.fence()
    await until(gate.reached.is_set)
    others = [stage.service.fence() for _ in range(20)]
    reads = len(stage.folder.log("read"))
    gate.open()
    await asyncio.gather(first, *others)
    # Those that came during the first check need one that began after they came.
    assert len(stage.folder.log("read")) - reads == 2


async def test_how_long_the_oldest_write_waits(stage: Stage) -> None:
    assert stage.service.stalled_for == 0.0
    gate = Gate()
    stage.folder.at("sync", names.segment(1, 1), before=gate)
    waiter = stage.service.write(put("a"))
    await until(lambda: stage.service.stalled_for > 0.01)
    gate.open()
    await soon(waiter)
    await until(lambda: stage.service.stalled_for == 0.0)


async def test_a_sealed_epoch_leaves_the_outcome_of_a_write_unknown(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", names.segment(1, 1), before=gate)
    in_flight = stage.service.write(put("a"))
    await until(gate.reached.is_set)
    waiting = stage.service.write(put("b"))
    stage.seal()
    gate.open()
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    assert await soon(waiting) == Outcome(Result.NOT_MAIN)
    assert stage.ends == ["the epoch is sealed"]
    assert stage.service.ended
    assert contents(stage.service.index) == {}
    assert await soon(stage.service.write(put("c"))) == Outcome(Result.NOT_MAIN)
    assert await stage.service.fence() is None


async def test_a_sealed_epoch_shows_nothing(stage: Stage) -> None:
    await soon(stage.service.write(put("a")))
    stage.seal()
    readers = [stage.service.fence() for _ in range(3)]
    for reader in readers:
        assert await reader is None
    assert stage.ends == ["the epoch is sealed"]


@pytest.mark.parametrize(("kind", "name"), [("write", "segments"), ("sync", "segments"), ("read", "claims")])
async def test_an_error_on_the_way_of_a_commit_ends_the_epoch(stage: Stage, kind: str, name: str) -> None:
    stage.folder.at(kind, name, before=FolderUnavailable("input/output error"))
    reader = asyncio.ensure_future(stage.service.write(put("a")))
    assert await soon(reader) == Outcome(Result.UNKNOWN)
    assert stage.ends == ["a commit failed: input/output error"]
    assert await soon(stage.service.write(None)) == Outcome(Result.NOT_MAIN)
    # Nothing more is appended by this incarnation.
    assert not stage.folder.planned
    before = stage.folder.log("write")
    await asyncio.sleep(0.01)
    assert stage.folder.log("write") == before


async def test_an_error_of_a_check_ends_the_epoch(stage: Stage) -> None:
    stage.folder.at("read", "claims", before=FolderUnavailable("input/output error"))
    assert await stage.service.fence() is None
    assert stage.ends == ["a seal check failed: input/output error"]


async def test_a_commit_that_hangs_is_given_up_and_ends_the_epoch() -> None:
    stage, gate = await started(timeout=0.05), Gate()
    stage.folder.at("sync", "segments", before=gate)
    in_flight = stage.service.write(put("a"))
    await until(gate.reached.is_set)
    waiting = stage.service.write(put("b"))
    reader = stage.service.fence()
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    assert await soon(waiting) == Outcome(Result.NOT_MAIN)
    await asyncio.wait([reader])
    [why] = stage.ends
    assert why.startswith("a commit failed: the folder did not answer within 0.05 s")
    # It comes back later: nobody is told that it was done, and nothing is served.
    gate.open()
    await until(lambda: stage.folder.log("read")[-1] == f"read {names.claim(1)} @8192")
    assert contents(stage.service.index) == {}


async def test_a_check_that_hangs_is_given_up_and_ends_the_epoch() -> None:
    stage, gate = await started(timeout=0.05), Gate()
    stage.folder.at("read", "claims", before=gate)
    first = stage.service.fence()
    await until(gate.reached.is_set)
    second = stage.service.fence()
    for reader in (first, second):
        assert await reader is None
    assert "a seal check failed: the folder did not answer" in stage.ends[0]
    gate.open()


async def test_the_end_is_told_once_and_may_come_in_the_middle_of_everything(stage: Stage) -> None:
    commit, check = Gate(), Gate()
    stage.folder.at("sync", "segments", before=commit)
    in_flight = stage.service.write(put("a"))
    await until(commit.reached.is_set)
    waiting = stage.service.write(put("b"))
    stage.folder.at("read", "claims", before=check)
    under_way = stage.service.fence()
    await until(check.reached.is_set)
    late = stage.service.fence()
    stage.service.end("another one claimed epoch 2")
    stage.service.end("again")
    assert stage.ends == ["another one claimed epoch 2"]
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    assert await soon(waiting) == Outcome(Result.NOT_MAIN)
    for reader in (under_way, late):
        async with asyncio.timeout(AMPLE_SECONDS):
            assert await reader is None
    commit.open()
    check.open()


@pytest.mark.parametrize("name", ["segments", "claims"])
async def test_an_error_of_this_program_ends_the_epoch(
    stage: Stage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A main that commits or checks nothing any more, and does not know it, would stay the main for ever."""
    commit = Gate()
    stage.folder.at("sync", "segments", before=commit)
    stage.folder.at("write" if name == "segments" else "read", name, before=ValueError("a mistake"))
    in_flight, reader = stage.service.write(put("a")), stage.service.fence()
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    await asyncio.wait([reader])
    await until(lambda: bool(stage.ends))
    commit.open()
    assert stage.ends == ["an error of this program: ValueError('a mistake')"]
    assert "a mistake" in caplog.text


async def test_its_threads_end_with_it_once_the_folder_answers() -> None:
    before = set(threading.enumerate())
    stage, gate = await started(), Gate()
    await stage.service.fence()
    stage.folder.at("sync", "segments", before=gate)
    in_flight = stage.service.write(put("a"))
    await until(gate.reached.is_set)
    its = set(threading.enumerate()) - before
    assert {thread.name for thread in its} == {"folder-commit", "folder-read check"}
    stage.service.end("over")
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    assert not stage.service.idle
    gate.open()
    await until(lambda: not any(thread.is_alive() for thread in its))
    await until(lambda: stage.service.idle)


async def test_a_client_that_went_away_disturbs_nobody(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", "segments", before=gate)
    gone, stays = stage.service.write(put("a")), stage.service.write(put("b"))
    reader_gone, reader_stays = stage.service.fence(), stage.service.fence()
    gone.cancel()
    reader_gone.cancel()
    gate.open()
    assert (await soon(stays)).result is Result.CREATED
    await reader_stays
    # What was taken is done, although nobody hears of it.
    assert set(contents(stage.service.index)) == {"a", "b"}


async def test_draining_answers_what_was_taken_and_takes_no_more(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", "segments", before=gate)
    taken = [stage.service.write(put("a"))]
    await until(gate.reached.is_set)
    taken.append(stage.service.write(put("b")))
    draining = asyncio.create_task(stage.service.drain())
    await asyncio.sleep(0)
    assert await soon(stage.service.write(put("c"))) == Outcome(Result.NOT_MAIN)
    assert not draining.done()
    gate.open()
    async with asyncio.timeout(AMPLE_SECONDS):
        await draining
    assert [waiter.result().result for waiter in taken] == 2 * [Result.CREATED]
    # Reads go on until the end.
    await stage.service.fence()
    assert stage.ends == []


async def test_draining_an_idle_or_an_ended_service_takes_no_time(stage: Stage) -> None:
    async with asyncio.timeout(AMPLE_SECONDS):
        await stage.service.drain()
        stage.service.end("over")
        await stage.service.drain()


async def test_draining_ends_with_the_epoch(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", "segments", before=gate)
    in_flight = stage.service.write(put("a"))
    await until(gate.reached.is_set)
    draining = asyncio.create_task(stage.service.drain())
    await asyncio.sleep(0)
    stage.service.end("sealed")
    async with asyncio.timeout(AMPLE_SECONDS):
        await draining
    assert await soon(in_flight) == Outcome(Result.UNKNOWN)
    gate.open()


async def test_the_log_rolls_into_space_that_was_prepared(stage: Stage) -> None:
    assert (await soon(stage.service.write(put("0", QUARTER)))).result is Result.CREATED
    # No spare: the first commit already asked for one.
    assert stage.asked_for_room == 1
    for number in range(1, 10):
        if stage.service.log.spare is None:
            stage.space_comes()
        assert (await soon(stage.service.write(put(str(number), QUARTER)))).result is Result.CREATED
    assert stage.service.applied.number == 4
    # Each segment was asked for at once when the one before it had been taken.
    assert stage.asked_for_room == 4
    assert len(fresh_backup(stage.folder.other(), 1, stage.service.applied).index) == 10


async def test_a_write_waits_for_space_that_is_being_prepared(stage: Stage) -> None:
    await soon(stage.service.write(put("a", QUARTER)))
    waiting = [stage.service.write(put(str(number), QUARTER)) for number in range(3)]
    asked = stage.asked_for_room
    await until(lambda: stage.asked_for_room > asked)
    await asyncio.sleep(0.01)
    assert not waiting[-1].done()
    stage.space_comes()
    assert {(await soon(waiter)).result for waiter in waiting} == {Result.CREATED}


async def test_without_a_reserve_for_a_takeover_deletes_go_on_and_writes_do_not(stage: Stage) -> None:
    await soon(stage.service.write(put("a", 1)))
    stage.service.reserve_lacks()
    assert (stage.service.full, stage.service.ended) == (True, False)
    assert await soon(stage.service.write(put("b", 1))) == Outcome(Result.NO_SPACE)
    assert (await soon(stage.service.write(Write(b"a", None)))).result is Result.DELETED
    await stage.service.fence()
    stage.service.reserve_came()
    assert (stage.service.full, stage.service.ended) == (False, False)
    assert (await soon(stage.service.write(put("b", 1)))).result is Result.CREATED


async def test_a_full_volume_refuses_what_does_not_fit_and_recovers(stage: Stage) -> None:
    await soon(stage.service.write(put("a", QUARTER)))
    await soon(stage.service.write(put("keep", 1)))
    waiting = stage.service.write(put("b", 2 * QUARTER))
    stage.service.space_lacks()
    assert (stage.service.full, await soon(waiting)) == (True, Outcome(Result.NO_SPACE))
    assert await soon(stage.service.write(put("c", QUARTER))) == Outcome(Result.NO_SPACE)
    # Reads, deletes, and the no-op that answers a probe go on: a reserve is kept for them.
    await stage.service.fence()
    assert (await soon(stage.service.write(None))).result is Result.COMMITTED
    assert (await soon(stage.service.write(Write(b"a", None)))).result is Result.DELETED
    assert stage.ends == []
    stage.space_comes()
    assert not stage.service.full
    assert (await soon(stage.service.write(put("b", 2 * QUARTER)))).result is Result.CREATED
    backup = fresh_backup(stage.folder.other(), 1, stage.service.applied)
    assert set(contents(backup.index)) == {"b", "keep"}


async def test_a_write_behind_one_that_does_not_fit_is_served(stage: Stage) -> None:
    await soon(stage.service.write(put("a", QUARTER)))
    stage.service.space_lacks()
    gate = Gate()
    stage.folder.at("sync", "segments", before=gate)
    small = stage.service.write(Write(b"a", None))
    await until(gate.reached.is_set)
    large, after = stage.service.write(put("b", 2 * QUARTER)), stage.service.write(Write(b"b", None))
    gate.open()
    assert (await soon(small)).result is Result.DELETED
    assert await soon(large) == Outcome(Result.NO_SPACE)
    assert await soon(after) == Outcome(Result.NOT_FOUND)


async def test_a_volume_without_any_room_refuses_even_deletes_but_goes_on_reading(stage: Stage) -> None:
    await soon(stage.service.write(put("a")))
    stage.service.space_lacks()
    log = stage.service.log
    run(log.commit(Batch(1, 2, 1, put_payload("filler", bytes(log.left - 260)))))
    assert await soon(stage.service.write(None)) == Outcome(Result.NO_SPACE)
    assert await soon(stage.service.write(Write(b"a", None))) == Outcome(Result.NO_SPACE)
    await stage.service.fence()
    assert stage.ends == []
    stage.space_comes()
    assert (await soon(stage.service.write(Write(b"a", None)))).result is Result.DELETED


async def test_no_ops_one_after_the_other_do_not_fill_the_log(stage: Stage) -> None:
    await soon(stage.service.write(put("a")))
    assert await soon(stage.service.write(None)) == Outcome(Result.COMMITTED)
    end, syncs = stage.service.log.end, len(stage.folder.log("sync"))
    for _ in range(10):
        assert await soon(stage.service.write(None)) == Outcome(Result.COMMITTED)
    assert stage.service.log.end == end
    assert len(stage.folder.log("sync")) == syncs + 10, "each of them is a proof"
    await soon(stage.service.write(put("b")))
    assert stage.service.log.end > end
    backup = fresh_backup(stage.folder.other(), 1, stage.service.applied)
    assert set(contents(backup.index)) == {"a", "b"}


async def test_a_no_op_that_is_repeated_finds_the_seal(stage: Stage) -> None:
    assert await soon(stage.service.write(None)) == Outcome(Result.COMMITTED)
    stage.seal()
    assert (await soon(stage.service.write(None))).result is Result.UNKNOWN


async def test_more_writes_than_may_wait_are_refused_and_not_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING", 3)
    gate = Gate()
    stage.folder.at("sync", names.segment(1, 1), before=gate)
    first = stage.service.write(put("first"))
    await until(gate.reached.is_set)
    waiting = [stage.service.write(put(f"{number}")) for number in range(3)]
    assert await soon(stage.service.write(put("refused"))) == Outcome(Result.BUSY)
    probe = stage.service.write(None)
    gate.open()
    for waiter in (first, *waiting):
        assert (await soon(waiter)).result is Result.CREATED
    assert (await soon(probe)).result is Result.COMMITTED
    assert (await soon(stage.service.write(put("refused")))).result is Result.CREATED


async def test_conditions_and_repetitions_rest_on_a_commit_of_their_own(stage: Stage) -> None:
    """A 412, a 404 or a replay reveals state, so a seal that came meanwhile makes its outcome unknown."""
    await soon(stage.service.write(Write(b"a", b"1", idempotency_key="k")))
    assert (await soon(stage.service.write(Write(b"a", b"1", idempotency_key="k")))).version == Version(1, 1)
    assert (await soon(stage.service.write(Write(b"a", b"2", idempotency_key="k")))).result is Result.KEY_REUSED
    assert (await soon(stage.service.write(Write(b"z", None)))).result is Result.NOT_FOUND
    refused = await soon(stage.service.write(Write(b"a", b"2", if_none_match=("*",))))
    assert refused == Outcome(Result.CONDITION_FAILED, Version(1, 1))
    stage.seal()
    assert await soon(stage.service.write(Write(b"a", b"2", if_none_match=("*",)))) == Outcome(Result.UNKNOWN)


def rolling(stage: Stage, claim: Claim) -> Callable[[], Coroutine[Any, Any, Promotion]]:
    """Begin ``claim`` when nothing is in flight, as a compaction does that merged nothing."""
    service = stage.service

    def begin() -> Coroutine[Any, Any, Promotion]:
        return compaction.roll(
            stage.folder,
            claim,
            cuts=service.manifest.cuts + service.log.cuts,
            spare=stage.spare(),
            segment_bytes=SEGMENT_BYTES,
            next_sequence=service.next_sequence,
            clock=lambda: 0.0,
        )

    return begin


async def test_the_epoch_rolls_between_two_batches_and_nobody_notices(stage: Stage) -> None:
    gate = Gate()
    stage.folder.at("sync", names.segment(1, 1), before=gate)
    before = stage.service.write(put("before"))
    await until(gate.reached.is_set)
    roll = asyncio.create_task(stage.service.roll(rolling(stage, win(stage.folder, 2))))
    await asyncio.sleep(0)
    after, read = stage.service.write(put("after")), stage.service.fence()
    gate.open()
    async with asyncio.timeout(AMPLE_SECONDS):
        assert await roll
        await read
    assert (await soon(before)).version == Version(1, 1)
    assert (await soon(after)).version == Version(2, 2)
    assert stage.service.epoch == 2
    assert stage.ends == []
    backup = fresh_backup(stage.folder.other(), 2, stage.service.applied)
    assert set(contents(backup.index)) == {"before", "after"}


async def test_a_roll_that_fails_ends_the_epoch(stage: Stage) -> None:
    claim = win(stage.folder, 2)
    stage.folder.at("link", names.MANIFESTS, before=FolderUnavailable("no answer"))
    assert not await stage.service.roll(rolling(stage, claim))
    assert stage.ends == ["its epoch could not be rolled: no answer"]
    assert not await stage.service.roll(rolling(stage, claim))
    assert (await soon(stage.service.write(put("k")))).result is Result.NOT_MAIN


async def test_what_waits_while_a_roll_fails_was_not_done(stage: Stage) -> None:
    gate = Gate()
    claim = win(stage.folder, 2)
    stage.folder.at("link", names.MANIFESTS, before=gate)
    run(write_seal(stage.folder.other(), 2, Seal(3, "b", "b" * 32)))
    roll = asyncio.create_task(stage.service.roll(rolling(stage, claim)))
    await until(gate.reached.is_set)
    write, read = stage.service.write(put("k")), stage.service.fence()
    gate.open()
    assert not await roll
    assert (await soon(write)).result is Result.NOT_MAIN
    assert await read is None
    assert stage.ends == ["its epoch could not be rolled: another claimed the next one"]


async def test_an_end_in_the_middle_of_a_roll_is_the_end(stage: Stage) -> None:
    gate = Gate()
    claim = win(stage.folder, 2)
    stage.folder.at("link", names.MANIFESTS, before=gate)
    roll = asyncio.create_task(stage.service.roll(rolling(stage, claim)))
    await until(gate.reached.is_set)
    stage.service.end("a higher claim was seen")
    gate.open()
    assert not await roll
    assert stage.service.epoch == 1
    assert stage.ends == ["a higher claim was seen"]
