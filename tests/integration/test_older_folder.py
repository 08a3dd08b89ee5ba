"""Programs of this version in a folder that 0.1.0 made, beside a member of that version, and after it."""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanas_core.members import cluster as identity
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.roles import Role
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.programs import free_port, refused
from tests.integration.waiting import eventually
from tests.unit.core.test_older_folders import DATA, REVISION

pytestmark = pytest.mark.timeout(180)
TRANSACTION = {"then": [{"put": {"key": "later", "text": "v"}}]}


def unpack(path: Path) -> PosixFolder:
    path.mkdir(parents=True)
    with tarfile.open(DATA) as archive:
        archive.extractall(path, filter="data")
    return PosixFolder(path)


@asynccontextmanager
async def living(folder: PosixFolder) -> AsyncIterator[None]:
    """A member of 0.1.0 that shows itself, as a backup: its presence block names no formats."""
    member, incarnation, url = "older", "ab" * 16, "http://127.0.0.1:9"
    slot = run(Registry(folder).slot_of(member, incarnation, url, url))

    async def show() -> None:
        counter = 0
        while True:
            counter += 1
            presence = Presence(
                member=member,
                incarnation=incarnation,
                counter=counter,
                advertise_url=url,
                link_url=url,
                logs=(LogPresence(role=Role.BACKUP, epoch=1),),
            )
            assert presence.formats == (2,)
            run(Mailboxes(folder).write(Box.PRESENCE, slot, presence))
            await asyncio.sleep(0.1)

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def values(cluster: Cluster) -> dict[str, bytes]:
    return {key: (await cluster.client.get(key)).value for key in ("counter", "gone", "\xe9/\xfc")}


async def test_an_older_folder_goes_on_and_gets_revisions_when_the_last_older_member_is_gone(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "communication")
    expected = {"counter": b"4", "gone": b"again"}
    async with living(folder), running(tmp_path, 2, None, **PATIENT) as cluster:
        main = await cluster.settle()
        assert expected.items() <= (await values(cluster)).items()
        written = await cluster.http.put(cluster.kv(main, "beside"), content=b"v")
        assert written.status_code == 201
        assert "hanas-revision" not in written.headers
        refusal = await cluster.http.post(cluster.url(main, "/v1/txn"), json=TRANSACTION)
        assert (refusal.status_code, refusal.headers["content-type"]) == (503, "application/problem+json")
        assert "older version" in refusal.json()["detail"]
        assert (await cluster.status(main))["history"]["revision"] == 0
        assert run(identity.identify(PosixFolder(folder.path))).format == 2
    async with running(tmp_path, 2, None, **PATIENT) as cluster:
        main = await cluster.settle()

        async def revised() -> bool:
            return (await cluster.http.post(cluster.url(main, "/v1/txn"), json=TRANSACTION)).status_code == 200

        await eventually(revised)
        assert run(identity.identify(PosixFolder(folder.path))).format == 3
        answer = await cluster.http.get(cluster.kv(main, "counter"))
        assert (answer.content, int(answer.headers["hanas-revision"])) == (b"4", REVISION + 2)
        assert expected.items() <= (await values(cluster)).items()
        await cluster.until_alike()


@pytest.mark.parametrize("program", ["hanas-worker", "hanas-overseer"])
async def test_a_program_that_is_too_old_says_what_to_install(tmp_path: Path, program: str) -> None:
    place = tmp_path / "communication"
    place.mkdir()
    folder = PosixFolder(place)
    made = run(identity.initialise(folder))
    newer = identity.Cluster(made.folder_id, identity.FORMAT + 1)
    (place / "cluster.json").write_bytes(identity.encode(newer))
    environment = {
        "PORT": str(free_port(3001, 3999, also=1000)),
        "OVERSEER_IP": f"http://localhost:{free_port(20_000, 30_000)}",
        "COMMUNICATION_FOLDER": str(place),
    }
    line = await refused(program, tmp_path, **environment)
    assert "the folder has format 4, this program knows 2 and 3: install the release that the other members run" in line
