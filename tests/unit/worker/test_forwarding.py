"""Forwarding between a backup and the main: every write once, every outcome true, every read late enough."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanas_core.log.positions import Position, Version
from hanas_core.state.judge import Outcome, Result
from hanas_core.volume import names
from hanas_worker.log import forwarder as code
from hanas_worker.log import messages
from hanas_worker.log.messages import Ask, Hello, News, Reached, Welcome, Writes
from tests.unit.waiting import until
from tests.unit.worker.office import Office, office
from tests.unit.worker.stage import Gate


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


async def test_what_comes_before_there_is_a_line_waits_for_one(desk: Office) -> None:
    early = desk.put("a")
    await asyncio.sleep(0)
    assert early == []
    await desk.road().flows(early)
    assert early == [Outcome(Result.CREATED, Version(1, 2))]


async def committed_but_not_told(desk: Office) -> tuple[list[Outcome], int]:
    """Have a write committed whose outcome is lost; return where that comes, and the writes of the main so far."""
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = desk.put("a")
    await until(lambda: len(road.sent()) == 1)
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
    road = desk.road()
    await road.flows(desk.put("before"))
    outcomes = desk.put("a")
    await until(lambda: len(road.sent()) == 1)
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
    road = desk.road()
    await road.flows(desk.put("before"))
    sent = desk.put("a")
    await until(lambda: len(road.sent()) == 1)
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


async def test_a_commit_is_told_at_once(desk: Office) -> None:
    road = desk.road()
    await road.flows(desk.put("a"))
    await desk.stage.service.write(None)
    await until(lambda: any(isinstance(each, News) for each in road.told()))
    while road.back.deliver():
        pass
    assert desk.state.committed == desk.stage.service.applied


# ---------------------------------------------------------------------- the ends


async def test_impatient_clients_are_answered_and_what_comes_later_is_ignored() -> None:
    async with office(patience=0.2) as desk:
        road = desk.road()
        await road.flows(desk.put("before"))
        sent = desk.put("sent")
        await until(lambda: len(road.sent()) == 1)
        reader = desk.read()
        await until(lambda: bool(sent and reader))
        assert (sent, reader) == ([Outcome(Result.UNKNOWN)], [None])
        road.breaks()
        unsent = desk.put("unsent")
        await until(lambda: bool(unsent))
        assert unsent == [Outcome(Result.NOT_MAIN)]
        assert desk.forwarder.idle
        newer = desk.road()
        last = desk.put("last")
        await newer.flows(last)
        assert last[0].result is Result.CREATED


async def test_a_silent_line_ends_while_somebody_waits() -> None:
    async with office(patience=1.0) as desk:
        road = desk.road()
        await road.flows(desk.put("before"))
        desk.put("a")
        await until(lambda: road.broken)


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
