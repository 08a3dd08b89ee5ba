"""The program itself: how it starts, why it does not, how it ends, and its streams over a real socket."""

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.unit.overseer.stage import Events, Stage, check_problem, eventually

UNSET = re.compile(r"(HANAS_\w+) is not set")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


async def program(directory: Path, **environment: str) -> Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HANAS_")}
    inherited.pop("COMMUNICATION_FOLDER", None)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hanas_overseer",
        cwd=directory,
        env={**inherited, "HANAS_WATCH_INTERVAL": "0.02", **environment},
        stderr=PIPE,
    )


@asynccontextmanager
async def serving(directory: Path, port: int, **environment: str) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """Run the program until it is ready; stop it at the end."""
    process = await program(directory, PORT=str(port), **environment)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
        try:

            async def ready() -> bool:
                assert process.returncode is None, await process.communicate()
                return await _is_ready(http)

            await eventually(ready)
            yield process, http
        finally:
            if process.returncode is None:
                process.terminate()
                await process.communicate()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def refused(directory: Path, **environment: str) -> str:
    """Return the one line with which the program ended at its start."""
    process = await program(directory, **{"PORT": str(free_port()), **environment})
    _, told = await process.communicate()
    assert process.returncode == 1
    (line,) = told.decode().splitlines()
    assert line.startswith("hanas-overseer: ")
    return line


async def test_it_makes_the_default_folder_initialises_it_and_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, free_port()) as (process, http):
        document = (await http.get("/v1/cluster")).json()
        process.terminate()
        _, told = await process.communicate()
    assert process.returncode == 0
    log = told.decode()
    assert f"with the id {document['folderId']}; set HANAS_FOLDER_ID={document['folderId']}" in log
    assert UNSET.findall(log) == ["HANAS_SECRET_FILE", "HANAS_CLIENT_TOKEN_FILE", "HANAS_TLS_CERT"]
    assert Stage(tmp_path / "communication").folder_id == document["folderId"]


async def test_a_folder_that_is_there_is_kept_and_tokens_are_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / ".secret").write_text("geheim\n")
    (tmp_path / ".token").write_text("token\n")
    environment = {
        "COMMUNICATION_FOLDER": str(tmp_path),
        "HANAS_FOLDER_ID": stage.folder_id,
        "HANAS_SECRET_FILE": str(tmp_path / ".secret"),
        "HANAS_CLIENT_TOKEN_FILE": str(tmp_path / ".token"),
    }
    async with serving(tmp_path, free_port(), **environment) as (process, http):
        check_problem(await http.post("/v1/claim", json=stage.arrival(1)), 401)
        check_problem(await http.get("/v1/main"), 401)
        answer = await http.get("/v1/cluster", headers={"Authorization": "Bearer token"})
        assert answer.json()["folderId"] == stage.folder_id
        process.terminate()
        _, told = await process.communicate()
    assert UNSET.findall(told.decode()) == ["HANAS_TLS_CERT"]
    assert told.decode().count("WARNING answered 401 Unauthorized 1 times") == 1


async def test_a_named_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    line = await refused(tmp_path, COMMUNICATION_FOLDER=str(tmp_path / "missing"))
    assert "there is no such directory" in line
    assert not (tmp_path / "missing").exists()


async def test_a_file_in_place_of_the_default_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "communication").write_text("")
    assert "cannot be created" in await refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert "cannot be written" in await refused(Path("/"), COMMUNICATION_FOLDER=str(tmp_path))
    finally:
        tmp_path.chmod(0o755)


async def test_a_taken_port_is_one_line_and_touches_no_folder(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        line = await refused(tmp_path, PORT=str(taken.getsockname()[1]))
    assert "is taken" in line
    assert list(tmp_path.iterdir()) == []


async def test_another_folder_than_the_wanted_one_is_one_line(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    line = await refused(tmp_path, COMMUNICATION_FOLDER=str(tmp_path), HANAS_FOLDER_ID="0" * 32)
    assert stage.folder_id in line


async def test_an_empty_folder_is_never_taken_for_the_wanted_one(tmp_path: Path) -> None:
    line = await refused(tmp_path, COMMUNICATION_FOLDER=str(tmp_path), HANAS_FOLDER_ID="0" * 32)
    assert "not initialised" in line
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_with_other_things_in_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    assert "holiday.jpg" in await refused(tmp_path, COMMUNICATION_FOLDER=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("HANAS_PRESET", "moon"), ("HANAS_SECRET_FILE", "/missing"), ("HANAS_FOLDER_TIMEOUT", "-1")],
)
async def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, name: str, value: str) -> None:
    assert re.search(rf"\b{name}={value}\b", await refused(tmp_path, **{name: value}))


async def test_open_streams_end_at_once_when_it_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, free_port()) as (process, http), http.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        pieces = answer.aiter_bytes()
        await Events(pieces).next("cluster")
        process.terminate()
        async with asyncio.timeout(2):
            assert [piece async for piece in pieces if b"event" in piece] == []
            _, told = await process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in told.decode()


async def test_a_stream_is_resumed_at_another_overseer_and_after_a_restart(tmp_path: Path) -> None:
    """Every takeover after the last one that was received comes exactly once, whoever is asked."""
    stage = Stage(tmp_path)
    stage.register(1, 2)
    folder = {"COMMUNICATION_FOLDER": str(tmp_path), "HANAS_FOLDER_ID": stage.folder_id}
    one, other = free_port(), free_port()
    last, received, epoch = "0", [], 0
    for port in (one, other, one):
        async with serving(tmp_path, port, **folder) as (_, http):
            async with http.stream("GET", "/v1/events", headers={"Last-Event-ID": last}) as answer:
                events = Events(answer.aiter_bytes())
                await events.next("cluster" if epoch == 0 else "takeover")
                received += [epoch] if epoch else []
                stage.claim(epoch + 1, 1, served=False)
                _, identity, document = await events.next("takeover")
                received.append(document["epoch"])
                last = str(identity)
            stage.claim(epoch + 2, 2, served=False)  # nobody listens
            epoch += 2
    assert received == [1, 2, 3, 4, 5]
    assert last == "5"
