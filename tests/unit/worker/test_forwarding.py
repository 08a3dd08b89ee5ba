"""Forwarding between a backup and the main: every write once, every outcome true, every read late enough."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanas_core.log import records
from hanas_core.log.positions import Position, Version
from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.timing import LAN
from hanas_core.members.verdicts import Verdict
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.volume import names
from hanas_worker.log import forwarder as code
from hanas_worker.log import messages
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.messages import Ask, Hello, News, Reached, Welcome, Writes
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.office import PATIENCE, Office, Road, office
from tests.unit.worker.stage import Gate

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)


@pytest.fixture
async def desk() -> AsyncIterator[Office]:
    async with office() as made:
        yield made


# ---------------------------------------------------------------------- writes


async def test_writes_are_done_by_the_main_and_their_outcomes_come_back(desk: Office) -> None:
    road = desk.road()
    first, second, refused = desk.put("a"), desk.put("a"), desk.put("a", absent=True)
    await road.flows(first, second, refused)
    assert first == [Outcome(Result.CREATED, Version(1, 2))], "its session's record is the first one"
    assert second == [Outcome(Result.REPLACED, Version(1, 3))]
    assert refused == [Outcome(Result.CONDITION_FAILED, Version(1, 3))]
    assert desk.forwarder.idle


async def test_the_revision_comes_with_the_outcome_also_where_that_was_lost(desk: Office) -> None:
    desk.stage.service.form = records.REVISED
    outcomes, _ = await committed_but_not_told(desk)
    road = desk.road()
    await road.flows(outcomes)
    assert outcomes == [Outcome(Result.CREATED, Version(1, 3), 3)]
    again, refused = desk.put("a"), desk.put("a", absent=True)
    await road.flows(again, refused)
    assert again == [Outcome(Result.REPLACED, Version(1, 4), 4)]
    assert refused == [Outcome(Result.CONDITION_FAILED, Version(1, 4), 4)]


async def test_what_comes_before_there_is_a_line_waits_for_one(desk: Office) -> None:
    early = desk.put("a")
    await asyncio.sleep(0)
    assert early == []
    await desk.road().flows(early)
    assert early == [Outcome(Result.CREATED, Version(1, 2))]


async def under_way(desk: Office, key: str) -> tuple[Road, list[Outcome]]:
    """Send a write in a session that has begun; return its road, which has it, and where its outcome comes."""
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = desk.put(key)
    await until(lambda: len(road.sent()) == 1)
    return road, outcomes


async def committed_but_not_told(desk: Office) -> tuple[list[Outcome], int]:
    """Have a write committed whose outcome is lost; return where that comes, and the writes of the main so far."""
    road, outcomes = await under_way(desk, "a")
    road.outward.deliver()
    await until(lambda: any(isinstance(each, News) and each.told for each in road.told()))
    road.breaks()
    return outcomes, desk.stage.service.index.sequence


async def test_an_outcome_that_was_lost_is_told_over_the_next_line_and_nothing_is_done_again(desk: Office) -> None:
    outcomes, writes = await committed_but_not_told(desk)
    assert outcomes == []
    await desk.road().flows(outcomes)
    assert outcomes == [Outcome(Result.CREATED, Version(1, 3))]
    assert desk.stage.service.index.sequence == writes


async def test_a_write_that_never_arrived_is_sent_again(desk: Office) -> None:
    road, outcomes = await under_way(desk, "a")
    road.breaks()
    await desk.road().flows(outcomes)
    assert outcomes == [Outcome(Result.CREATED, Version(1, 3))]


async def test_what_is_being_committed_is_not_sent_again_and_its_outcome_comes_over_the_next_line(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    gate = Gate()
    desk.stage.folder.at("sync", names.segment(1, 1), before=gate)
    outcomes = desk.put("a")
    await road.until(gate.reached.is_set)
    road.breaks()
    newer = desk.road()
    newer.outward.deliver()
    await until(lambda: bool(newer.told()))
    [welcome] = newer.told()
    assert isinstance(welcome, Welcome)
    assert (welcome.told, welcome.pending) == ((), (2,))
    gate.open()
    await newer.flows(outcomes)
    assert outcomes == [Outcome(Result.CREATED, Version(1, 3))]
    assert desk.stage.service.index.sequence == 3


async def test_a_condition_that_failed_while_the_line_changed_is_told_once_and_the_write_is_not_done(
    desk: Office,
) -> None:
    """The client is told that it failed; done later, it would be done although it was refused."""
    road = desk.road()
    await road.flows(desk.put("a"))
    gate = Gate()
    desk.stage.folder.at("read", names.claim(1), before=gate)
    refused = desk.put("a", b"other", absent=True)
    await road.until(gate.reached.is_set)
    road.breaks()
    newer = desk.road()
    newer.outward.deliver()
    gate.open()
    await newer.flows(refused)
    assert refused == [Outcome(Result.CONDITION_FAILED, Version(1, 2))]
    await newer.flows(desk.put("last"))
    assert (await desk.keys())["a"] == 2


async def test_nothing_is_taken_from_an_older_line_once_there_is_a_newer_one_of_its_session(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    session = desk.forwarder._session
    late = messages.encode(Writes(2, (messages.Forward(2, "a", b"late", "", None, None, None),)))
    _, newer = desk.process()
    newer._session = session
    second = desk.road(forwarder=newer)
    second.outward.deliver()
    assert road.broken
    road.outward.waiting.append(late)
    assert not road.outward.deliver()
    assert (await desk.keys())["a"] == 2


async def test_another_process_with_the_same_name_ends_the_session_and_what_was_sent_is_unknown(desk: Office) -> None:
    road, sent = await under_way(desk, "a")
    road.breaks()
    unsent = desk.put("b")
    _, twin = desk.process()
    other = desk.road(forwarder=twin)
    await other.until(lambda: twin._session is not None)
    await desk.road().flows(sent, unsent)
    assert sent == [Outcome(Result.UNKNOWN)]
    assert unsent[0].result is Result.CREATED
    assert set(await desk.keys()) == {"before", "b"}


async def test_a_session_that_ends_under_an_open_line_ends_the_line(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    _, twin = desk.process()
    other = desk.road(forwarder=twin)
    await other.until(lambda: twin._session is not None)
    outcomes = desk.put("a")
    await road.until(lambda: road.broken)
    assert outcomes == []
    await desk.road().flows(outcomes)
    assert outcomes == [Outcome(Result.UNKNOWN)], "nobody can tell any more whether it was done"


async def test_few_messages_are_under_way_and_they_grow_with_what_waits(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = [desk.put(f"{number}") for number in range(3)]
    await until(lambda: len(road.sent()) == 1)
    outcomes += [desk.put(f"{number}") for number in range(3, 5)]
    await until(lambda: len(road.sent()) == 2)
    outcomes += [desk.put(f"{number}") for number in range(5, 100)]
    await asyncio.sleep(0)
    sizes = [len(each.writes) for each in road.sent() if isinstance(each, Writes)]
    assert sizes == [3, 2]
    await road.flows(*outcomes)
    assert desk.forwarder.idle


async def test_no_number_is_sent_far_above_the_lowest_without_an_outcome(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "WINDOW", 4)
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = [desk.put(f"{number}") for number in range(10)]
    await until(lambda: len(road.sent()) == 1)
    [writes] = road.sent()
    assert isinstance(writes, Writes)
    assert [write.number for write in writes.writes] == [2, 3, 4, 5]
    await road.flows(*outcomes)


async def test_large_writes_are_sent_in_parts_and_too_many_are_refused(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "_MOST_FRAME_BYTES", 3000)
    monkeypatch.setattr(code, "_MOST_BYTES", 5000)
    monkeypatch.setattr(code, "_MOST_WAITING", 8)
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = [desk.put(f"{number}", bytes(1000)) for number in range(10)]
    assert [each for each in outcomes if each] == 2 * [[Outcome(Result.BUSY)]]
    await until(lambda: len(road.sent()) == 2)
    assert [len(each.writes) for each in road.sent() if isinstance(each, Writes)] == [2, 2]
    await road.flows(*outcomes)


async def test_the_bytes_of_what_waits_are_bounded_and_one_write_may_always_wait(desk: Office) -> None:
    desk.forwarder._most_bytes = 3000
    large, refused = desk.put("large", bytes(9000)), desk.put("small")
    assert (large, refused) == ([], [Outcome(Result.BUSY)])
    await desk.road().flows(large)
    assert large[0].result is Result.CREATED
    assert desk.forwarder._bytes == 0


async def test_a_value_that_the_main_takes_from_nobody_is_refused_and_holds_up_no_other(desk: Office) -> None:
    """It would find no room in any segment of the main, whose settings differ: all behind it would wait for ever."""
    desk.desk.most_value_bytes = 10
    road = desk.road()
    fits, larger, deleted, last = desk.put("a", bytes(10)), desk.put("a", bytes(11)), desk.delete("a"), desk.put("b")
    await road.flows(fits, larger, deleted, last)
    assert [each[0].result for each in (fits, larger, deleted, last)] == [
        Result.CREATED,
        Result.TOO_LARGE,
        Result.DELETED,
        Result.CREATED,
    ]
    assert desk.forwarder.idle


async def test_the_desk_forgets_the_sessions_of_which_nothing_is_left(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    gate = Gate()
    desk.stage.folder.at("sync", names.segment(1, 1), before=gate)
    desk.put("a")
    await road.until(gate.reached.is_set)
    road.breaks()
    assert list(desk.desk._pending.values()) == [{2}]
    gate.open()
    await until(lambda: not desk.desk._pending)
    newer = desk.road()
    await newer.flows(desk.put("b"))
    newer.breaks()
    assert (desk.desk._pending, desk.desk._visits, desk.desk._open) == ({}, {}, set())


# ---------------------------------------------------------------------- reads


async def test_one_question_serves_all_the_reads_that_wait_and_the_copy_must_come_so_far(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    readers = [desk.read() for _ in range(5)]
    await until(lambda: len(road.sent()) == 1)
    later = desk.read()
    await asyncio.sleep(0)
    assert [type(each) for each in road.sent()] == [Ask]
    road.outward.deliver()
    await until(lambda: any(isinstance(each, Reached) for each in road.told()))
    while road.back.deliver():
        pass
    assert readers == 5 * [[]], "the copy is not there yet"
    applied = desk.stage.service.applied
    desk.copy_reaches(applied._replace(offset=applied.offset - 1))
    assert readers == 5 * [[]]
    desk.copy_reaches(applied)
    assert readers == 5 * [[1]]
    assert later == []
    await road.until(lambda: later == [1])


async def test_a_question_whose_line_ends_is_asked_anew(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    desk.copy_reaches(desk.stage.service.applied)
    reader = desk.read()
    await until(lambda: len(road.sent()) == 1)
    road.breaks()
    newer = desk.road()
    await newer.until(lambda: reader == [1])


async def test_a_main_that_was_sealed_confirms_nothing(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    desk.copy_reaches(desk.stage.service.applied)
    desk.stage.seal()
    reader = desk.read()
    await road.until(lambda: desk.stage.service.ended)
    desk.desk.end()
    while road.back.deliver():
        pass
    assert reader == []
    assert road.broken


async def test_a_copy_that_is_being_made_anew_answers_nothing(desk: Office) -> None:
    """It reads merged segments first, whose numbers are higher than those of the others."""
    road = desk.road()
    await road.flows(desk.put("a"))
    applied = desk.stage.service.applied
    desk.copy_reaches(applied)
    assert desk.forwarder.readable
    reader = desk.read()
    desk.state.replica.continue_from(Position(applied.epoch, names.MERGED_FROM, 1 << 20))
    await road.until(lambda: any(isinstance(each, Reached) for each in road.told()), back=False)
    while road.back.deliver():
        pass
    desk.state.on_applied()
    assert reader == []
    desk.copy_reaches(applied)
    assert reader == [1]


async def test_so_many_reads_wait_wherever_they_do(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "MOST_READERS", 3)
    road = desk.road()
    await road.flows(desk.put("a"))

    def crowded() -> tuple[int, bool]:
        return desk.forwarder.figures.waiting, desk.forwarder.crowded

    behind, asked, waiting = desk.read(), list[int | None](), list[int | None]()
    await road.until(lambda: bool(desk.forwarder._behind))
    desk.forwarder.after_check(asked.append)
    await until(lambda: len(road.sent()) == 1)
    assert crowded() == (2, False)
    desk.forwarder.after_check(waiting.append)
    assert crowded() == (3, True)
    desk.copy_reaches(desk.stage.service.applied)
    assert (behind, crowded()) == ([1], (2, False))
    assert desk.state.certain == 0, "its copy follows no epoch"
    desk.state.followed_epoch, desk.state.replica.index.revision = 1, 5
    await road.until(lambda: (asked, waiting) == ([1], [1]))
    assert desk.state.certain == 5, "the main has answered for it"
    assert desk.forwarder.idle


async def test_what_waits_goes_on_at_this_worker_itself_when_it_becomes_the_main() -> None:
    """A read whose copy had not come far enough, one that was not asked about yet, and a write."""
    main = serve(bare_folder(), 1)
    main.put("a", "v")
    reached = Position(1, 1, main.log.end)
    driver = backup_of(main, main.folder.other()).logs[LOG]
    forwarder = driver.state.forwarder = Forwarder(driver.state, PATIENCE)
    behind, waiting, outcomes = list[int | None](), list[int | None](), list[Outcome]()
    line = Silent()
    forwarder.opened(line)
    forwarder.take(messages.encode(Welcome(1, Version(1, 1))))
    forwarder.after_check(behind.append)
    await until(lambda: bool(forwarder._asked))
    forwarder.take(messages.encode(Reached(1, 1, reached)))
    forwarder.after_check(waiting.append)
    forwarder.closed()
    forwarder.submit(Write(b"b", b"w"), lambda outcome, _: outcomes.append(outcome))
    assert (behind, waiting, outcomes) == ([], [], [])
    await driver.tenure.prepare()
    await driver.challenge(Conclude(1, Verdict.PRIMARY_FAILED, GONE))
    await until(lambda: driver.serving is not None)
    assert behind == [1]
    await until(lambda: bool(waiting and outcomes))
    assert (waiting, outcomes[0].result, forwarder.idle) == ([2], Result.CREATED, True)
    service = driver.serving
    assert service is not None
    service.end("the test is over")


class Silent:
    """A line to a main that says nothing."""

    def send(self, message: bytes) -> None:
        pass

    def close(self) -> None:
        pass


async def test_a_commit_is_told_at_once(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    await desk.stage.service.write(None)
    await until(lambda: any(isinstance(each, News) for each in road.told()))
    while road.back.deliver():
        pass
    assert desk.state.committed == desk.stage.service.applied


async def test_a_push_shows_that_the_main_commits_and_a_keep_alive_behind_it_has_nothing_to_add(desk: Office) -> None:
    """This worker's own barren epochs are forgotten, as where nobody pushes."""
    road = desk.road()
    await road.flows(desk.put("a"))
    member = desk.state.member
    member.withered("the folder hung")
    await road.flows(desk.put("b"))
    assert desk.state.committed == desk.stage.service.applied
    assert member.barren == 0


