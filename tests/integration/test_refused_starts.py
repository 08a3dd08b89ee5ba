"""What cannot start says so in one line that names the variable, and ends with exit code 1."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from hanas_core.log.claims import claim_epoch
from hanas_core.members import cluster
from hanas_core.state.replica import Replica
from hanas_core.volume.blocking import run
from hanas_core.volume.encryption import parse
from hanas_core.volume.posix import PosixFolder
from tests.integration.programs import free_port, refused, started
from tests.unit.core.scenery import claim_of, take_over

FOLDER_ID = "0123456789abcdef"


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An initialised folder."""
    place = tmp_path / "communication"
    place.mkdir()
    run(cluster.initialise(PosixFolder(place), FOLDER_ID))
    return place


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """What a worker starts with; no overseer listens."""
    return {
        "PORT": str(free_port(3001, 3999, also=1000)),
        "OVERSEER_IP": f"http://localhost:{free_port(20_000, 30_000)}",
        "COMMUNICATION_FOLDER": str(folder),
    }


async def test_a_second_worker_on_the_same_port(tmp_path: Path, environment: dict[str, str]) -> None:
    async with started("hanas-worker", tmp_path, **environment) as first:
        await first.says("serving epoch 1")
        line = await refused("hanas-worker", tmp_path, **environment)
        assert line == f"port {environment['PORT']} (PORT) is taken by another program; choose another one"
        assert first.process.returncode is None


async def test_a_folder_whose_key_is_not_at_hand(tmp_path: Path, folder: Path, environment: dict[str, str]) -> None:
    vault = PosixFolder(folder)
    vault.keys = parse(["a1" * 32])
    claim = replace(claim_of(1), folder_id=FOLDER_ID)
    run(claim_epoch(vault, claim))
    run(take_over(vault, claim, Replica(), segment_bytes=2 << 20))
    key = vault.keys.current
    missing = f"segments/0000000001-000001: is encrypted with the key {key}, which is not in HANAS_ENCRYPTION_KEY_FILE"
    assert await refused("hanas-worker", tmp_path, **environment) == f"{missing}: add it"
    file = tmp_path / "keys"
    file.write_text(f"{'b2' * 32}\n")
    environment["HANAS_ENCRYPTION_KEY_FILE"] = str(file)
    assert f"{missing}: add it" in await refused("hanas-worker", tmp_path, **environment)
    file.write_text("no key\n")
    line = await refused("hanas-worker", tmp_path, **environment)
    assert f"HANAS_ENCRYPTION_KEY_FILE={file}: line 1 is no key" in line


async def test_a_taken_link_port(tmp_path: Path, environment: dict[str, str]) -> None:
    with taken_port() as port:
        line = await refused("hanas-worker", tmp_path, **environment, LINK_PORT=str(port))
    assert line == f"port {port} (LINK_PORT) is taken by another program; choose another one"


async def test_a_link_port_that_is_the_port(tmp_path: Path, environment: dict[str, str]) -> None:
    line = await refused("hanas-worker", tmp_path, **environment, LINK_PORT=environment["PORT"])
    assert f"{environment['PORT']} (LINK_PORT)" in line


async def test_a_taken_port_of_the_overseer(tmp_path: Path, folder: Path) -> None:
    with taken_port() as port:
        line = await refused("hanas-overseer", tmp_path, PORT=str(port), COMMUNICATION_FOLDER=str(folder))
    assert line == f"port {port} (PORT) is taken by another program; choose another one"


@pytest.mark.parametrize("command", ["hanas-worker", "hanas-overseer"])
async def test_a_named_folder_that_is_not_there(tmp_path: Path, environment: dict[str, str], command: str) -> None:
    for place in (tmp_path / "nowhere", tmp_path / "a-file"):
        (tmp_path / "a-file").touch()
        line = await refused(command, tmp_path, **environment | {"COMMUNICATION_FOLDER": str(place)})
        assert line == f"COMMUNICATION_FOLDER={place}: there is no such directory; mount the volume there, or make it"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", ["hanas-worker", "hanas-overseer"])
