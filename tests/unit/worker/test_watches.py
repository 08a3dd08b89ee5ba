"""Watches over HTTP, and the feeds behind them (docs/api.md; docs/protocol.md, section 3.15)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import patch

import pytest

from hanas_core.log import records
from hanas_core.state.changes import Lost
from hanas_core.state.judge import Compaction, Write
from hanas_core.state.transactions import DeleteKeys, PutKey, Span, Transact, Transaction
from hanas_core.volume.errors import FolderUnavailable
from hanas_worker.faces.http import watches
from hanas_worker.log import feeds
from hanas_worker.log.state import LogState
from hanas_worker.refusals import Elsewhere, Refusal
from hanas_worker.store import Change, Changes, Feed
from tests.sim.mutants import Mutant, applied
from tests.unit.waiting import until
from tests.unit.worker.stage import started
from tests.unit.worker.test_direct import MAIN_URL, Worker
from tests.unit.worker.test_rights_on_keys import filled

ALL = Span(b"", None)


@pytest.fixture(name="worker")
async def _worker() -> AsyncIterator[Worker]:
    stage = await started()
    stage.service.form = records.REVISED
    yield Worker(stage)
    stage.service.end("the test is over")


async def put(worker: Worker, *keys: str, value: bytes = b"v") -> None:
    for key in keys:
        await worker.stage.service.write(Write(key.encode(), value))


async def transact(worker: Worker, *operations: PutKey | DeleteKeys) -> None:
    await worker.stage.service.write(Transact(Transaction((), operations)))


class Taker:
    """A watcher that takes whatever there is at once."""

    def __init__(self, worker: Worker, span: Span = ALL, after: int = 1, *, previous: bool = False) -> None:
        self.changes: list[Change] = []
        self.lost: int | None = None
        self.stretches: list[Changes] = []
        self.feed: Feed = worker.store.feeds.watch(span, after, self.take, previous=previous)
        self.take()

    def take(self) -> None:
        while True:
            taken = self.feed.take(200)
            if isinstance(taken, Lost):
                self.lost = taken.compacted
                return
            if not taken.changes:
                return
            assert taken.revision == self.feed.position
            self.stretches.append(taken)
            self.changes += taken.changes

    @property
    def told(self) -> list[tuple[int, str, bytes]]:
        return [(change.revision, change.key.decode(), change.value) for change in self.changes]


# ---------------------------------------------------------------------- feeds


async def test_a_feed_tells_what_is_committed_after_it_and_before(worker: Worker) -> None:
    await put(worker, "a", value=b"1")
    taker = Taker(worker)
    assert taker.told == [(2, "a", b"1")]
    await put(worker, "b", "a")
    await until(lambda: taker.feed.position == 4)
    assert taker.told[1:] == [(3, "b", b"v"), (4, "a", b"v")]


async def test_a_revision_comes_as_a_whole(worker: Worker) -> None:
    taker = Taker(worker, previous=True)
    await transact(worker, *(PutKey(f"k{number}".encode(), bytes(90)) for number in range(5)))
    await transact(worker, DeleteKeys(Span.prefix(b"k")), PutKey(b"a", b"x"))
    await until(lambda: taker.feed.position == 3)
    assert [len(stretch.changes) for stretch in taker.stretches] == [5, 6]
    gone = [change for change in taker.stretches[1].changes if change.entry is None]
    assert [(change.key, change.previous) for change in gone] == [(b"k%d" % number, bytes(90)) for number in range(5)]


async def test_changes_of_other_keys_advance_a_feed(worker: Worker) -> None:
    taker = Taker(worker, Span.prefix(b"mine/"))
    await put(worker, "other", "another")
    await until(lambda: taker.feed.position == 3)
    assert taker.changes == []
    await worker.stage.service.write(Compaction(3))
    await put(worker, "mine/a")
    await until(lambda: taker.told == [(4, "mine/a", b"v")])


async def test_a_feed_below_what_is_compacted_is_lost(worker: Worker) -> None:
    await put(worker, "a", "b", "c")
    await worker.stage.service.write(Compaction(3))
    assert Taker(worker, after=2).lost == 3
    assert Taker(worker, after=3).told == [(4, "c", b"v")]
    tally = worker.parts.state.tally
    assert (tally.watches, tally.watches_lost) == (2, 1)


async def test_who_watches_the_same_shares_it(worker: Worker) -> None:
    takers = [Taker(worker) for _ in range(3)]
    await put(worker, "a")
    await until(lambda: all(taker.feed.position == 2 for taker in takers))
    assert len({id(taker.stretches[0]) for taker in takers}) == 1


async def test_a_feed_that_is_closed_is_called_no_more(worker: Worker) -> None:
    taker, other = Taker(worker), Taker(worker)
    taker.feed.close()
    await put(worker, "a")
    await until(lambda: other.feed.position == 2)
    assert taker.changes == []
    assert len(worker.store.feeds) == worker.parts.state.tally.watches == 1


async def test_values_that_are_not_in_memory_are_read(worker: Worker) -> None:
    await put(worker, "a", value=b"once")
    await put(worker, "a", value=b"again")
    taker, other = Taker(worker), Taker(worker)
    assert taker.told == []
    await until(lambda: taker.feed.position == other.feed.position == 3)
    assert taker.told == other.told == [(2, "a", bytes(4)), (3, "a", b"again")]


async def test_values_that_cannot_be_read_just_now_are_asked_for_again(worker: Worker) -> None:
    await put(worker, "a", "a")
    worker.values.failure, worker.values.moves = FolderUnavailable("gone"), 1
    with patch.object(feeds, "_PAUSE_SECONDS", 0.0):
        taker = Taker(worker)
        await until(lambda: worker.values.moves == 0)
        worker.values.failure = None
        await until(lambda: taker.feed.position == 3)
    assert [change.revision for change in taker.changes] == [2, 3]


async def test_what_was_compacted_while_values_were_read_is_lost(worker: Worker) -> None:
    await put(worker, "a", "a")
    worker.values.moves = 1
    taker = Taker(worker)
    await worker.stage.service.write(Compaction(3))
    await until(lambda: taker.lost == 3 or taker.feed.position == 3)


async def test_feeds_read_in_turns(worker: Worker) -> None:
    await put(worker, *(f"k{number}" for number in range(20)))
    with patch.object(feeds, "TURN_SECONDS", 1e-4), patch.object(feeds, "_MOST_CALLED", 1):
        takers = [Taker(worker) for _ in range(4)]
        await until(lambda: all(taker.feed.position == 21 for taker in takers))
    assert all([change.revision for change in taker.changes] == list(range(2, 22)) for taker in takers)


async def test_a_stretch_that_is_kept_for_nobody_goes(worker: Worker) -> None:
    await put(worker, "a", "a")
    with patch.object(feeds, "_MOST_SHARED", 1):
        takers = [Taker(worker, Span.prefix(prefix.encode())) for prefix in ("", "a", "b")]
        await until(lambda: all(taker.feed.position == 3 for taker in takers))
    assert [len(taker.changes) for taker in takers] == [2, 2, 0]


async def test_a_copy_that_is_lent_tells_nothing(worker: Worker) -> None:
    await put(worker, "a")
    state, index = worker.parts.state, worker.stage.service.index
    state.index = None
    taker = Taker(worker)
    assert taker.told == []
    state.index = index
    state.on_applied()
    await until(lambda: taker.told == [(2, "a", b"v")])


async def test_a_backup_tells_what_is_certain(worker: Worker) -> None:
    await put(worker, "a", "b")
    state = worker.parts.state
    state.service, state.certain = None, 2
    taker = Taker(worker)
    assert taker.told == [(2, "a", b"v")]
    state.certain = 3
    state.on_applied()
    await until(lambda: taker.told[1:] == [(3, "b", b"v")])


async def test_a_copy_of_a_snapshot_tells_nothing_before_it_is_exact(worker: Worker) -> None:
    await put(worker, "a")
    keys = worker.stage.service.index.keys
    noted, keys.noted = keys.noted, 9
    assert Taker(worker).told == []
    keys.noted = noted
    assert Taker(worker).told == [(2, "a", b"v")]


# ---------------------------------------------------------------------- how far it is


def confirmed(worker: Worker) -> list[int | Refusal]:
    told: list[int | Refusal] = []
    worker.store.confirm(told.append)
    return told


async def test_a_main_that_was_replaced_confirms_nothing(worker: Worker) -> None:
    await put(worker, "a")
    told = confirmed(worker)
    await until(lambda: told == [2])
    worker.stage.seal()
    worker.parts.main_url = MAIN_URL
    told = confirmed(worker)
    await until(lambda: bool(told))
    assert isinstance(told[0], Elsewhere)
    assert told[0].main == MAIN_URL


class Asked:
    """A forwarder, of which only the questions count."""

    crowded = declined = False

    def __init__(self) -> None:
        self.readers: list[Callable[[int | None], None]] = []

    def after_check(self, reader: Callable[[int | None], None]) -> None:
        self.readers.append(reader)


async def test_a_backup_confirms_what_the_main_of_its_epoch_says(worker: Worker) -> None:
    await put(worker, "a")
    state, forwarder = worker.parts.state, Asked()
    state.service, state.forwarder, state.followed_epoch = None, forwarder, 3
    taker = Taker(worker)
    for epoch, certain in ((2, 0), (3, 2)):
        told = confirmed(worker)
        LogState.confirmed(state, epoch)  # as a forwarder does first
        forwarder.readers.pop()(epoch)
        assert (told, state.certain, worker.store.revision) == ([2], certain, certain)
    await until(lambda: taker.told == [(2, "a", b"v")])
    told = confirmed(worker)
    forwarder.readers.pop()(None)
    assert isinstance(told[0], Elsewhere)
    forwarder.crowded = True
    assert isinstance(confirmed(worker)[0], Refusal)


async def test_an_epoch_that_ends_leaves_the_question_to_the_forwarder(worker: Worker) -> None:
    forwarder = Asked()
    worker.parts.state.forwarder = forwarder
    told = confirmed(worker)
    worker.stage.service.end("for the test")
    await until(lambda: bool(forwarder.readers))
    worker.parts.state.service = None
    forwarder.readers.pop()(2)
    assert told == [1]


# ---------------------------------------------------------------------- over HTTP


class Watch:
    """A watch over HTTP, and what came so far."""

    def __init__(self, worker: Worker, query: str = "", headers: dict[str, str] | None = None, method: str = "GET"):
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.free = asyncio.Event()
        """The client takes what it is sent."""
        self.free.set()
        self._gone = asyncio.Event()
        self._scope = {
            "type": "http",
            "method": method,
            "raw_path": watches.PATH,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        self.task = asyncio.create_task(worker._endpoint(self._scope, self._receive, self._send))

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.free.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)

    async def leave(self) -> None:
        self._gone.set()
        await self.task

    @property
    def events(self) -> list[tuple[int, Any]]:
        """The ids and the documents of the events so far."""
        blocks = [block.split(b"\n") for block in self.body.split(b"\n\n") if block.startswith(b"id: ")]
        return [(int(first[4:]), json.loads(second[6:])) for first, second in blocks]


async def refusal(worker: Worker, query: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    watch = Watch(worker, query, headers, method)
    await watch.task
    assert watch.ended
    return watch.status, json.loads(watch.body), watch.headers


async def test_changes_come_as_events(worker: Worker) -> None:
    await put(worker, "a/1", "b", value=b"old")
    watch = Watch(worker, "prefix=a/&from=1&prev=1")
    await until(lambda: len(watch.events) == 1)
    await transact(worker, DeleteKeys(Span.one(b"a/1")), PutKey(b"a/2", b"\xff", "image/png"))
    await until(lambda: len(watch.events) == 2)
    assert (watch.status, watch.headers["content-type"]) == (200, "text/event-stream")
    (first, content), (second, changed) = watch.events
    assert (first, content["changes"][0]["put"]["text"], second) == (2, "old", 4)
    by_kind = {name: change[name] for change in changed["changes"] for name in ("put", "delete") if name in change}
    assert by_kind["delete"] == {"key": "a/1"}
    assert (by_kind["put"]["base64"], by_kind["put"]["contentType"], by_kind["put"]["mod"]) == ("/w==", "image/png", 4)
    assert [change["previous"]["text"] for change in changed["changes"] if "previous" in change] == ["\0\0\0"]
    await watch.leave()
    assert len(worker.store.feeds) == 0


async def test_a_watch_goes_on_where_the_last_one_ended(worker: Worker) -> None:
    await put(worker, "a", "b", "c")
    watch = Watch(worker, "from=1", {"last-event-id": "3"})
    await until(lambda: [revision for revision, _ in watch.events] == [4])
    later = Watch(worker)
    await until(lambda: b"retry" in later.body)
    await put(worker, "d")
    await until(lambda: [revision for revision, _ in later.events] == [5])
    await watch.leave()
    await later.leave()


async def test_one_key_is_watched_without_those_that_begin_with_it(worker: Worker) -> None:
    await put(worker, "a", "a/1", "a")
    watch = Watch(worker, "key=a&from=1")
    await until(lambda: [revision for revision, _ in watch.events] == [2, 4])
    await watch.leave()


async def test_progress_stands_behind_the_events(worker: Worker) -> None:
    with patch.object(watches, "PROGRESS_SECONDS", 0.01):
        watch = Watch(worker, "from=2&prefix=a", {"accept": "application/x-ndjson"})
        await put(worker, "b", "a")
        await until(lambda: b'{"progress":3}' in watch.body)
        lines = [json.loads(line) for line in watch.body.splitlines()]
        progress = [(at, line["progress"]) for at, line in enumerate(lines) if "progress" in line]
        (event,) = [at for at, line in enumerate(lines) if line.get("revision") == 3]
        assert all(at > event for at, revision in progress if revision >= 3)
        await watch.leave()
        events = Watch(worker)
        await until(lambda: b": progress 3\n\n" in events.body)
        await events.leave()


async def test_a_worker_that_is_the_main_no_more_ends_its_watches(worker: Worker) -> None:
    with patch.object(watches, "PROGRESS_SECONDS", 0.01):
        watch = Watch(worker)
        await until(lambda: b": progress 1\n\n" in watch.body)
        worker.stage.seal()
        told = watch.body
        await watch.task
    assert watch.ended
    assert watch.body.removeprefix(told) in {b"", b": progress 1\n\n"}


async def test_a_slow_client_is_told_that_its_changes_are_forgotten(worker: Worker) -> None:
    for headers, end in (
        ({}, b'event: compacted\ndata: {"compacted":%d}\n\n'),
        ({"accept": "application/x-ndjson"}, b'{"compacted":%d}\n'),
    ):
        watch = Watch(worker, "", headers)
        await until(lambda: watch.status == 200)  # noqa: B023
        watch.free.clear()
        await put(worker, "a", "b")
        present = worker.store.revision
        await worker.stage.service.write(Compaction(present))
        watch.free.set()
        await watch.task
        assert watch.ended
        assert watch.body.endswith(end % present)


async def test_what_cannot_be_watched_is_refused(worker: Worker) -> None:
    await put(worker, "a", "b", "c")
    await worker.stage.service.write(Compaction(3))
    status, problem, _ = await refusal(worker, "from=3")
    assert (status, problem["compacted"]) == (410, 3)
    status, problem, _ = await refusal(worker, "from=6")
    assert (status, "watch from 5 at most" in problem["detail"]) == (400, True)
    for query in ("from=x", "prev=2", "limit=1", "key=a&prefix=a", "key=", f"key={'k' * 1025}"):
        assert (await refusal(worker, query))[0] == 400
    assert (await refusal(worker, "", {"last-event-id": "x"}))[0] == 400
    status, _, headers = await refusal(worker, "", method="POST")
    assert (status, headers["allow"]) == (405, "GET")
    with patch.object(feeds, "MOST_FEEDS", 0):
        assert (await refusal(worker, ""))[0] == 503
    worker.stage.service.end("for the test")
    worker.parts.state.service, worker.parts.main_url = None, MAIN_URL
    status, _, headers = await refusal(worker, "from=3&prefix=a")
    assert (status, headers["location"]) == (307, f"{MAIN_URL}/v1/watch?from=3&prefix=a")


async def test_a_log_without_revisions_cannot_be_watched() -> None:
    stage = await started()
    await stage.service.write(Write(b"a", b"v"))
    assert (await refusal(Worker(stage), ""))[0] == 503
    stage.service.end("the test is over")


async def test_values_too_large_for_an_event_are_left_out(worker: Worker) -> None:
    with patch.object(watches, "_MOST_VALUE_BYTES", 3):
        watch = Watch(worker, "from=2")
        await put(worker, "a", value=b"long")
        await put(worker, "b", value=b"abc")
        await until(lambda: len(watch.events) == 2)
        held = [event["changes"][0]["put"] for _, event in watch.events]
        assert [(each.get("text"), each.get("omitted", False)) for each in held] == [(None, True), ("abc", False)]
        await watch.leave()


async def test_a_watch_takes_the_rights_to_watch_and_to_read() -> None:
    async with filled() as worker:
        worker.stage.service.form = records.REVISED
        await put(worker, "a/1")
        for who, query, status in (
            ("all", "prefix=", 200),
            ("a", "prefix=a/", 200),
            ("a", "key=a/1", 200),
            ("a", "prefix=", 403),
            ("a", "prefix=b/", 403),
            ("a", "key=b/1", 403),
            ("blind", "prefix=a/", 403),
            ("parts", "prefix=c/d/", 403),
            ("nobody", "prefix=a/", 401),
        ):
            watch = Watch(worker, query, {"authorization": f"Bearer {who}"})
            await until(lambda: watch.status != 0)  # noqa: B023
            assert (watch.status, who, query) == (status, who, query)
            await watch.leave()


# ---------------------------------------------------------------------- what must be noticed


async def test_a_backup_that_tells_more_than_is_certain_is_noticed(worker: Worker) -> None:
    place, change = "hanas_worker.log.feeds:Feeds._last", ("min(index.revision, state.certain)", "index.revision")
    with applied(Mutant("a backup tells what a failed takeover read", place, (change,))), pytest.raises(AssertionError):
        await test_a_backup_tells_what_is_certain(worker)


async def test_progress_of_a_main_that_was_replaced_is_noticed(worker: Worker) -> None:
    change = ("server.after_check(partial(self._confirmed, done, server))", "self._confirmed(done, server, self.epoch)")
    mutant = Mutant("progress without a check", "hanas_worker.store:Store.confirm", (change,))
    with applied(mutant), pytest.raises(AssertionError):
        await test_a_main_that_was_replaced_confirms_nothing(worker)
