"""Addresses and folders that come to belong to another cluster: nobody is sent there, and nothing is done there."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from hanas_client import AsyncClient, Policy
from hanas_client.errors import Unavailable
from hanas_overseer.decisions import MOST_UNSEEN
from tests.integration.cluster import running
from tests.integration.programs import COMMANDS, Program, free_port, started
from tests.integration.waiting import PATIENCE_SECONDS, eventually

FOLDER = "hanas-folder"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        yield http


def overseer_port() -> int:
    return free_port(4500, 4999)


def worker_port() -> int:
    return free_port(3001, 3499, also=1000)


def worker_on(
    folder: Path, directory: Path, member: str, port: int, overseer_url: str
) -> AbstractAsyncContextManager[Program]:
    """Start a worker on ``folder``."""
    environment = {"PORT": str(port), "WORKER_ID": member, "OVERSEER_IP": overseer_url}
    return started("hanas-worker", directory, **environment, COMMUNICATION_FOLDER=str(folder))


async def hanas(*arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        COMMANDS / "hanas", *arguments, env={}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_worker_on_a_copied_folder_sends_nobody_to_the_original(
    tmp_path: Path, http: httpx.AsyncClient
) -> None:
    async with running(tmp_path / "lab", 2) as original:
        await original.client.put("before", b"1")
        original_urls = set(original.lab.urls.values())
        folder = shutil.copytree(original.lab.communication_folder, tmp_path / "copy")
        port, own = str(overseer_port()), worker_port()
        base, overseer_url = f"http://localhost:{own}", f"http://localhost:{port}"
        seen: set[int] = set()

        async def written() -> bool:
            """Try to write, as a client that knows the new worker only; nothing but refusals comes before it serves."""
            named = (await http.get(f"{overseer_url}/v1/main")).json()["main"]
            assert named is None or named["advertiseUrl"] not in original_urls
            ready = (await http.get(f"{base}/readyz")).status_code
            answer = await http.put(f"{base}/v1/kv/after", content=b"2")
            seen.add(answer.status_code)
            assert answer.status_code in {201, 503}, answer.headers
            assert ready == 503 or answer.status_code == 201
            return answer.status_code == 201

        async with (
            started("hanas-overseer", tmp_path, PORT=port, COMMUNICATION_FOLDER=str(folder)),
            worker_on(folder, tmp_path, "newcomer", own, overseer_url),
        ):
            await eventually(written)
            assert seen == {201, 503}
            assert (await http.get(f"{base}/v1/kv/before")).content == b"1"
        keys = [entry.key async for entry in original.client.list()]
        assert keys == ["before"]


async def test_a_copied_folder_is_adopted_and_the_original_is_not(tmp_path: Path, http: httpx.AsyncClient) -> None:
    async with running(tmp_path / "lab", 2) as original:
        await original.client.put("key", b"1")
        code, output = await hanas("adopt", str(original.lab.communication_folder), "--watch", "2")
        assert (code, "is in use by worker-" in output) == (1, True), output
        folder = shutil.copytree(original.lab.communication_folder, tmp_path / "copy")
        code, output = await hanas("adopt", str(folder), "--watch", "2")
        assert code == 0, output
        port, own = str(overseer_port()), worker_port()
        base, overseer_url = f"http://localhost:{own}", f"http://localhost:{port}"
        async with (
            started("hanas-overseer", tmp_path, PORT=port, COMMUNICATION_FOLDER=str(folder)) as overseer,
            worker_on(folder, tmp_path, "worker-1", own, overseer_url) as worker,
        ):
            await worker.says("serving epoch")
            answer = await http.get(f"{base}/v1/kv/key")
            theirs = (await http.get(original.lab.overseer_url + "/v1/main")).headers[FOLDER]
            assert answer.content == b"1"
            assert answer.headers[FOLDER] != theirs
            document = (await http.get(f"{overseer_url}/v1/cluster")).json()
            assert (document["folderId"], document["alerts"]) == (answer.headers[FOLDER], [])
            assert [member["member"] for member in document["members"]] == ["worker-1"]
            misled = await http.put(f"{base}/v1/kv/key", content=b"2", headers={FOLDER: theirs})
            assert (misled.status_code, answer.headers[FOLDER] in misled.json()["detail"]) == (421, True)
            assert (await http.get(f"{base}/v1/kv/key")).content == b"1"
            assert [await program.stop() for program in (worker, overseer)] == [0, 0]
        code, output = await hanas("fsck", str(folder))
        assert (code, output.startswith("0 errors") or "\n0 errors" in output) == (0, True), output


async def test_a_port_that_another_cluster_takes(tmp_path: Path, http: httpx.AsyncClient) -> None:
    """The only worker of one cluster is killed, and one of another cluster gets its port."""
    ports, own = (str(overseer_port()), str(overseer_port())), worker_port()
    urls = [f"http://localhost:{port}" for port in ports]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    async with (
        started("hanas-overseer", tmp_path, PORT=ports[0], COMMUNICATION_FOLDER=str(ours)) as overseer,
        started("hanas-overseer", tmp_path, PORT=ports[1], COMMUNICATION_FOLDER=str(theirs)) as other,
    ):
        await overseer.says("serving the folder")
        await other.says("serving the folder")
        async with started(
            "hanas-worker", tmp_path, PORT=str(own), OVERSEER_IP=urls[0], COMMUNICATION_FOLDER=str(ours)
        ) as worker:
            await worker.says("serving epoch 1")
            async with AsyncClient(urls[0]) as client:
                await client.put("key", b"1")
        async with started(
            "hanas-worker", tmp_path, PORT=str(own), OVERSEER_IP=urls[1], COMMUNICATION_FOLDER=str(theirs)
        ) as stranger:
            await stranger.says("serving epoch 1")
            async with AsyncClient(urls[0], policy=Policy(deadline=1.0)) as client:
                with pytest.raises(Unavailable) as error:
                    await client.put("key", b"2")
            assert not error.value.outcome_unknown
            code, output = await hanas("put", "key", "2", "--overseer", urls[0], "--timeout", "1")
            assert (code, "nothing was written" in output) == (1, True), output
            assert (await http.get(f"http://localhost:{own}/v1/kv/key")).status_code == 404

            async def forgotten() -> bool:
                return bool((await http.get(f"{urls[0]}/v1/main")).json() == {"epoch": 1, "main": None})

            await eventually(forgotten)


async def test_invented_members_keep_no_worker_out(tmp_path: Path, http: httpx.AsyncClient) -> None:
    async with running(tmp_path / "lab", 1) as cluster:
        overseer = cluster.lab.overseer_url
        folder = (await http.get(f"{overseer}/v1/cluster")).json()["folderId"]
        answers = [
            (
                await http.post(
                    f"{overseer}/v1/claim",
                    json={
                        "member": f"invented-{number}",
                        "incarnation": f"{number:032x}",
                        "folderId": folder,
                        "advertiseUrl": "http://evil:1",
                        "linkUrl": "http://evil:2",
                    },
                )
            ).status_code
            for number in range(300)
        ]
        assert answers == [200] * MOST_UNSEEN + [503] * (300 - MOST_UNSEEN)
        name = await cluster.lab.add_worker()
        await cluster.until_verdict(name, "Healthy")
        await cluster.client.put("key", b"1")
