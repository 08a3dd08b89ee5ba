"""Following an overseer: its stream, else its document, else the workers."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from hanas_core.members.verdicts import Verdict
from hanas_operator import follower, kinds, news, reach
from hanas_operator.follower import ClusterFollower, WorkerStatus
from hanas_operator.objects import secret
from hanas_operator.queue import Key
from hanas_operator.reach import DirectReach, HttpInterface, Unreachable
from hanas_operator.view import ClusterView
from hanas_overseer import stream
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, NoTrust, alert, pod, role, view
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
    monkeypatch.setattr(news, "BELIEVED_SECONDS", 0.3)
    await bench.overseer.show(view())
    await bench.start()
    bench.news.clear()
    bench.overseer.answers = False
    await bench.overseer.end_streams()
    await until(lambda: bench.followers.latest(KEY)[0] is None)
    await until(lambda: KEY in bench.news)
    assert bench.followers.latest(KEY)[1] != ""
    assert role(bench.server, "worker-0") == "main", "the label stays until another main is known"


async def test_an_overseer_that_is_lost_with_the_main_delays_nothing(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    await until(lambda: sorted(bench.overseer.listeners) == ["demo-overseer-0", "demo-overseer-1"])
    bench.overseer.lost = {"demo-overseer-0", "demo-worker-0"}
    began = time.monotonic()
    await bench.overseer.show(view("worker-1", epoch=2))
    await until(lambda: role(bench.server, "worker-1") == "main")
    assert time.monotonic() - began < reach.SILENCE_SECONDS / 2


async def test_without_an_overseer_that_says_anything_the_workers_are_asked_after_a_short_silence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream.HEARTBEAT_SECONDS <= 1.0
    assert reach.SILENCE_SECONDS <= 3.0
    monkeypatch.setattr(reach, "SILENCE_SECONDS", 0.3)
    await bench.overseer.show(view())
    await bench.start()
    bench.overseer.workers = {"demo-worker-1": main_of(2)}
    bench.overseer.lost = {"demo-overseer-0", "demo-overseer-1", "demo-worker-0"}
    await bench.overseer.show(view())
    await until(lambda: role(bench.server, "worker-1") == "main")


async def test_everybody_is_asked_when_a_pod_is_ready_no_more(bench: Bench) -> None:
    """The overseer still talks, but has not seen the takeover."""
    await bench.overseer.show(view())
    await bench.start()
    bench.overseer.workers = {"demo-worker-1": main_of(2)}
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    bench.server.change(kinds.POD, NAMESPACE, "demo-worker-0", unready)
    await bench.reconcile()
    await until(lambda: role(bench.server, "worker-1") == "main")
    await bench.overseer.show(view())
    await until(lambda: bench.followers.latest(KEY)[1] == "")
    seen = bench.followers.latest(KEY)[0]
    assert seen is not None
    assert seen.epoch == 2, "an older epoch never replaces a newer one"


async def test_the_workers_are_asked_while_the_overseers_cannot_read_the_folder(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.overseer.workers = {"demo-worker-1": main_of(2)}
    await bench.overseer.show(view(alerts=(alert(Verdict.FOLDER_UNAVAILABLE, member="overseer"),)))
    await until(lambda: role(bench.server, "worker-1") == "main")


async def test_an_overseer_that_is_gone_is_followed_no_more(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.remove(kinds.POD, NAMESPACE, "demo-overseer-0")
    await bench.reconcile()
    bench.followers.latest(KEY)
    await bench.overseer.show(view(epoch=2))  # a stream that nobody reads ends with the next write
    await until(lambda: bench.overseer.listeners == ["demo-overseer-1"])


async def test_a_token_that_is_refused_is_read_again(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    fresh = base64.b64encode(b"another").decode()
    bench.server.change(kinds.SECRET, NAMESPACE, "demo-components", {"data": {secret.KEY: fresh}})
    bench.overseer.token = "another"
    await bench.overseer.end_streams()
    bench.overseer.streams = True
    await bench.overseer.show(view("worker-1", epoch=2))
    await until(lambda: role(bench.server, "worker-1") == "main")


def main_of(epoch: int) -> dict[str, object]:
    return {"member": "worker-1", "incarnation": "cd" * 16, "role": "main", "epoch": epoch}


def test_a_worker_is_the_main_unless_a_newer_one_is_known() -> None:
    seen = follower.according_to(WorkerStatus("worker-2", "b", "main", 5), view())
    assert seen is not None
    assert (seen.serving, seen.epoch, seen.folder_id) == ("worker-2", 5, view().folder_id)
    assert follower.according_to(WorkerStatus("worker-1", "a", "main", 5), view(epoch=6)) is None
    assert follower.according_to(WorkerStatus("worker-1", "a", "backup", 9), view()) is None


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[tuple[DirectReach, HttpInterface, list[str]]]:
    heard: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization", ""))
        return web.Response(status=status, text="here")

    app = web.Application()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"retry: 1000")
        await ended.wait()
        return response

    ended = asyncio.Event()
    app.router.add_get("/v1/cluster", answer)
    app.router.add_get("/v1/events", stream)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place = HttpInterface(f"http://127.0.0.1:{runner.addresses[0][1]}", "/pods/demo-overseer-0")
    try:
        async with aiohttp.ClientSession() as session:
            yield DirectReach(session, NoTrust()), place, heard
    finally:
        ended.set()
        await runner.cleanup()


async def test_directly_the_token_goes_as_a_bearer() -> None:
    async with answering(200) as (way, place, heard):
        async with way.open(place, "/v1/cluster", "secret") as response:
            assert await response.text() == "here"
        assert heard == ["Bearer secret"]


async def test_directly_the_number_of_streams_has_no_limit() -> None:
    async with answering(200) as (_, place, _), reach.session() as session, contextlib.AsyncExitStack() as streams:
        way = DirectReach(session, NoTrust())
        for _ in range(150):  # aiohttp's own limit is 100
            response = await streams.enter_async_context(way.open(place, "/v1/events", "", stream=True))
            assert await response.content.readany() == b"retry: 1000"


async def test_what_cannot_be_reached_is_told_in_words() -> None:
    async with answering(401) as (way, place, _):
        with pytest.raises(Unreachable, match="answered 401"):
            async with way.open(place, "/v1/cluster", ""):
                pass
        for url, words in (("http://127.0.0.1:1", r"127\.0\.0\.1:1"), ("", "no address yet")):
            with pytest.raises(Unreachable, match=words):
                async with way.open(place._replace(url=url), "/v1/cluster", ""):
                    pass


@pytest.mark.parametrize(
    ("address", "url"), [("10.8.0.9", "http://10.8.0.9:3001"), ("fd00::9", "http://[fd00::9]:3001"), ("", "")]
)
def test_where_they_are(address: str, url: str) -> None:
    place = reach.of_pod(pod("demo-worker-1", "worker", podIP=address), 3001)
    assert place == HttpInterface(url, "/api/v1/namespaces/shop/pods/demo-worker-1:3001/proxy")


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
        made = ClusterFollower(Garbage(session, NoTrust()), KEY, token, changed)
        made.watch([pod("demo-overseer-0", "overseer"), pod("demo-worker-0", "worker")])
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
            await following._read(place, "/v1/cluster")