async def test_a_folder_that_cannot_be_written(tmp_path: Path, environment: dict[str, str], command: str) -> None:
    line = await refused(command, tmp_path, **environment | {"COMMUNICATION_FOLDER": "/proc/self"})
    assert line == "COMMUNICATION_FOLDER=/proc/self: cannot be written; give this user read and write permission"


@pytest.mark.parametrize("command", ["hanas-worker", "hanas-overseer"])
async def test_a_folder_with_another_id(tmp_path: Path, environment: dict[str, str], command: str) -> None:
    line = await refused(command, tmp_path, **environment, HANAS_FOLDER_ID="fedcba9876543210")
    assert line == (
        "the communication folder cannot be used: the folder's id is 0123456789abcdef, expected is fedcba9876543210: "
        "another volume is mounted here, or HANAS_FOLDER_ID is that of another cluster"
    )


async def test_a_folder_with_something_else_in_it(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").touch()
    elsewhere = environment | {"COMMUNICATION_FOLDER": str(tmp_path / "documents")}
    line = await refused("hanas-overseer", tmp_path, **elsewhere)
    assert "the folder is not empty (letter.txt) and has no cluster.json" in line
    assert [path.name for path in (tmp_path / "documents").iterdir()] == ["letter.txt"]


async def test_an_empty_folder_where_a_certain_one_is_wanted(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    elsewhere = environment | {"COMMUNICATION_FOLDER": str(tmp_path / "empty"), "HANAS_FOLDER_ID": FOLDER_ID}
    line = await refused("hanas-overseer", tmp_path, **elsewhere)
    assert "it is not initialised, or its volume is not mounted" in line
    assert list((tmp_path / "empty").iterdir()) == []


async def test_an_overseer_of_another_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    other, port = tmp_path / "other", environment["OVERSEER_IP"].rpartition(":")[2]
    other.mkdir()
    async with started("hanas-overseer", tmp_path, PORT=port, COMMUNICATION_FOLDER=str(other)) as overseer:
        await overseer.says("serving the folder")
        line = await refused("hanas-worker", tmp_path, **environment)
    assert line.startswith(
        f"the overseer at {environment['OVERSEER_IP']} refused: FolderUnavailable: the folder here is"
    )
    assert line.endswith("worker and overseer must mount the same volume")


async def test_something_else_at_the_address_of_the_overseer(tmp_path: Path, environment: dict[str, str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        line = await refused("hanas-worker", tmp_path, **environment | {"OVERSEER_IP": url})
    assert line.startswith(f"the server at {url} does not answer as an overseer does")


async def test_the_components_secret_is_another_one(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    port, folder = environment["OVERSEER_IP"].rpartition(":")[2], environment["COMMUNICATION_FOLDER"]
    asking = {"PORT": port, "COMMUNICATION_FOLDER": folder, "HANAS_SECRET_FILE": "right"}
    async with started("hanas-overseer", tmp_path, **asking) as overseer:
        await overseer.says("serving the folder")
        for own in ({"HANAS_SECRET_FILE": "wrong"}, {}):
            line = await refused("hanas-worker", tmp_path, **environment, **own)
            assert line.startswith(f"the overseer at {environment['OVERSEER_IP']} refused: ")
            assert "HANAS_SECRET_FILE" in line


async def test_without_an_overseer_the_worker_decides_by_the_folder_and_says_so(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    async with started("hanas-worker", tmp_path, **environment) as worker:
        line = await worker.says("joined as")
        assert line.endswith("no overseer could be reached, the folder decided")
        await worker.says("serving epoch 1 with 0 keys")
        assert await worker.stop() == 0


@pytest.mark.parametrize("command", ["hanas-worker", "hanas-overseer"])
async def test_a_bad_value_of_a_variable(tmp_path: Path, environment: dict[str, str], command: str) -> None:
    # The other variables: tests/unit/serving/test_refusals.py
    line = await refused(command, tmp_path, **environment | {"HANAS_PRESET": "wan"})
    assert line == "HANAS_PRESET=wan: must be one of lan, cloud"
