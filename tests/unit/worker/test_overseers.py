"""Asking overseers in turn; when none can be reached, the folder decides by the same functions."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hanas_core.epochs.arbitration import Arrival, Challenge, Expected, Place
from hanas_core.log.claims import highest_claim
from hanas_core.members import cluster
from hanas_core.members.documents import MainInfo, Report
from hanas_core.members.registry import Registry
from hanas_core.members.roles import MainState
from hanas_core.members.timing import LAN
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderError
from hanas_core.volume.posix import PosixFolder
from hanas_serving.problems import Problem
from hanas_serving.runtime import Runtime
from hanas_serving.server import HttpEndpoint, bind
from hanas_worker.neighbours.outbound import HttpOutbound
from hanas_worker.neighbours.overseers import Overseers, Rejected
from tests.unit.waiting import AMPLE_SECONDS
from tests.unit.worker.ports import free_port

FOLDER_ID = "f" * 32
ADDRESSES = ("http://one:3001", "http://one:4001")
TIMING = msgspec.structs.replace(LAN, overseer_timeout=AMPLE_SECONDS, folder_timeout=AMPLE_SECONDS)
REPORT = Report(member="one", incarnation="1" * 32, folder_id=FOLDER_ID, verdict=Verdict.LINK_FAILED)
PLACE = Place("backup", 7, MainInfo("two", "2" * 32, "http://two:3001", "http://two:4001", 7, MainState.SERVING), 4)


def arrival(member: str = "one", **changes: str) -> Arrival:
    given = Arrival(member, "1" * 32, FOLDER_ID, f"http://{member}:3001", f"http://{member}:4001")
    return msgspec.structs.replace(given, **changes)


def challenge(epoch: int, main: str) -> Challenge:
    return Challenge(
        member="one",
        incarnation="1" * 32,
        folder_id=FOLDER_ID,
        expected=Expected(epoch, main),
        verdict="PrimaryFailed",
    )


class Overseer:
    """A server that gives one answer to everything."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.came_from: list[int] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        told = json.loads(body) if body else {}
        assert request.client is not None
        self.came_from.append(request.client.port)
        self.asked.append((request.url.path, told, request.headers.get("authorization")))
        return Response(self.body, self.status)


class Stage:
    """A folder, and overseers that are started when asked for."""

    def __init__(self, place: Path) -> None:
        self.folder = PosixFolder(place)
        run(cluster.initialise(self.folder, FOLDER_ID))
        self._endpoints: list[HttpEndpoint] = []
        self._outbounds: list[HttpOutbound] = []

    async def overseer(self, status: int, body: bytes) -> Overseer:
        overseer, port = Overseer(status, body), free_port()
        routes = [Route("/{path:path}", overseer.answer, methods=["GET", "POST"])]
        endpoint = HttpEndpoint(Starlette(routes=routes), bind(port, "PORT"))
        await endpoint.start()
        self._endpoints.append(endpoint)
        overseer.url = f"http://127.0.0.1:{port}"
        return overseer

    def client(self, *urls: str, secrets: tuple[str, ...] = ()) -> Overseers:
        outbound = HttpOutbound("one", secrets)
        self._outbounds.append(outbound)
        return Overseers(urls, TIMING, outbound, Runtime())

    def main(self) -> tuple[int, str] | None:
        claim = run(highest_claim(self.folder))
        return None if claim is None else (claim.epoch, claim.member)

    async def close(self) -> None:
        for outbound in self._outbounds:
            await outbound.close()
        for endpoint in self._endpoints:
            await endpoint.stop()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_the_first_overseer_that_answers_decides(stage: Stage) -> None:
    for member in ("three", "four", "five", "six", "one"):
        run(Registry(stage.folder).slot_of(member, "1" * 32, *ADDRESSES))
    overseer = await stage.overseer(200, msgspec.json.encode(PLACE))
    client = stage.client(nobody(), "http://", overseer.url, secrets=("new", "old"))
    assert await client.arrive(stage.folder, arrival()) == PLACE
    assert client.reachable
    assert overseer.asked == [("/v1/claim", msgspec.to_builtins(arrival()), "Bearer new")]
    assert stage.main() is None


async def test_an_overseer_of_a_copy_of_this_folder_is_found_out(stage: Stage) -> None:
    for member in ("three", "four", "five", "six"):
        run(Registry(stage.folder).slot_of(member, "1" * 32, *ADDRESSES))
    client = stage.client((await stage.overseer(200, msgspec.json.encode(PLACE))).url)
    with pytest.raises(FolderError, match="members/004"):
        await client.arrive(stage.folder, arrival())
    run(Registry(stage.folder).slot_of("seven", "1" * 32, *ADDRESSES))
    with pytest.raises(
        Rejected, match="gave this worker slot 4, which is that of seven in this folder: it uses another"
    ):
        await client.arrive(stage.folder, arrival())


@pytest.mark.parametrize("status", [500, 503])
async def test_an_overseer_in_trouble_counts_as_none(stage: Stage, status: int) -> None:
    client = stage.client((await stage.overseer(status, Problem(status, "the folder hangs").answer().body)).url)
    place = await client.arrive(stage.folder, arrival())
    assert (place.role, place.epoch, place.main.member, place.slot) == ("main", 1, "one", 0)


