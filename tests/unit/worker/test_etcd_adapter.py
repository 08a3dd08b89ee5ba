"""The worker's store behind etcd's API: what it must ask, fetch, and refuse; all else is tested through the face."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from hanas_core.log import records
from hanas_core.state import queue
from hanas_core.state.judge import Compaction, Request
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.budget import NoMemory
from hanas_worker.faces.etcd import adapter as adapters
from hanas_worker.faces.etcd import reading, revisions, terms
from hanas_worker.faces.etcd.revisions import EVERYTHING, Delete, Deleted, Lost, Put, Query, Rows, Span, Transaction
from hanas_worker.log import transactor
from hanas_worker.log.service import Written
from hanas_worker.log.values import Moved
from hanas_worker.refusals import Full
from tests.unit.waiting import AMPLE_SECONDS
from tests.unit.worker.etcd_store import Real, real


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[Real]:
    async with real() as store, asyncio.timeout(AMPLE_SECONDS):
        yield store


async def ask(call: Callable[..., None], *arguments: Any) -> Any:
    """Return what is called back."""
    waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    call(*arguments, waiter.set_result)
    return await waiter


async def do(store: Real, *operations: revisions.Operation) -> Any:
    return await ask(store.adapter.transact, Transaction((), operations, ()))


async def put(store: Real, *keys: bytes, value: bytes = b"v") -> None:
    for key in keys:
        await do(store, Put(key, value))


async def read(store: Real, span: Span, **more: Any) -> Any:
    return await ask(store.adapter.read, Query(span, **more))


async def taken(store: Real, span: Span, start: int) -> Sequence[revisions.Change]:
    """Return the first changes that a watcher is told."""
    ready = asyncio.Event()
    feed = store.adapter.watch(span, start, ready.set, previous=True)
    while not (changes := feed.take(1 << 20)):
        await ready.wait()
        ready.clear()
    assert not isinstance(changes, Lost)
    feed.close()
    return changes


def forgetful(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no value at hand in memory."""
    monkeypatch.setattr(type(store.store.index), "cached", lambda *_: None)


# ---------------------------------------------------------------------- reading