# ---------------------------------------------------------------------- the ends


async def test_impatient_clients_are_answered_and_what_comes_later_is_ignored(desk: Office) -> None:
    road, sent = await under_way(desk, "sent")
    reader = desk.read()
    desk.passes(PATIENCE - 1.0)
    assert (sent, reader) == ([], [])
    desk.passes(1.0)
    assert (sent, reader) == ([Outcome(Result.UNKNOWN)], [None])
    assert road.broken
    unsent = desk.put("unsent")
    desk.passes(PATIENCE)
    assert unsent == [Outcome(Result.NOT_MAIN)]
    assert desk.forwarder.idle
    newer = desk.road()
    last = desk.put("last")
    await newer.flows(last)
    assert last[0].result is Result.CREATED


async def test_clients_are_redirected_while_the_main_takes_no_lines(desk: Office) -> None:
    """It knows a member of an older version, or is one. Of what was sent before, the outcome is waited for."""
    road, sent = await under_way(desk, "sent")
    road.breaks()
    unsent, reader = desk.put("unsent"), desk.read()
    desk.forwarder.decline()
    later, later_reader = desk.put("later"), desk.read()
    assert unsent == later == [Outcome(Result.NOT_MAIN)]
    assert reader == later_reader == [None]
    assert (sent, desk.forwarder.declined) == ([], True)
    newer = desk.road()
    await newer.flows(sent)
    assert sent[0].result is Result.CREATED
    assert (desk.forwarder.declined, desk.forwarder.idle) == (False, True)
    assert set(await desk.keys()) == {"before", "sent"}