async def test_without_an_overseer_the_folder_decides(stage: Stage) -> None:
    client = stage.client(nobody(), nobody())
    first = await client.arrive(stage.folder, arrival())
    assert (first.role, first.epoch, first.slot) == ("main", 1, 0)
    assert not client.reachable
    other = stage.client(nobody())
    second = await other.arrive(stage.folder, arrival("two", incarnation="2" * 32))
    assert (second.role, second.epoch, second.main.member, second.slot) == ("backup", 1, "one", 1)
    again = await client.arrive(stage.folder, arrival())
    assert (again.role, again.epoch, again.slot) == ("main", 1, 0)


async def test_a_refusal_is_final_and_tells_whose_it_was_and_why(stage: Stage) -> None:
    for status, body, words in (
        (409, Problem(409, "mount the same volume").answer().body, "mount the same volume"),
        (401, Problem(401, "send the secret").answer().body, "send the secret"),
        (404, b"<html>", "Not Found"),
        (400, b"\xff", "Bad Request"),
    ):
        overseer = await stage.overseer(status, body)
        with pytest.raises(Rejected, match=f"the overseer at {overseer.url} refused: {words}"):
            await stage.client(overseer.url).arrive(stage.folder, arrival())
    assert stage.main() is None


@pytest.mark.parametrize(
    "body",
    [b"hello", b"{}", b"[]", b"\xff", b"", b'{"x":' + 4000 * b"["],
    ids=["text", "{}", "[]", "no UTF-8", "empty", "deep"],
)
async def test_something_that_is_no_overseer(stage: Stage, body: bytes) -> None:
    overseer = await stage.overseer(200, body)
    with pytest.raises(Rejected, match=f"the server at {overseer.url} does not answer as an overseer does"):
        await stage.client(overseer.url).arrive(stage.folder, arrival())
    assert stage.main() is None


async def test_what_the_folder_refuses_is_a_refusal_too(stage: Stage) -> None:
    with pytest.raises(Rejected, match="advertiseUrl must be"):
        await stage.client(nobody()).arrive(stage.folder, arrival(advertise_url="ftp://one"))


@pytest.mark.parametrize("status", [200, 409])
async def test_the_answer_to_a_challenge_is_in_the_folder(stage: Stage, status: int) -> None:
    overseer = await stage.overseer(status, msgspec.json.encode({"epoch": 2, "main": PLACE.main}))
    await stage.client(overseer.url).challenge(stage.folder, challenge(1, "two"), ADDRESSES)
    [(path, told, _)] = overseer.asked
    assert (path, told["expected"]) == ("/v1/takeover", {"epoch": 1, "main": "two"})
    assert stage.main() is None


async def test_a_challenge_without_an_overseer_is_decided_by_the_number(stage: Stage) -> None:
    client = stage.client(nobody())
    await client.arrive(stage.folder, arrival("two", incarnation="2" * 32))
    await client.challenge(stage.folder, challenge(1, "two"), ADDRESSES)
    assert stage.main() == (2, "one")
    # Too late: epoch 1 has been replaced already.
    await client.challenge(stage.folder, challenge(1, "two"), ADDRESSES)
    assert stage.main() == (2, "one")


async def test_a_challenge_that_is_refused(stage: Stage) -> None:
    with pytest.raises(Rejected, match="there is no main to replace yet"):
        await stage.client(nobody()).challenge(stage.folder, challenge(1, "two"), ADDRESSES)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (421, Problem(421, "this is another cluster").answer().body),
        (409, Problem(409, "the folder here is another one").answer().body),
        (409, b"<html>"),
        (404, b"<html>"),
        (400, Problem(400, "no").answer().body),
        (200, b"hello"),
    ],
)
async def test_a_stranger_at_the_address_of_an_overseer_forbids_no_takeover(
    stage: Stage, status: int, body: bytes
) -> None:
    await stage.client(nobody()).arrive(stage.folder, arrival("two", incarnation="2" * 32))
    client = stage.client((await stage.overseer(status, body)).url)
    await client.challenge(stage.folder, challenge(1, "two"), ADDRESSES)
    assert stage.main() == (2, "one")
    assert not client.reachable


@pytest.mark.parametrize("status", [400, 404, 409, 421])
async def test_a_stranger_at_the_address_of_an_overseer_is_none(stage: Stage, status: int) -> None:
    client = stage.client((await stage.overseer(status, b"{}")).url)
    assert not await client.report(REPORT)
    assert not client.reachable


async def test_any_answer_shows_that_an_overseer_can_be_reached(stage: Stage) -> None:
    client = stage.client(nobody(), (await stage.overseer(503, b"")).url)
    assert await client.report(REPORT)
    assert client.reachable
    lost = stage.client(nobody())
    assert not await lost.report(REPORT)
    assert not lost.reachable


async def test_every_overseer_is_told(stage: Stage) -> None:
    overseers = [(await stage.overseer(204, b"")), (await stage.overseer(204, b""))]
    client = stage.client(*(overseer.url for overseer in overseers), secrets=("new", "old"))
    assert await client.report(REPORT)
    for overseer in overseers:
        assert overseer.asked == [("/v1/report", json.loads(msgspec.json.encode(REPORT)), "Bearer new")]


async def test_each_call_to_an_overseer_is_on_a_fresh_connection(stage: Stage) -> None:
    """An established one outlives many a network policy, and would hide that the way is cut."""
    overseer = await stage.overseer(204, b"")
    client = stage.client(overseer.url)
    for _ in range(3):
        assert await client.report(REPORT)
    assert len(set(overseer.came_from)) == 3


async def test_a_folder_that_fails_leaves_it_open(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "claims").rename(tmp_path / "hidden")
    with pytest.raises(FolderError, match="claims"):
        await stage.client(nobody()).arrive(stage.folder, arrival())
