"""Requests that make no sense, each refused with a problem that says what to do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanas_core.members.mailboxes import SLOTS
from hanas_core.members.registry import Registration
from hanas_core.volume import names
from hanas_core.volume.blocks import pack
from hanas_overseer import bodies
from tests.unit.overseer.stage import Overseer, Stage, check_problem, incarnation, running

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
async def overseer(stage: Stage) -> AsyncIterator[Overseer]:
    async with running(stage) as one:
        yield one


@pytest.mark.parametrize("path", ["/v1/claim", "/v1/takeover"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'"\xff"', b'{"member": 1}'])
async def test_a_body_that_is_no_request_is_refused_in_words(overseer: Overseer, path: str, body: bytes) -> None:
    problem = check_problem(await overseer.http.post(path, content=body, headers=JSON), 400)
    assert "send a JSON object" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"member": ""}, "member must be"),
        ({"member": "-x"}, "member must be"),
        ({"member": "a/b"}, "member must be"),
        ({"member": 7}, "Expected `str`"),
        ({"incarnation": "XYZ"}, "incarnation must be"),
        ({"advertiseUrl": "ftp://x"}, "advertiseUrl must be"),
        ({"advertiseUrl": "http://x\r\nSet-Cookie: y"}, "advertiseUrl must be"),
        ({"linkUrl": "http://" + "x" * 300}, "linkUrl must be"),
    ],
)
async def test_an_arrival_that_makes_no_sense_is_refused_in_words(
    stage: Stage, overseer: Overseer, changes: dict[str, Any], words: str
) -> None:
    problem = check_problem(await overseer.http.post("/v1/claim", json=stage.arrival(1, **changes)), 400)
    assert words in problem["detail"]
    assert stage.claims() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"member": "a b"}, "member must be"),
        ({"incarnation": "1"}, "incarnation must be"),
        ({"verdict": "Dead"}, "unknown verdict"),
        ({"verdict": "LinkFailed"}, "no reason for a takeover"),
        ({"verdict": None}, "Expected `str`"),
        ({"expected": "worker-1"}, "Expected `object`"),
        ({"expected": {"epoch": "1", "main": "worker-1"}}, "Expected `int`"),
        ({"expected": {"epoch": 1}}, "missing required field `main`"),
        ({"member": "worker-9"}, "POST /v1/claim first"),
        ({"evidence": "x" * 5000}, "evidence is too long"),
    ],
)
async def test_a_challenge_that_makes_no_sense_is_refused_in_words(
    stage: Stage, overseer: Overseer, changes: dict[str, Any], words: str
) -> None:
    for number in (1, 2):
        await overseer.post("/v1/claim", stage.arrival(number))
    answer = await overseer.http.post("/v1/takeover", json=stage.challenge(2, 1, 1, **changes))
    assert words in check_problem(answer, 400)["detail"]
    assert stage.claims() == 1


@pytest.mark.parametrize("evidence", [b'"\xff"', b"[" * 20_000 + b"]" * 20_000])
async def test_evidence_must_be_sound(stage: Stage, overseer: Overseer, evidence: bytes) -> None:
    head = (
        f'{{"member":"worker-2","incarnation":"{incarnation(2)}","folderId":"{stage.folder_id}",'
        '"expected":{"epoch":1,"main":"worker-1"},"verdict":"PrimaryFailed","evidence":'
    )
    check_problem(await overseer.http.post("/v1/takeover", content=head.encode() + evidence + b"}", headers=JSON), 400)


async def test_a_challenge_needs_a_main(stage: Stage, overseer: Overseer) -> None:
    stage.register(2)
    answer = await overseer.http.post("/v1/takeover", json=stage.challenge(2, 1, 1))
    assert "no main to replace yet" in check_problem(answer, 400)["detail"]


async def test_another_folder_is_a_conflict(stage: Stage, overseer: Overseer) -> None:
    foreign = {"folderId": "0" * 32}
    for path, body in (("/v1/claim", stage.arrival(1)), ("/v1/takeover", stage.challenge(1, 1, 2))):
        problem = check_problem(await overseer.http.post(path, json=body | foreign), 421)
        assert "same volume" in problem["detail"]
        assert "epoch" not in problem
    assert stage.claims() == 0


@pytest.mark.parametrize("path", ["/v1/claim", "/v1/takeover"])
async def test_a_long_body_is_refused(overseer: Overseer, path: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 1024

    check_problem(await overseer.http.post(path, content=b" " * 70_000, headers=JSON), 413)
    check_problem(await overseer.http.post(path, content=pieces(), headers=JSON), 413)


async def test_a_body_of_exactly_the_limit_is_read(stage: Stage, overseer: Overseer) -> None:
    body = str(stage.arrival(1)).replace("'", '"').encode()
    answer = await overseer.http.post("/v1/claim", content=body.ljust(64 * 1024), headers=JSON)
    assert answer.status_code == 200, answer.text


async def test_unknown_paths_and_methods_are_problems(overseer: Overseer) -> None:
    assert "/v1/nothing" in check_problem(await overseer.http.get("/v1/nothing"), 404)["detail"]
    check_problem(await overseer.http.get("/v1/claim"), 405)
    check_problem(await overseer.http.post("/v1/main"), 405)


async def test_a_slash_too_many_is_another_path(overseer: Overseer) -> None:
    for answer in (await overseer.http.get("/v1/main/"), await overseer.http.delete("/v1/pool/worker-1/")):
        check_problem(answer, 404)


async def test_the_257th_member_is_told_that_there_are_no_more_slots(stage: Stage, overseer: Overseer) -> None:
    members = stage.path / names.MEMBERS
    for slot in range(SLOTS):
        registration = Registration(f"worker-{slot}", slot, "http://host:1", "http://host:2")
        (members / f"{slot:03d}").write_bytes(pack(msgspec.json.encode(registration)))
    problem = check_problem(await overseer.http.post("/v1/claim", json=stage.arrival(1000)), 503)
    assert "all 256 member slots are taken: stop workers" in problem["detail"]
    assert stage.claims() == 0
    assert (await overseer.http.post("/v1/claim", json=stage.arrival(7))).status_code == 200, "it has its slot"


async def test_a_body_that_does_not_come_is_given_up(overseer: Overseer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr(bodies, "MOST_SECONDS", 0.02)
    check_problem(await overseer.http.post("/v1/claim", content=never(), headers=JSON), 408)
