"""Calls of a backup's clients that the main carries out: each at most once, unless once and twice are the same."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hanas_core.log.positions import Version
from hanas_core.state.entries import pack, unpack
from hanas_core.state.judge import Outcome, Result
from hanas_core.state.reports import Deleted, Put, Report, Row, Rows
from hanas_core.state.transactions import (
    Compare,
    DeleteKeys,
    PutKey,
    ReadKeys,
    Relation,
    Span,
    Target,
    Transact,
    Transaction,
)
from hanas_serving.lines import Improper
from hanas_worker import calls, refusals
from hanas_worker.calls import (
    Answer,
    Call,
    Compacted,
    Compacting,
    Ended,
    Ending,
    Granted,
    Granting,
    Listed,
    Listing,
    Renewed,
    Renewing,
    Showing,
    Shown,
    Transacting,
)
from hanas_worker.log import messages
from hanas_worker.log.messages import MOST_CALLS, Called, News
from hanas_worker.log.transactor import Read, Transacted
from hanas_worker.refusals import Forgotten, Future, LeaseExists, NoLease, Refusal, Unknown, Unreadable
from tests.unit.waiting import until
from tests.unit.worker.etcd_store import real
from tests.unit.worker.office import PATIENCE, Office, Road, office

TRANSACTION = Transaction(
    (
        Compare(Span.one(b"a"), Target.VALUE, Relation.EQUAL, b"v"),
        Compare(Span(b"", None), Target.MOD, Relation.LESS, 7),
    ),
    (PutKey(b"a\xff", b"w", "text/plain", 3, previous=True), Transaction((), (DeleteKeys(Span.prefix(b"b")),))),
    (ReadKeys(Span.one(b"a"), 1, count=True),),
)
REPORT = Report(True, (Put(Row(b"a", 2)), Report(False, (Deleted(1, (Row(b"b", 3),)), Rows((Row(b"a", 2),), True, 2)))))
ENTRY = unpack(pack(1, 2, 1, 1, 64, 1, 5, "text/plain", 2, 1, 2, 9))
Answers = list[bytes | Result]


@pytest.fixture
async def desk() -> AsyncIterator[Office]:
    async with office() as made:
        yield made


def called(desk: Office, content: bytes = b"call", *, repeatable: bool = False) -> Answers:
    """Have a call forwarded; its answer comes into the list that is returned."""
    answers = Answers()

    async def wait() -> None:
        answers.append(await desk.forwarder.call(content, repeatable=repeatable))

    desk.tasks.append(asyncio.ensure_future(wait()))
    return answers


async def ready(desk: Office) -> Road:
    """Return a road whose forwarder was welcomed."""
    road = desk.road()
    await road.until(lambda: desk.forwarder.figures.connected)
    return road


async def came(desk: Office, road: Road, *contents: bytes) -> None:
    """Let everything through to the main, and nothing back, until these have come."""
    await road.until(lambda: desk.calls.came == list(contents), back=False)


# ---------------------------------------------------------------------- over the line


async def test_the_main_carries_out_a_call_and_its_answer_comes_back(desk: Office) -> None:
    early, road = called(desk, b"early"), desk.road()
    late = called(desk, b"late")
    await road.until(lambda: [early, late] == [[b"done"], [b"done"]])
    assert desk.calls.came == [b"early", b"late"]
    assert desk.forwarder.idle


async def test_a_call_that_may_have_been_carried_out_is_sent_again_only_if_once_and_twice_are_the_same(
    desk: Office,
) -> None:
    desk.calls.gate.clear()
    road = await ready(desk)
    once, twice = called(desk, b"once"), called(desk, b"twice", repeatable=True)
    await came(desk, road, b"once", b"twice")
    unsent = called(desk, b"unsent")
    road.breaks()
    await until(lambda: once == [Result.UNKNOWN])
    desk.calls.gate.set()
    await desk.road().until(lambda: [twice, unsent] == [[b"done"], [b"done"]])
    assert desk.calls.came == [b"once", b"twice", b"twice", b"unsent"]


async def test_what_the_main_says_it_has_not_done_is_sent_again(desk: Office) -> None:
    desk.calls.answer = None
    road, answers = await ready(desk), called(desk)
    await road.until(lambda: len(desk.calls.came) == 1 and not desk.forwarder._calls[1].sent)
    assert answers == [], "its tenure has ended, so its line is about to"
    desk.calls.answer = b"done"
    road.breaks()
    await desk.road().until(lambda: answers == [b"done"])
    assert len(desk.calls.came) == 2


async def test_patience_ends_with_what_is_known(desk: Office) -> None:
    desk.calls.gate.clear()
    road = await ready(desk)
    sent = called(desk, b"sent", repeatable=True)
    await came(desk, road, b"sent")
    road.breaks()
    unsent = called(desk, b"unsent")
    await asyncio.sleep(0)
    desk.passes(PATIENCE + 1.0)
    await until(lambda: [sent, unsent] == [[Result.UNKNOWN], [Result.NOT_MAIN]])
    assert desk.forwarder.idle
    desk.calls.gate.set()
    again = desk.road()
    other = called(desk, b"other")
    await again.until(lambda: other == [b"done"])
    assert desk.calls.came == [b"sent", b"other"]


async def test_an_answer_that_comes_after_its_client_was_answered_is_dropped(desk: Office) -> None:
    desk.calls.gate.clear()
    road, answers = await ready(desk), called(desk)
    await came(desk, road, b"call")
    desk.forwarder._calls[1].until = 0.0
    desk.passes(0.0)
    await until(lambda: answers == [Result.UNKNOWN])
    desk.calls.gate.set()
    other = called(desk, b"other")
    await road.until(lambda: other == [b"done"])
    assert not road.broken


async def test_a_main_that_takes_its_time_is_not_silent(desk: Office) -> None:
    desk.calls.gate.clear()
    road, answers = await ready(desk), called(desk)
    await came(desk, road, b"call")
    road.back.waiting.clear()
    await until(lambda: sum(isinstance(told, News) for told in road.told()) >= 2)
    desk.calls.gate.set()
    await road.until(lambda: answers == [b"done"])


async def test_no_more_are_under_way_than_the_line_has_room_for(desk: Office) -> None:
    desk.calls.gate.clear()
    road = await ready(desk)
    answers = [called(desk, b"%d" % number) for number in range(MOST_CALLS + 3)]
    await came(desk, road, *(b"%d" % number for number in range(MOST_CALLS)))
    await road.until(lambda: not road.outward.waiting)
    assert len(desk.calls.came) == MOST_CALLS
    desk.calls.gate.set()
    await road.until(lambda: all(each == [b"done"] for each in answers))
    for message in [messages.Call(number, b"") for number in range(100, 100 + MOST_CALLS + 1)]:
        road.outward.send(messages.encode(message))
        while road.outward.deliver():
            pass
    assert road.broken, "a forwarder that sends more is none"


async def test_more_than_may_wait_are_refused(desk: Office) -> None:
    desk.forwarder._most_bytes = 10
    waiting, refused = called(desk, b"12345678"), called(desk, b"123")
    await until(lambda: refused == [Result.BUSY])
    assert waiting == []
    assert desk.forwarder.figures.waiting == 1


async def test_where_the_main_takes_no_lines_clients_are_redirected(desk: Office) -> None:
    waiting = called(desk)
    await asyncio.sleep(0)
    desk.forwarder.decline()
    other = called(desk)
    await until(lambda: waiting == other == [Result.NOT_MAIN])


async def test_an_answer_to_nothing_that_was_called_for_ends_the_line(desk: Office) -> None:
    road, answers = desk.road(), called(desk)
    await road.until(lambda: answers == [b"done"])
    road.back.send(messages.encode(Called(1, b"again")))
    assert road.back.deliver()
    assert road.broken


async def test_a_call_that_nobody_makes_ends_the_line(desk: Office) -> None:
    road, answers = await ready(desk), called(desk, desk.calls.IMPROPER)
    await road.until(lambda: road.broken)
    await until(lambda: answers == [Result.UNKNOWN])


# ---------------------------------------------------------------------- at a store


async def test_a_store_carries_out_what_another_worker_calls_for() -> None:
    async with real() as store:
        carry_out = store.store._carry_out_for_other

        async def ask(call: Call) -> Answer:
            content = await carry_out(calls.encode_call(call))
            assert content is not None
            return calls.decode_answer(content)

        assert isinstance(await ask(Granting(7, 30)), Granted)
        made = await ask(Transacting(Transact(Transaction((), (PutKey(b"a", b"v", lease=7),)))))
        assert isinstance(made, Transacted)
        assert (await ask(Renewing(7))) == Renewed(30, 1, made.outcome.revision)
        shown = await ask(Showing(7))
        assert isinstance(shown, Shown)
        assert (shown.keys, shown.ttl) == ([b"a"], 30)
        assert await ask(Listing()) == Listed([7])
        with pytest.raises(LeaseExists) as caught:
            await ask(Granting(7, 30))
        assert caught.value.revision == made.outcome.revision
        assert isinstance(await ask(Ending(7)), Ended)
        with pytest.raises(NoLease):
            await ask(Renewing(7))
        present = store.store.revision
        assert await ask(Compacting(present)) == Compacted(present)
        with pytest.raises(Forgotten):
            await ask(Compacting(present))
        with pytest.raises(Improper):
            await carry_out(b"?")


async def test_an_error_of_this_program_may_have_done_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with real() as store:
        monkeypatch.setattr(store.store._coordinator, "carry_out", None)
        content = await store.store._carry_out_for_other(calls.encode_call(Listing()))
        assert content is not None
        with pytest.raises(Unknown):
            calls.decode_answer(content)
    assert "an error of this program" in caplog.text


async def test_a_store_that_serves_no_more_has_done_nothing() -> None:
    async with real() as store:
        store.state.service = store.state.lessor = None
        for call in (Granting(0, 30), Transacting(Transact(TRANSACTION)), Compacting(1), Listing()):
            assert await store.store._carry_out_for_other(calls.encode_call(call)) is None


# ---------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("call", "repeatable"),
    [
        (Transacting(Transact(TRANSACTION)), False),
        (Transacting(Transact(TRANSACTION, "key", {b"a": (1, b"v")})), True),
        (Transacting(Transact(Transaction(TRANSACTION.compares, TRANSACTION.otherwise))), True),
        (Compacting(7), False),
        (Granting(0, 30), True),
        (Granting(7, 30), False),
        (Renewing(7), True),
        (Ending(7), False),
        (Showing(7), True),
        (Listing(), True),
    ],
)
def test_a_call_comes_as_it_was_sent(call: Call, repeatable: bool) -> None:
    assert calls.decode_call(calls.encode_call(call)) == call
    assert call.repeatable is repeatable


@pytest.mark.parametrize(
    "answer",
    [
        Transacted(
            Outcome(Result.TRANSACTED, Version(1, 2), 3, REPORT),
            1,
            {Row(b"a", 2): Read(ENTRY, b"v"), Row(b"b", 3): Read(ENTRY, None)},
        ),
        Compacted(9),
        Granted(7, 1, 2),
        Renewed(30, 1, 2),
        Ended(1, 2),
        Shown(30, 1.5, [b"a", b"\xff"], 1, 2),
        Listed([1, 2]),
    ],
)
def test_an_answer_comes_as_it_was_given(answer: Answer) -> None:
    assert calls.decode_answer(calls.encode_answer(answer)) == answer


def refused(refusal: Refusal) -> Refusal:
    refusal.revision = 5
    with pytest.raises(Refusal) as caught:
        calls.decode_answer(calls.encode_answer(refusal))
    return caught.value


@pytest.mark.parametrize("kind", refusals.PLAIN.values(), ids=refusals.PLAIN)
def test_a_refusal_comes_as_it_was_meant(kind: type[Refusal]) -> None:
    came = refused(kind(3))
    assert (type(came), came.epoch, came.revision) == (kind, 3, 5)


def test_refusals_come_with_what_they_tell() -> None:
    forgotten, future, unreadable = refused(Forgotten(3, 8)), refused(Future(3, 9)), refused(Unreadable("hung"))
    assert isinstance(forgotten, Forgotten)
    assert isinstance(future, Future)
    assert isinstance(unreadable, Unreadable)
    assert (forgotten.compacted, future.present, unreadable.trouble) == (8, 9, "hung")


def test_what_is_not_understood_may_have_been_done() -> None:
    class New(NoLease):
        """Of a later version."""

    assert type(refused(New(3))) is Unknown
    with pytest.raises(Unknown):
        calls.decode_answer(b"?")


@pytest.mark.parametrize("kept", [0, 43, 50])
def test_an_answer_with_an_entry_that_is_cut_short_may_have_been_done(kept: int) -> None:
    whole = pack(1, 7, 1, 1, 4096, 5, 9, "application/octet-stream", 8, 3, generation=2)
    assert len(whole) > kept
    cut = unpack(whole)._replace(packed=whole[:kept])
    answer = Transacted(Outcome(Result.TRANSACTED), 1, {Row(b"key", 8): Read(cut, b"value")})
    with pytest.raises(Unknown):
        calls.decode_answer(calls.encode_answer(answer))