async def test_values_are_fetched_from_the_volume(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a", b"b", value=bytes(100_000))
    await put(store, b"a", value=b"new")
    await put(store, b"c", value=b"")
    forgetful(store, monkeypatch)
    assert [pair.value for pair in (await read(store, Span(b"a"))).pairs] == [b"new"]
    rows = await read(store, EVERYTHING, revision=3)
    assert [(pair.key, pair.value, pair.modified) for pair in rows.pairs] == [
        (b"a", bytes(100_000), 2),
        (b"b", bytes(100_000), 3),
    ]
    assert (rows.revision, rows.count, store.values.reads) == (5, 2, 3)
    assert [pair.value for pair in (await read(store, Span(b"c"))).pairs] == [b""]
    assert store.values.reads == 3, "what is empty needs no read"


async def test_long_lists_are_read_in_turns(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"%03d" % number for number in range(50)]
    await do(store, *(Put(key, key) for key in keys))
    await put(store, b"x")
    monkeypatch.setattr(reading, "_STEP_KEYS", 7)
    for more, count in (({}, 51), ({"revision": 2}, 50)):
        rows = await read(store, EVERYTHING, **more)
        assert [pair.key for pair in rows.pairs][:50] == keys
        assert rows.count == count
        rows = await read(store, EVERYTHING, limit=10, **more)
        assert ([pair.key for pair in rows.pairs], rows.count) == (keys[:10], count)
        assert await read(store, EVERYTHING, count_only=True, **more) == Rows(3, [], count)


@pytest.mark.parametrize(
    ("revision", "moves", "result"),
    [(0, 1, Rows), (0, 99, revisions.Busy), (2, 1, Rows)],
)
async def test_a_value_that_is_forgotten_meanwhile(
    store: Real, monkeypatch: pytest.MonkeyPatch, revision: int, moves: int, result: type
) -> None:
    await put(store, b"a")
    forgetful(store, monkeypatch)
    fetch, left = store.values.read, [Moved()] * moves

    async def fail(*arguments: Any) -> bytes:
        if left:
            raise left.pop()
        return await fetch(*arguments)

    monkeypatch.setattr(store.values, "read", fail)
    assert type(await read(store, Span(b"a"), revision=revision)) is result


async def test_history_that_is_forgotten_between_two_turns(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a", b"b", b"c", b"d")
    monkeypatch.setattr(reading, "_STEP_KEYS", 1)
    past = asyncio.create_task(read(store, EVERYTHING, revision=3))
    present = asyncio.create_task(read(store, EVERYTHING))
    digest = asyncio.create_task(ask(store.adapter.digest, 3))
    monkeypatch.setattr(adapters, "_STEP_KEYS", 1)
    await asyncio.sleep(0)
    store.store.index.keys.compact(5)
    assert isinstance(await past, revisions.Compacted)
    assert isinstance(await digest, revisions.Compacted)
    assert (await present).count == 4


async def test_a_volume_that_cannot_be_read(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a")
    forgetful(store, monkeypatch)

    async def fail(*_: Any) -> bytes:
        raise FolderUnavailable("it hangs")

    monkeypatch.setattr(store.values, "read", fail)
    assert isinstance(await read(store, Span(b"a")), revisions.Late)
    assert isinstance(await do(store, Put(b"a", None)), revisions.Late)


async def test_no_memory_for_what_is_read(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a", value=bytes(200_000))
    forgetful(store, monkeypatch)

    async def refuse(*_: Any) -> None:
        raise NoMemory

    monkeypatch.setattr(store.store.memory, "wait", refuse)
    assert isinstance(await read(store, Span(b"a")), revisions.Late)


async def test_keys_are_any_bytes(store: Real) -> None:
    await put(store, b"\xff", b"\x00")
    assert [pair.key for pair in (await read(store, EVERYTHING)).pairs] == [b"\x00", b"\xff"]
    assert await read(store, Span(b"b"), stale=True) == Rows(3, [], 0)


# ---------------------------------------------------------------------- who may answer


async def test_only_the_main_answers(store: Real) -> None:
    await put(store, b"a")
    store.state.service = store.state.lessor = None
    adapter = store.adapter
    for call, arguments in (
        (adapter.read, [Query(EVERYTHING)]),
        (adapter.transact, [Transaction((), (Put(b"a", b""),), ())]),
        (adapter.compact, [2]),
        (adapter.confirm, []),
        (adapter.leases, []),
        (adapter.renew, [7]),
        (adapter.digest, [0]),
    ):
        assert isinstance(await ask(call, *arguments), revisions.Moved)
    store.driver.ready = False
    assert not adapter.vitals().serving
    assert isinstance(adapters.refusal_of(Full()), revisions.Full)


async def test_a_log_without_revisions_is_answered_later(store: Real) -> None:
    await put(store, b"a")
    store.store.index.shown = 0
    assert isinstance(await read(store, EVERYTHING), Rows), "the next write has the next revision"
    store.stage.service.form = records.PLAIN
    assert isinstance(await read(store, EVERYTHING), revisions.Late)
    assert isinstance(await do(store, Put(b"a", b"")), revisions.Late)


async def test_an_error_of_this_program_is_answered(
    store: Real, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(terms, "decided", None)
    monkeypatch.setattr(adapters._PlainWrite, "done", None)
    for operation in (Put(b"a", b"", previous=True), Put(b"a", b"")):
        caplog.clear()
        assert isinstance(await do(store, operation), revisions.Unknown)
        assert "an error of this program" in caplog.text


async def test_a_plain_write_answers_as_a_transaction_of_its_kind(store: Real) -> None:
    key = Span(b"a")
    for operation in (Put(b"a", b"v"), Put(b"a", b"w"), Delete(key), Delete(key)):
        before = store.adapter.revision
        plain = await do(store, operation)
        (result,) = plain.results
        assert plain.held
        assert plain.revision == result.revision == store.adapter.revision
        assert store.adapter.revision == before + (not isinstance(result, Deleted) or result.count)
    leased = Put(b"a", b"", lease=9)
    for operations in ((leased,), (leased, Query(key))):
        assert isinstance(await do(store, *operations), revisions.NoLease)


# ---------------------------------------------------------------------- transactions


async def test_what_a_transaction_reads_and_cannot_tell(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a")
    forgetful(store, monkeypatch)
    monkeypatch.setattr(transactor, "MOST_BYTES", 0)
    assert isinstance(await do(store, Query(EVERYTHING)), revisions.Busy)
    assert isinstance(await do(store, Put(b"b", b""), Query(EVERYTHING)), revisions.Unknown)
    assert store.adapter.revision == 3, "it was done"


@pytest.mark.parametrize(("operations", "refusal"), [((), revisions.Compacted), ((Put(b"e", b""),), revisions.Unknown)])
async def test_the_past_may_be_forgotten_by_the_batch_that_reads_it(
    store: Real, monkeypatch: pytest.MonkeyPatch, operations: tuple[Put, ...], refusal: type[revisions.Refusal]
) -> None:
    await put(store, b"a", b"b", b"c", b"d")
    service = store.stage.service
    submit = service.submit

    def both(request: Request, written: Written) -> None:
        submit(request, written)
        submit(Compaction(4), lambda *_: None)

    monkeypatch.setattr(service, "submit", both)
    assert isinstance(await do(store, *operations, Query(EVERYTHING, revision=3)), refusal)
    assert store.adapter.revision == 5 + len(operations)


async def test_a_kept_value_is_fetched_and_one_that_changes_is_fetched_again(
    store: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, b"a", value=b"old")
    forgetful(store, monkeypatch)
    fetch = store.values.read

    async def overtaken(*arguments: Any) -> bytes:
        value = await fetch(*arguments)
        if store.adapter.revision == 2:
            await put(store, b"a", value=b"new")
            raise Moved
        return value

    monkeypatch.setattr(store.values, "read", overtaken)
    await do(store, Put(b"a", None, lease=None))
    assert [pair.value for pair in (await read(store, Span(b"a"))).pairs] == [b"new"]


async def test_more_deletes_than_find_room_are_refused(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a", b"b")
    monkeypatch.setattr(queue, "_MOST_DELETED_BYTES", 20)
    assert isinstance(await do(store, Delete(EVERYTHING)), revisions.Unsupported)


# ---------------------------------------------------------------------- leases, compaction, watching


async def test_the_id_of_a_lease_is_positive(store: Real) -> None:
    assert isinstance(await ask(store.adapter.grant, -4, 9), revisions.Unsupported)


async def test_a_lease_that_has_too_many_keys(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(store.adapter.grant, 7, 9)
    monkeypatch.setattr("hanas_core.state.leases.MOST_KEY_BYTES", 1)
    assert isinstance(await do(store, Put(b"a", b"", lease=7)), revisions.Busy)


async def test_watchers_have_the_changes_of_the_compacted_revision(store: Real) -> None:
    await put(store, b"a", b"b")
    await do(store, Delete(Span(b"a")))
    await put(store, b"c")
    assert await ask(store.adapter.compact, 4) == 5
    assert isinstance(await ask(store.adapter.compact, 4), revisions.Compacted)
    assert isinstance(await read(store, EVERYTHING, revision=3), revisions.Compacted)
    changes = await taken(store, EVERYTHING, 4)
    assert [(change.pair.key, change.deleted, change.pair.modified) for change in changes] == [
        (b"a", True, 4),
        (b"c", False, 5),
    ]
    assert store.adapter.watch(EVERYTHING, 3, lambda: None, previous=False).take(1) == Lost(4)


async def test_compaction_of_what_is_hardly_anything(store: Real) -> None:
    await put(store, b"a", b"b")
    for _ in range(2):
        assert await ask(store.adapter.compact, 2) == 3
    assert isinstance(await ask(store.adapter.compact, 4), revisions.Future)
    assert store.compacted == 0


async def test_hashes_tell_whether_two_stores_hold_the_same(store: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, b"a", b"b", b"c")
    first = await ask(store.adapter.digest, 0)
    monkeypatch.setattr(adapters, "_STEP_KEYS", 1)
    assert await ask(store.adapter.digest, 4) == first
    async with real() as other:
        await put(other, b"a", b"b", b"c")
        assert await ask(other.adapter.digest, 0) == first
        await put(other, b"c")
        assert (await ask(other.adapter.digest, 0)).value != first.value
        assert (await ask(other.adapter.digest, 4)).value == first.value
    assert isinstance(await ask(store.adapter.digest, 9), revisions.Future)
