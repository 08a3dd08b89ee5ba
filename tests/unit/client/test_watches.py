"""Watches of the client: each change once, in order, whatever becomes of the streams."""

import asyncio

import pytest

from hanas_client import AsyncClient, BadAnswer, Client, Compacted, Refused, watches, watching
from hanas_client.watching import Changes, Cursor
from tests.unit.client.fake_cluster import running
from tests.unit.client.fake_store import FakeStore


async def taken(store: FakeStore, count: int, start: int | None = 2) -> list[int]:
    async with asyncio.timeout(20), store.watch("a", start=start) as watch:
        return [(await anext(watch)).revision for _ in range(count)]


async def test_each_revision_comes_once_over_streams_that_break_inside_of_one() -> None:
    store = FakeStore()
    for number in range(5):
        await store.put(f"a{number}")
    store.cut = 3
    assert await taken(store, 5) == [2, 3, 4, 5, 6]
    assert len(store.watched) == 4


async def test_a_new_stream_begins_behind_the_last_revision() -> None:
    store = FakeStore()
    await store.put("a")
    await store.put("b")
    watch = store.watch("", start=2)
    assert (await anext(watch)).revision == 2
    await watch.close()
    assert (await anext(watch)).revision == 3
    assert store.watched[-1].target == "/v1/watch?from=3"
    assert watch.revision == 3


async def test_without_a_start_only_what_comes_is_told_also_after_a_break() -> None:
    store = FakeStore()
    await store.put("a")
    async with store.watch("") as watch:
        assert watch.revision == 2
        await watch.close()
        await store.put("b")
        assert [change.key for change in (await anext(watch)).changes] == ["b"]


async def test_a_call_that_is_cancelled_loses_nothing() -> None:
    store = FakeStore()
    async with store.watch("a") as watch:
        waiting = asyncio.create_task(watch.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await store.put("a")
        assert (await anext(watch)).revision == 2


async def test_what_is_forgotten_is_told_with_the_compacted_revision() -> None:
    store = FakeStore()
    await store.put("a")
    await store.put("a")
    await store.compact(3)
    with pytest.raises(Compacted) as failure:
        await taken(store, 1)
    assert failure.value.compacted == 3
    watch = store.watch("a", start=4)
    await store.put("a")
    assert (await anext(watch)).revision == 4
    waiting = asyncio.create_task(watch.__anext__())
    await asyncio.sleep(0)
    await store.compact(9)
    for call in (waiting, watch.__anext__()):
        with pytest.raises(Compacted) as failure:
            await call
        assert failure.value.compacted == 9


def told(cursor: Cursor, *chunks: bytes) -> list[Changes]:
    return [changes for chunk in chunks for changes in cursor.feed(chunk)]


def test_changes_before_the_end_are_told_before_it() -> None:
    cursor = Cursor("", revision=1)
    coming = cursor.feed(b'{"revision":2,"changes":[]}\n{"compacted":7}\n')
    assert next(coming).revision == 2
    with pytest.raises(Compacted):
        next(coming)


def test_what_was_told_is_not_told_again() -> None:
    cursor = Cursor("", revision=4)
    lines = b"".join(b'{"revision":%d,"changes":[{"delete":{"key":"a"}}]}\n' % revision for revision in (3, 4, 5, 5))
    assert [changes.revision for changes in told(cursor, lines[:9], lines[9:30], lines[30:])] == [5]


def test_progress_never_moves_the_cursor_back() -> None:
    cursor = Cursor("", revision=4)
    assert told(cursor, b'{"progress":4}\n{"progress":3}\n') == [Changes(revision=4)]
    assert told(cursor, b'{"progress":9}\n') == [Changes(revision=9)]
    assert cursor.call().target == "/v1/watch?from=10"


def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_LINE_BYTES", 100)
    with pytest.raises(BadAnswer, match="more than 100 bytes"):
        told(Cursor("", revision=1), bytes(60), bytes(60))


def test_a_server_without_revisions_is_none() -> None:
    with running() as cluster, Client(cluster.url) as client:
        cluster.watches = [b""]
        cluster.watch_headers = {"Content-Type": "text/html"}
        with pytest.raises(BadAnswer, match="does not tell a revision"):
            next(client.watch("a"))


async def test_the_stream_of_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "SILENCE_SECONDS", 0.05)
    with running() as cluster:
        cluster.watches = [None, b'{"revision":3,"changes":[{"delete":{"key":"a"}}]}\n']
        async with asyncio.timeout(20), AsyncClient(cluster.url) as client, client.watch("a", start=3) as watch:
            assert (await anext(watch)).revision == 3
        assert [path for _, path, _ in cluster.requests if "watch" in path] == ["/v1/watch?prefix=a&from=3"] * 2


def test_the_blocking_client_goes_on_over_streams_refusals_and_redirects() -> None:
    with running() as cluster, Client(cluster.url) as client:
        cluster.watches = [
            b'{"revision":3,"changes":[{"put":{"key":"a","mod":3,"base64":"/w=="}}]}\n{"revision":4,"chan',
            503,
            b'{"revision":4,"changes":[{"delete":{"key":"a"},"previous":{"key":"a","mod":3,"text":"x"}}]}\n',
            410,
        ]
        with client.watch("a", previous=True) as watch:
            assert watch.revision == 2
            first, second = next(watch), next(watch)
            with pytest.raises(Compacted) as failure:
                next(watch)
        assert failure.value.compacted == 8
        assert first.changes[0].put is not None
        assert first.changes[0].put.value == b"\xff"
        assert second.changes[0].previous is not None
        assert (second.changes[0].key, second.changes[0].previous.value) == ("a", b"x")
        paths = [path for _, path, _ in cluster.requests if "watch" in path]
        assert paths == ["/v1/watch?prefix=a&prev=1"] + ["/v1/watch?prefix=a&from=4&prev=1"] * 2 + [
            "/v1/watch?prefix=a&from=5&prev=1"
        ]


async def test_a_watch_that_is_refused_says_why() -> None:
    with running() as cluster:
        cluster.watches = [403]
        async with AsyncClient(cluster.url) as client:
            with pytest.raises(Refused, match="it was told to"):
                await anext(client.watch("a"))
