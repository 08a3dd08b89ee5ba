"""Following an overseer: its stream, else its document, else the workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from hanas_operator import follower, reach
from hanas_operator.follower import ClusterFollower, WorkerStatus
from hanas_operator.queue import Key
from hanas_operator.reach import DirectReach, HttpInterface, Unreachable
from hanas_operator.view import ClusterView
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, role, view
from tests.unit.operator.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.02)


async def test_without_a_stream_the_document_is_asked_for(bench: Bench) -> None:
    bench.overseer.streams = False
    await bench.overseer.show(view())
    await bench.start()
    assert role(bench.server, "worker-0") == "main"
    await bench.overseer.show(view("worker-1", epoch=2))
    await until(lambda: role(bench.server, "worker-1") == "main")


async def test_a_stream_that_ends_is_begun_anew(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    await bench.overseer.end_streams()
    bench.overseer.streams = True
    await bench.overseer.show(view("worker-1", epoch=2))
    await until(lambda: role(bench.server, "worker-1") == "main")


async def test_without_any_overseer_the_workers_are_asked(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.overseer.answers = False
    await bench.overseer.end_streams()
    bench.overseer.workers = {
        "demo-worker-1": {"member": "worker-1", "incarnation": "cd" * 16, "role": "main", "epoch": 2},
        "demo-worker-0": {"member": "worker-0", "incarnation": "ab" * 16, "role": "main", "epoch": 1},
        "demo-worker-2": {"member": "worker-2", "incarnation": "ef" * 16, "role": "backup", "epoch": 2},
    }
    await until(lambda: role(bench.server, "worker-1") == "main")
    await until(lambda: role(bench.server, "worker-0") == "backup")


async def test_when_nobody_answers_the_last_view_is_not_believed_for_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "STALE_SECONDS", 0.3)
    await bench.overseer.show(view())
    await bench.start()
    bench.news.clear()
    bench.overseer.answers = False
    await bench.overseer.end_streams()
    await until(lambda: bench.followers.latest(KEY)[0] is None)
    await until(lambda: KEY in bench.news)
    assert bench.followers.latest(KEY)[1] != ""
    assert role(bench.server, "worker-0") == "main", "the label stays until another main is known"


def test_of_several_mains_the_one_of_the_highest_epoch_counts_and_an_old_one_never() -> None:
    told = [WorkerStatus("worker-1", "a", "main", 4), WorkerStatus("worker-2", "b", "main", 5)]
    seen = follower.among(told, view())
    assert seen is not None
    assert (seen.serving, seen.epoch, seen.folder_id) == ("worker-2", 5, view().folder_id)
    assert follower.among(told, view(epoch=6)) is None
    assert follower.among([WorkerStatus("worker-1", "a", "backup", 9)], view()) is None


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[tuple[DirectReach, HttpInterface, list[str]]]:
    heard: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization", ""))
        return web.Response(status=status, text="here")

    app = web.Application()
    app.router.add_get("/v1/cluster", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place = reach.overseer("shop", "demo")
    place.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession() as session:
            yield DirectReach(session), place, heard
    finally:
        await runner.cleanup()


async def test_directly_the_token_goes_as_a_bearer() -> None:
    async with answering(200) as (way, place, heard):
        async with way.open(place, "/v1/cluster", "secret") as response:
            assert await response.text() == "here"
        assert heard == ["Bearer secret"]


async def test_what_cannot_be_reached_is_told_in_words() -> None:
    async with answering(401) as (way, place, _):
        with pytest.raises(Unreachable, match="answered 401"):
            async with way.open(place, "/v1/cluster", ""):
                pass
        place.url = "http://127.0.0.1:1"
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            async with way.open(place, "/v1/cluster", ""):
                pass


def test_where_they_are() -> None:
    assert reach.overseer("shop", "demo").url == "http://demo-overseer.shop.svc:4000"
    place = reach.worker("shop", "demo", "worker-1")
    assert place.url == "http://demo-worker-1.demo-workers.shop.svc:3001"
    assert place.proxied == "/api/v1/namespaces/shop/pods/demo-worker-1:3001/proxy"


async def test_garbage_from_an_overseer_is_survived() -> None:
    pieces = iter([Unreachable("not yet"), ValueError("garbage")])

    class Garbage(DirectReach):
        @asynccontextmanager
        async def open(
            self, place: HttpInterface, path: str, token: str, *, stream: bool = False
        ) -> AsyncIterator[aiohttp.ClientResponse]:
            raise next(pieces, ValueError("more of it"))
            yield  # type: ignore[unreachable]

    async def token(key: Key) -> str:
        assert key == KEY
        return ""

    async def changed(key: Key, seen: ClusterView | None) -> None:
        raise AssertionError(key, seen)

    async with aiohttp.ClientSession() as session:
        made = ClusterFollower(Garbage(session), KEY, token, changed)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.run(), 0.2)
    assert made.view is None
    assert "more of it" in made.trouble


async def test_an_answer_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "MOST_BYTES", 3)

    async def token(key: Key) -> str:
        return key[0]

    async def changed(key: Key, present: ClusterView | None) -> None:
        raise AssertionError(key, present)

    async with answering(200) as (way, place, _):
        following = ClusterFollower(way, KEY, token, changed)
        with pytest.raises(Unreachable, match="more than 3 bytes"):
            await following._get(place, "/v1/cluster")
