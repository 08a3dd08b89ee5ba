"""`hanas` and the servers where a terminal, a pipe or a standard stream is not what they expect."""

import asyncio
import os
import pty
import signal
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster
from tests.integration.programs import COMMANDS, free_port, started

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def shell(cluster: Cluster, line: str) -> tuple[int, str, str]:
    """Run a line of a shell; the exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        line,
        env={"OVERSEER_IP": cluster.lab.overseer_url, "PATH": f"{COMMANDS}:/bin:/usr/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert "Traceback" not in err.decode() + out.decode()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_closed_streams_are_named_and_nothing_is_written(alone: Cluster) -> None:
    assert await shell(alone, "hanas put a <&-") == (
        1,
        "",
        "hanas: standard input is closed: name a file, or send the data to this command\n",
    )
    line = "hanas: standard output is closed: send it to a file, a program or /dev/null\n"
    assert await shell(alone, "hanas put closed value >&-") == (1, "", line)
    assert (await shell(alone, "hanas put silent value 2>&-"))[0] == 0
    code, out, _ = await shell(alone, "hanas list --prefix ''")
    assert (code, [entry.partition("\t")[0] for entry in out.splitlines()]) == (0, ["silent"])


async def test_output_that_has_no_room(alone: Cluster) -> None:
    await alone.client.put("present", b"value")
    code, _, err = await shell(alone, "hanas get present > /dev/full")
    assert (code, err) == (1, "hanas: [Errno 28] No space left on device\n")
    code, _, err = await shell(alone, "hanas list > /dev/full")
    assert (code, err) == (1, "hanas: [Errno 28] No space left on device\n")


async def test_a_reader_that_leaves_early(alone: Cluster) -> None:
    await alone.client.put("present", b"value")
    assert (await shell(alone, "hanas get present | true"))[2] == ""


async def test_a_key_that_looks_like_an_option(alone: Cluster) -> None:
    code, _, err = await shell(alone, "hanas put -x value")
    assert code == 2
    assert "comes behind '--': hanas put -- KEY VALUE" in err
    assert (await shell(alone, "hanas put -- -x -y"))[0] == 0
    assert await shell(alone, "hanas get -- -x") == (0, "-y", "")


async def test_a_value_that_a_terminal_would_obey(alone: Cluster) -> None:
    await alone.client.put("bell", b"\x1b[2J")
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMANDS / "hanas",
        "get",
        "bell",
        env={"OVERSEER_IP": alone.lab.overseer_url},
        stdout=slave,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    os.close(slave)
    os.close(master)
    assert process.returncode == 1
    assert b"hanas get KEY > FILE" in err
    assert await shell(alone, "hanas get bell") == (0, "\x1b[2J", "")


async def test_a_terminal_that_closes_stops_a_worker_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "communication"
    folder.mkdir()
    done = await asyncio.create_subprocess_exec(COMMANDS / "hanas", "init", folder, stdout=asyncio.subprocess.DEVNULL)
    assert await done.wait() == 0
    environment = {
        "PORT": str(free_port(3001, 3999, also=1000)),
        "OVERSEER_IP": f"http://localhost:{free_port(20_000, 30_000)}",
        "COMMUNICATION_FOLDER": str(folder),
    }
    async with started("hanas-worker", tmp_path, **environment) as worker:
        await worker.says("serving epoch 1")
        worker.process.send_signal(signal.SIGHUP)
        assert await worker.ended() == 0
        assert any("handing over epoch 1" in line for line in worker.said)


async def test_a_server_without_standard_streams(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f"exec {COMMANDS / 'hanas-worker'} <&- >&- 2>&-",
        env={"PORT": "nonsense"},
        cwd=tmp_path,
    )
    assert await process.wait() == 1
