"""A switchover that an annotation asks for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec import UNSET, UnsetType

from hanas_operator import kinds, names, reach, switchover
from hanas_operator.queue import Key
from hanas_operator.reach import DirectReach, HttpInterface, Reply, Unreachable
from hanas_operator.status import SwitchoverState, SwitchoverStatus
from hanas_operator.view import ClusterView
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NoTrust, status, view

MEMBERS = ["worker-0", "worker-1", "worker-2"]


class Main:
    """Answers whoever asks it."""

    def __init__(self, *replies: Reply | Unreachable) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, bytes]] = []

    async def ask(self, main: str, path: str, content: bytes) -> Reply:
        assert path == "/v1/switchover"
        self.asked.append((main, content))
        reply = self.replies.pop(0)
        if isinstance(reply, Unreachable):
            raise reply
        return reply


def refusal(status: int, detail: str = "no") -> Reply:
    return Reply(status, msgspec.json.encode({"detail": detail}))


async def attended(
    main: Main,
    to: str = "worker-1",
    seen: ClusterView | None = None,
    before: SwitchoverStatus | UnsetType = UNSET,
) -> tuple[SwitchoverState, str]:
    told = await switchover.attend(to, MEMBERS, seen or view(), before, main.ask)
    assert isinstance(told, SwitchoverStatus)
    assert told.to == to
    return told.state, told.message


async def test_the_main_is_asked_once_and_the_new_one_ends_it() -> None:
    main = Main(Reply(202, b""))
    state, words = await attended(main)
    assert (state, words) == (SwitchoverState.PENDING, "worker-0 has handed over, and worker-1 takes over")
    assert main.asked == [("worker-0", b'{"to":"worker-1"}')]
    before = SwitchoverStatus(to="worker-1", state=state, message=words)
    done, words = await attended(main, seen=view("worker-1", epoch=2), before=before)
    assert (done, words) == (SwitchoverState.DONE, "worker-1 is the main of epoch 2")
    before = SwitchoverStatus(to="worker-1", state=done, message=words)
    assert await attended(main, seen=view("worker-2", epoch=3), before=before) == (done, words), "once for each value"


async def test_without_the_annotation_there_is_nothing_to_tell() -> None:
    before = SwitchoverStatus(to="worker-1", state=SwitchoverState.DONE, message="")
    assert await switchover.attend("", MEMBERS, view(), before, Main().ask) is UNSET


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
async def test_a_refusal_is_final_and_tells_the_workers_words(status: int) -> None:
    main = Main(refusal(status, "worker-1 is far behind"))
    told = await attended(main)
    assert told == (SwitchoverState.REFUSED, "worker-1 is far behind")
    before = SwitchoverStatus(to="worker-1", state=told[0], message=told[1])
    assert await attended(main, before=before) == told


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(503, "try again"), "try again"),
        (Reply(502, b"bad gateway"), "worker-0 answered 502"),
        (Reply(307, b""), "worker-0 answered 307"),
        (Unreachable("no route"), "worker-0 could not be asked to hand over: no route"),
    ],
)
async def test_what_may_pass_is_tried_again(reply: Reply | Unreachable, words: str) -> None:
    main = Main(reply, Reply(202, b""))
    state, told = await attended(main)
    assert (state, told) == (SwitchoverState.PENDING, words)
    await attended(main, before=SwitchoverStatus(to="worker-1", state=state, message=told))
    assert len(main.asked) == 2


async def test_without_a_main_it_waits_and_a_stranger_is_refused() -> None:
    main = Main()
    assert (await attended(main, seen=view(state="elect")))[0] is SwitchoverState.PENDING
    state, words = await attended(main, to="worker-7")
    assert (state, words) == (
        SwitchoverState.REFUSED,
        "there is no worker 'worker-7': name one from worker-0 to worker-2",
    )
    nobody = await switchover.attend("worker-0", [], None, UNSET, main.ask)
    assert isinstance(nobody, SwitchoverStatus)
    assert nobody.message == "there are no workers"
    assert main.asked == []


def annotate(bench: Bench, value: str | None) -> None:
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.SWITCHOVER: value}}})


async def test_the_status_tells_how_far_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    main = Main(Reply(202, b""), refusal(409, "worker-2 is not ready"))

    async def post(key: Key, member: str, path: str, content: bytes) -> Reply:
        assert key == KEY
        return await main.ask(member, path, content)

    monkeypatch.setattr(bench.followers, "post", post)
    await bench.overseer.show(view())
    await bench.start()
    assert "switchover" not in status(bench.server)
    annotate(bench, "worker-1")
    assert await bench.reconcile() == 5.0
    assert status(bench.server)["switchover"]["state"] == "Pending"
    await bench.overseer.show(view("worker-1", epoch=2))
    await bench.hear()
    assert await bench.reconcile() == 60.0
    assert status(bench.server)["switchover"]["state"] == "Done"
    annotate(bench, "worker-2")
    await bench.reconcile()
    assert status(bench.server)["switchover"]["message"] == "worker-2 is not ready"
    refused = [event for event in bench.server.all(kinds.EVENT) if event["reason"] == "SwitchoverRefused"]
    assert [event["note"] for event in refused] == ["worker-2: worker-2 is not ready"]
    annotate(bench, None)
    await bench.reconcile()
    assert "switchover" not in status(bench.server)


async def test_a_paused_cluster_keeps_its_main(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    annotate(bench, "worker-1")
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    await bench.reconcile()
    assert "switchover" not in status(bench.server)


async def test_an_operator_outside_the_cluster_says_what_to_use(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    annotate(bench, "worker-1")
    await bench.reconcile()
    assert "use `hanas switchover`" in status(bench.server)["switchover"]["message"]


@asynccontextmanager
async def a_worker(seen: list[tuple[str, str, bytes]]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], request.headers["Content-Type"], await request.read()))
        return web.Response(status=307, headers={"Location": "http://elsewhere"}, text="elsewhere")

    app = web.Application()
    app.router.add_post("/v1/switchover", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_secret_goes_to_the_pod_and_no_further() -> None:
    seen: list[tuple[str, str, bytes]] = []
    async with a_worker(seen) as url, reach.session() as session:
        reply = await DirectReach(session, NoTrust()).post(
            HttpInterface(url, "/p"), switchover.PATH, "the-secret", b"{}"
        )
        assert reply == Reply(307, b"elsewhere")
    assert seen == [("Bearer the-secret", "application/json", b"{}")]
    async with aiohttp.ClientSession() as session:
        direct = DirectReach(session, NoTrust())
        with pytest.raises(Unreachable):
            await direct.post(HttpInterface(url, "/p"), switchover.PATH, "the-secret", b"{}")
        with pytest.raises(Unreachable, match="no address yet"):
            await direct.post(HttpInterface("", "/p"), switchover.PATH, "the-secret", b"{}")


async def test_the_pod_of_the_main_is_asked_with_the_components_secret(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.overseer.show(view())
    await bench.start()
    asked: list[tuple[str, str, bytes]] = []

    async def post(place: HttpInterface, path: str, token: str, content: bytes) -> Reply:
        assert token
        asked.append((place.proxied, path, content))
        return Reply(202, b"")

    monkeypatch.setattr(bench.followers._reach, "post", post)
    assert (await bench.followers.post(KEY, "worker-0", switchover.PATH, b"{}")).status == 202
    assert asked == [("/api/v1/namespaces/shop/pods/demo-worker-0:3001/proxy", "/v1/switchover", b"{}")]
    with pytest.raises(Unreachable, match="there is no pod demo-worker-9"):
        await bench.followers.post(KEY, "worker-9", switchover.PATH, b"{}")
