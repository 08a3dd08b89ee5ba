"""etcd's API at a backup that serves: read from its own copy, whatever happens to that, and carried out by the main."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanas_core.state.judge import Outcome, Result
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.budget import NoMemory
from hanas_worker import calls
from hanas_worker import store as stores
from hanas_worker.faces.etcd import adapter as adapters
from hanas_worker.faces.etcd import reading, revisions
from hanas_worker.faces.etcd.revisions import (
    EVERYTHING,
    Delete,
    Deleted,
    Lost,
    NoLease,
    Put,
    Query,
    Rows,
    Span,
)
from hanas_worker.log import transactor
from hanas_worker.store import Store
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.etcd_backup import Backup, backup_of_a_main
from tests.unit.worker.office import REST, Road


@pytest.fixture(name="backup")
async def _backup() -> AsyncIterator[Backup]:
    async with backup_of_a_main() as backup, asyncio.timeout(AMPLE_SECONDS):
        yield backup


def keys(rows: Any) -> list[bytes]:
    assert isinstance(rows, Rows), rows
    return [pair.key for pair in rows.pairs]


# ---------------------------------------------------------------------- what a backup answers


async def test_a_backup_answers_everything_that_the_main_does(backup: Backup) -> None:
    put = await backup.do(Put(b"a", b"1"))
    assert put.results[0].revision == put.revision == 2
    rows = await backup.read(Span(b"a"))
    assert (rows.revision, rows.pairs[0].modified, rows.pairs[0].value) == (2, 2, b"1")
    both = await backup.do(Put(b"b", b"2"), Query(EVERYTHING))
    assert (both.revision, keys(both.results[1])) == (3, [b"a", b"b"])
    gone = await backup.do(Delete(Span(b"a")))
    assert gone.results == [Deleted(4, 1)]
    assert (await backup.do(Delete(Span(b"a")))).results == [Deleted(4, 0)]
    lease = await backup.ask(backup.adapter.grant, 7, 60)
    assert (lease.id, lease.granted) == (7, 60)
    assert isinstance(await backup.do(Put(b"c", b"", lease=8)), NoLease)
    await backup.do(Put(b"c", b"", lease=7))
    assert (await backup.ask(backup.adapter.renew, 7)).granted == 60
    assert (await backup.ask(backup.adapter.lease, 7)).keys == [b"c"]
    assert await backup.ask(backup.adapter.leases) == [7]
    assert await backup.ask(backup.adapter.revoke, 7) == 6
    digests = [await backup.ask(adapter.digest, 0) for adapter in (backup.adapter, backup.main.adapter)]
    assert digests[0] == digests[1]
    assert await backup.ask(backup.adapter.compact, 4) == 6
    assert isinstance(await backup.ask(backup.adapter.compact, 4), revisions.Compacted)
    assert isinstance(await backup.read(revision=3), revisions.Compacted)
    assert isinstance(await backup.read(revision=7), revisions.Future)
    vitals = backup.adapter.vitals()
    assert (vitals.size, vitals.used, vitals.full, vitals.serving) == (4096, 1, False, False)


async def test_the_revision_that_is_told_never_falls(backup: Backup) -> None:
    await backup.put(b"a")
    backup.follows.clear()
    await backup.put(b"b")
    assert backup.store.index.revision < 3, "the main has told it, and the copy is not there yet"
    assert backup.adapter.revision == 3
    stale = asyncio.create_task(backup.read(stale=True))
    await asyncio.sleep(0)
    assert not stale.done(), "its client knows more than the copy"
    backup.follows.set()
    assert (await stale).revision == 3
    await backup.make_anew()
    assert backup.adapter.revision == 3
    assert backup.adapter.term == 1


async def test_a_stale_read_needs_no_main_unless_the_copy_may_hold_what_vanishes(backup: Backup) -> None:
    await backup.put(b"a")
    assert keys(await backup.read()) == [b"a"]
    backup.road.breaks()
    assert keys(await backup.read(stale=True)) == [b"a"]
    backup.state.certain = 1
    waiting = asyncio.create_task(backup.read(stale=True))
    async with backup.lent():
        other = asyncio.create_task(backup.read(stale=True))
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in (waiting, other))
    backup.road = Road(backup.forwarder, backup.desk.visit("b"))
    assert keys(await waiting) == keys(await other) == [b"a"]


# ---------------------------------------------------------------------- a copy that is lent, or made anew


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(EVERYTHING), [b"a", b"b", b"c"]),
        (Query(EVERYTHING, revision=3), [b"a", b"b"]),
        (Query(EVERYTHING, stale=True), [b"a", b"b", b"c"]),
        (None, None),
    ],
)
async def test_a_copy_that_is_lent_between_two_turns_is_read_when_it_is_back(
    backup: Backup, monkeypatch: pytest.MonkeyPatch, turn: int, query: Query | None, found: list[bytes] | None
) -> None:
    monkeypatch.setattr(reading, "_STEP_KEYS", 1)
    monkeypatch.setattr(adapters, "_STEP_KEYS", 1)
    await backup.put(b"a", b"b", b"c")
    await backup.read()
    looks = backup.lends_at(turn, monkeypatch)
    if query is not None:
        assert keys(await backup.ask(backup.adapter.read, query)) == found
    else:
        digest = await backup.ask(backup.adapter.digest, 0)
        assert digest == await backup.ask(backup.main.adapter.digest, 0)
    assert len(looks) > turn, "it was lent, and read again"


async def test_a_copy_that_is_made_anew_is_read_from_the_beginning(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_STEP_KEYS", 2)
    await backup.put(b"a", b"b", b"c", b"d")
    await backup.read()
    for _ in range(3):
        first = asyncio.create_task(backup.read())
        await until(lambda: backup.forwarder.idle)
        await backup.make_anew()
        assert keys(await first) == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("stale", [False, True])
async def test_a_copy_of_a_snapshot_is_not_read_before_it_is_exact(backup: Backup, *, stale: bool) -> None:
    """Until then a key may be as it was behind the revision that the copy has."""
    await backup.put(b"a", b"b")
    await backup.read()
    backup.store.index.keys.noted = 4
    read = asyncio.create_task(backup.read(stale=stale))
    await asyncio.sleep(2 * REST)
    assert not read.done()
    await backup.put(b"c")
    rows = await read
    assert (rows.revision, keys(rows)) == (4, [b"a", b"b", b"c"])


async def test_a_copy_that_never_comes_to_rest(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    await backup.put(b"a")
    monkeypatch.setattr(stores.Store, "still", lambda *_: False)
    assert isinstance(await backup.read(), revisions.Busy)
    assert isinstance(await backup.ask(backup.adapter.digest, 0), revisions.Busy)


async def test_a_read_that_nobody_can_confirm_any_more(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    await backup.put(b"a")

    async def again(_: reading.Reading) -> Rows:
        backup.forwarder.decline()
        raise reading.Again

    monkeypatch.setattr(reading.Reading, "carry_out", again)
    assert isinstance(await backup.read(), revisions.Moved)


async def test_a_watch_goes_on_over_a_copy_that_is_lent_and_one_that_is_made_anew(backup: Backup) -> None:
    ready = asyncio.Event()
    feed = backup.adapter.watch(EVERYTHING, 2, ready.set, previous=False)
    seen: list[bytes] = []

    async def take(count: int) -> None:
        while len(seen) < count:
            ready.clear()
            taken = feed.take(1)
            assert not isinstance(taken, Lost)
            seen.extend(change.pair.key for change in taken)
            if not taken:
                await ready.wait()

    await backup.put(b"a", b"b")
    await take(1)
    async with backup.lent():
        assert feed.take(1) == []
    await take(2)
    await backup.make_anew()
    await backup.put(b"c")
    await take(3)
    assert seen == [b"a", b"b", b"c"]
    assert feed.position == backup.adapter.revision == 4


async def test_a_watch_whose_changes_a_new_copy_does_not_have_is_lost(backup: Backup) -> None:
    await backup.put(b"a", b"b", b"c", b"d")
    ready = asyncio.Event()
    feed = backup.adapter.watch(EVERYTHING, 2, ready.set, previous=False)
    assert await backup.ask(backup.adapter.compact, 5) == 5
    await backup.make_anew()
    assert keys(await backup.read(count_only=True)) == []
    while not isinstance(taken := feed.take(1), Lost):
        ready.clear()
        await ready.wait()
    assert taken == Lost(5)


# ---------------------------------------------------------------------- transactions and writes


async def test_a_transaction_goes_on_at_the_next_main_if_this_one_had_not_begun_it(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backup.put(b"a")
    monkeypatch.setattr(Store, "serves", property(lambda store: not backup.forwarder.figures.writes))
    backup.forwarder._writes = 0  # it believes that it is the main, until its epoch has ended
    decided = await backup.do(Query(EVERYTHING), Query(Span(b"a")))
    assert [keys(rows) for rows in decided.results] == [[b"a"], [b"a"]]


async def test_values_that_the_main_leaves_out_are_read_here(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_MOST_FORWARDED_BYTES", 10)
    await backup.put(b"a", b"b", value=bytes(20))
    monkeypatch.setattr(type(backup.main.store.index), "cached", lambda *_: None)
    everything = await backup.do(Query(EVERYTHING), Query(Span(b"a")))
    assert [pair.value for pair in everything.results[0].pairs] == [bytes(20)] * 2

    async def fail(*_: Any) -> bytes:
        raise FolderUnavailable("it hangs")

    monkeypatch.setattr(backup.driver.values, "read", fail)
    assert isinstance(await backup.do(Query(EVERYTHING), Query(Span(b"a"))), revisions.Busy)
    assert isinstance(await backup.do(Put(b"c", b""), Query(EVERYTHING)), revisions.Unknown), "it was done"
    assert backup.adapter.revision == 4
    monkeypatch.undo()
    monkeypatch.setattr(stores, "_MOST_FORWARDED_BYTES", 10)
    monkeypatch.setattr(type(backup.main.store.index), "cached", lambda *_: None)

    async def refuse(*_: Any) -> None:
        raise NoMemory

    monkeypatch.setattr(backup.store.memory, "wait", refuse)
    assert isinstance(await backup.do(Query(EVERYTHING), Query(Span(b"a"))), revisions.Busy)
    monkeypatch.setattr(transactor, "MOST_BYTES", 30)
    assert isinstance(await backup.do(Query(EVERYTHING), Query(Span(b"a"))), revisions.Busy)


async def test_a_write_whose_revision_nobody_knows(backup: Backup) -> None:
    ended: list[Any] = []
    pending = adapters._PlainWrite(backup.store, ended.append, backup.adapter._tell)
    pending(Outcome(Result.CREATED), 1)
    assert isinstance(ended.pop(), revisions.Unknown)


async def test_a_transaction_whose_keys_find_no_room_in_a_message(backup: Backup) -> None:
    await backup.put(b"a" * (1 << 20))
    reads = [Query(EVERYTHING)] * 5
    assert keys((await backup.do(*reads[:4])).results[3]) == [b"a" * (1 << 20)]
    assert isinstance(await backup.do(*reads), revisions.Unsupported)
    assert isinstance(await backup.do(Put(b"b", b""), *reads), revisions.Unknown), "it was done"
    assert [len(key) for key in keys(await backup.read())] == [1 << 20, 1]


async def test_a_value_that_the_main_does_not_take(backup: Backup) -> None:
    """Nothing was done, and it would be the same the next time: the outcome is not unknown."""
    await backup.put(b"a")
    assert keys(await backup.read()) == [b"a"]
    backup.desk.most_value_bytes = 3
    assert isinstance(await backup.do(Put(b"b", b"long")), revisions.Unsupported)
    assert keys(await backup.read()) == [b"a"]


async def test_a_transaction_of_which_it_is_not_known_whether_it_was_done(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backup.put(b"a")

    async def hang(content: bytes) -> bytes | None:
        assert isinstance(calls.decode_call(content), calls.Transacting)
        backup.road.breaks()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(backup.desk, "carry_out", hang)
    assert isinstance(await backup.do(Put(b"b", b""), Put(b"c", b"")), revisions.Unknown)


async def test_a_backup_whose_main_takes_no_lines_answers_nothing(backup: Backup) -> None:
    backup.forwarder.decline()
    assert isinstance(await backup.read(), revisions.Moved)
    assert isinstance(await backup.do(Put(b"a", b"")), revisions.Moved)
    assert isinstance(await backup.do(Put(b"a", b""), Put(b"b", b"")), revisions.Moved)