async def test_a_silent_line_ends_while_somebody_waits(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    desk.put("a")
    desk.passes(2.9 * LAN.suspect_after)
    assert not road.broken
    desk.passes(0.2 * LAN.suspect_after)
    assert road.broken


async def test_a_main_that_had_no_reason_to_speak_was_not_silent(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("before"))
    desk.forwarder._look_at_time()
    assert desk.forwarder._look is None, "nobody waits"
    desk.forwarder._heard_at -= 3600.0
    outcomes = desk.put("a")
    desk.forwarder._look_at_time()
    assert not road.broken
    await road.flows(outcomes)


async def test_who_asks_on_when_told_that_there_is_no_main_is_looked_after_once() -> None:
    """A connection's next request may come in the call that answers the one before."""
    async with office(patience=0.2) as desk:
        again = list[int | None]()
        desk.forwarder.after_check(lambda _: desk.forwarder.after_check(again.append))
        look = desk.forwarder._look
        desk.forwarder._readers[0] = (desk.forwarder._readers[0][0], 0.0)
        desk.forwarder._look_at_time()
        assert look is not None
        look.cancel()
        await until(lambda: again == [None])
        assert desk.forwarder._look is None


async def test_the_end_of_the_tenure_ends_its_lines_and_the_next_main_knows_what_was_done(desk: Office) -> None:
    outcomes, writes = await committed_but_not_told(desk)
    road = desk.road()
    desk.stage.service.end("for the test")
    desk.desk.end()
    assert road.broken
    late = desk.road()
    assert late.broken, "this desk is closed"
    assert (outcomes, writes) == ([], 3)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\xc1", id="no message"),
        pytest.param(messages.encode(Ask(1)), id="before the hello"),
        pytest.param(messages.encode(Hello(None, tuple(range(5000)))), id="asks about too many"),
    ],
)
async def test_an_improper_message_ends_the_line(desk: Office, message: bytes) -> None:
    road = desk.road()
    road.outward.waiting.clear()
    road.outward.waiting.append(message)
    assert road.outward.deliver()
    assert road.broken


async def test_a_second_hello_and_a_number_out_of_the_window_end_the_line(desk: Office) -> None:
    forward = messages.Forward(5000, "a", b"v", "", None, None, None)
    for message in (Hello(None), Writes(1, (forward,))):
        road = desk.road()
        await road.flows(desk.put("before"))
        road.outward.waiting.append(messages.encode(message))
        assert road.outward.deliver()
        assert road.broken


async def test_a_main_that_answers_out_of_turn_loses_the_line(desk: Office) -> None:
    for message in (News(1, Position(1, 1, 4096)), Reached(1, 1, Position(1, 1, 4096)), None):
        road = desk.road()
        if message is None:
            road.back.waiting.append(b"\xc1")
        else:
            road.back.waiting.append(messages.encode(message))
        assert road.back.deliver()
        assert road.broken
