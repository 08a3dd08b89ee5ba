"""The lab with small programs in place of overseer and workers: processes, ports, cuts and control."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from hanas_client import cli
from hanas_lab import Lab, LabError, control, ports

# Each stands in for a server: HTTP on PORT, with what the lab waits for. A worker also has its link port.
FAKE = """
    import json, os, signal, sys, threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    if os.environ.get("FAKE_CRASH") == os.environ.get("WORKER_ID", "overseer"):
        sys.exit("the folder is not usable")
    if os.environ.get("FAKE_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments): pass
        def do_GET(self):
            main = {"member": "worker-1", "advertiseUrl": "http://127.0.0.1:1"}
            body = json.dumps({"epoch": 1, "main": main, "environment": dict(os.environ)}).encode()
            self.send_response(404 if self.path == "/v1/events" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        do_POST = do_GET
    print("serving", flush=True)
    if "LINK_PORT" in os.environ:
        link = ThreadingHTTPServer(("127.0.0.1", int(os.environ["LINK_PORT"])), Handler)
        threading.Thread(target=link.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def fakes(tmp_path: Path) -> dict[str, str]:
    for name in ("hanas_overseer", "hanas_worker"):
        package = tmp_path / "fakes" / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(textwrap.dedent(FAKE))
    return {"PYTHONPATH": str(tmp_path / "fakes")}


def make(tmp_path: Path, fakes: dict[str, str], workers: int = 2, patience: float = 30.0, **more: str) -> Lab:
    return Lab(
        tmp_path / "lab",
        workers,
        overseer_port=0,
        first_port=0,
        environment=fakes | more,
        patience=patience,
    )


@pytest.fixture
async def lab(tmp_path: Path, fakes: dict[str, str]) -> AsyncIterator[Lab]:
    async with make(tmp_path, fakes) as lab:
        yield lab


def alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() != "" and "Z" not in state.stdout


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - other processes have no events
            await asyncio.sleep(0.01)


def pids(lab: Lab) -> list[int]:
    status = lab.status()
    return [server["pid"] for server in (status["overseer"], *status["workers"])]


async def answers(url: str, seconds: float = 5.0, **headers: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, timeout=seconds) as http:
        try:
            return (await http.post(url, headers=headers)).status_code == 200
        except httpx.TransportError:
            return False


async def test_environment_of_the_processes(lab: Lab) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        environment = (await http.get(lab.urls["worker-2"])).json()["environment"]
    assert environment["WORKER_ID"] == "worker-2"
    assert environment["OVERSEER_IP"] == lab.overseer_url
    assert environment["ADVERTISE_URL"] == lab.urls["worker-2"]
    assert environment["COMMUNICATION_FOLDER"] == str(lab.communication_folder)
    assert environment["HANAS_PRESET"] == "lan"
    assert environment["LINK_URL"] == lab.status()["workers"][1]["linkUrl"]
    assert environment["LINK_URL"] != f"http://127.0.0.1:{environment['LINK_PORT']}"
    assert lab.log_of("worker-2").read_text() == "serving\n"
    assert await lab.main() == "worker-1"


async def test_workers_speak_etcd_where_that_is_asked_for(tmp_path: Path, fakes: dict[str, str]) -> None:
    async with (
        Lab(tmp_path / "lab", 1, overseer_port=0, first_port=0, environment=fakes, etcd=True) as lab,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        environment = (await http.get(lab.urls["worker-1"])).json()["environment"]
        assert lab.etcd_urls == {"worker-1": environment["HANAS_ETCD_URL"]}
        assert environment["HANAS_ETCD_URL"] == f"http://127.0.0.1:{environment['HANAS_ETCD_PORT']}"


async def test_no_worker_speaks_etcd_otherwise(lab: Lab) -> None:
    assert lab.etcd_urls == {}


async def test_kill_and_start_again(lab: Lab) -> None:
    url = lab.urls["worker-1"]
    with pytest.raises(LabError, match="worker-1 runs already"):
        await lab.start_worker("worker-1")
    await lab.kill("worker-1")
    assert not await answers(url)
    with pytest.raises(LabError, match="worker-1 does not run"):
        await lab.kill("worker-1")
    await lab.start_worker("worker-1")
    assert lab.urls["worker-1"] == url
    assert await answers(url)


async def test_stop_and_continue(lab: Lab) -> None:
    await lab.pause("worker-1")
    assert lab.status()["workers"][0]["state"] == "stopped"
    assert not await answers(lab.urls["worker-1"], 0.2)
    with pytest.raises(LabError, match="it is stopped"):
        await lab.start_worker("worker-1")
    await lab.resume("worker-1")
    assert await answers(lab.urls["worker-1"])


async def test_cut_and_heal(lab: Lab) -> None:
    link = {server["name"]: server["linkUrl"] for server in lab.status()["workers"]}

    async def passes(sender: str, receiver: str) -> bool:
        return await answers(link[receiver], 0.5, **{"HANas-Member": sender})

    assert await passes("worker-1", "worker-2")
    lab.cut("worker-1", "worker-2", one_way=True)
    assert not await passes("worker-1", "worker-2")
    assert await passes("worker-2", "worker-1")
    lab.cut("worker-2", "worker-1")
    assert not await passes("worker-2", "worker-1")
    assert len(lab.status()["cuts"]) == 2
    lab.heal("worker-2", "worker-1", one_way=True)
    assert await passes("worker-2", "worker-1")
    assert not await passes("worker-1", "worker-2")
    lab.heal("worker-1", "worker-2")
    assert await passes("worker-1", "worker-2")
    assert lab.status()["cuts"] == []


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (("worker-1", "worker-9"), "no 'worker-9' in this lab; there are: overseer, worker-1, worker-2"),
        (("worker-1", "worker-1"), "both are worker-1"),
        (("worker-1", "overseer"), "only links between workers"),
    ],
)
async def test_impossible_cuts(lab: Lab, ends: tuple[str, str], words: str) -> None:
    with pytest.raises(LabError, match=words):
        lab.cut(*ends)


async def test_one_more_worker(lab: Lab) -> None:
    assert await lab.add_worker() == "worker-3"
    assert await answers(lab.urls["worker-3"])
    lab.cut("worker-3", "worker-1")


async def test_nothing_is_left_behind(tmp_path: Path, fakes: dict[str, str]) -> None:
    async with make(tmp_path, fakes) as lab:
        processes = pids(lab)
        await lab.pause("worker-1")
        await lab.kill("worker-2")
        assert alive(processes[1])
    assert not any(alive(pid) for pid in processes)
    await lab.stop()  # harmless


async def test_stubborn_processes_are_killed(
    tmp_path: Path, fakes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanas_lab.cluster.STOP_SECONDS", 0.1)
    async with make(tmp_path, fakes, FAKE_STUBBORN="1") as lab:
        processes = pids(lab)
    assert not any(alive(pid) for pid in processes)


@pytest.mark.parametrize("name", ["overseer", "worker-2"])
async def test_crash_while_starting_names_the_log(tmp_path: Path, fakes: dict[str, str], name: str) -> None:
    lab = make(tmp_path, fakes, FAKE_CRASH=name)
    with pytest.raises(LabError) as failure:
        await lab.start()
    words = str(failure.value)
    assert f"{name} ended while starting (exit code 1): the folder is not usable" in words
    assert words.endswith(str(lab.log_of(name)))
    assert {server["state"] for server in lab.status()["workers"]} <= {"ended"}


async def test_server_that_never_gets_ready(tmp_path: Path, fakes: dict[str, str]) -> None:
    package = Path(fakes["PYTHONPATH"]) / "hanas_overseer" / "__main__.py"
    package.write_text("import time; time.sleep(60)")
    with pytest.raises(LabError, match=r"overseer is not ready after .* \(connection refused\); its log: "):
        await make(tmp_path, fakes, patience=1.5).start()  # ample for one request


async def test_two_labs_in_one_directory(lab: Lab, tmp_path: Path, fakes: dict[str, str]) -> None:
    with pytest.raises(LabError, match="a lab runs already in"):
        await make(tmp_path, fakes).start()
    assert await answers(lab.overseer_url)


async def test_port_in_use(tmp_path: Path, fakes: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lab = Lab(tmp_path / "lab", overseer_port=port, first_port=0, environment=fakes)
        with pytest.raises(LabError, match=f"port {port} is in use"):
            await lab.start()


async def test_one_port_for_two(tmp_path: Path, fakes: dict[str, str]) -> None:
    port = ports.choose(set())
    with pytest.raises(LabError, match="twice"):
        await Lab(tmp_path / "lab", overseer_port=port, first_port=port, environment=fakes).start()


async def test_control_from_elsewhere(lab: Lab, tmp_path: Path) -> None:
    async def steer(command: str, /, **arguments: object) -> object:
        return await asyncio.to_thread(control.command, lab.directory, command, **arguments)

    async with control.Control(lab):
        file = lab.directory / control.FILE
        assert file.stat().st_mode & 0o777 == 0o600
        await steer("cut", source="worker-1", target="worker-2", one_way=True)
        assert await steer("status") == lab.status()
        await steer("heal", source="worker-1", target="worker-2", one_way=False)
        await steer("kill", name="worker-2")
        await steer("start", name="worker-2")
        assert await steer("add") == "worker-3"
        with pytest.raises(LabError, match="no 'worker-7' in this lab"):
            await steer("kill", name="worker-7")
        with pytest.raises(LabError, match="no command"):
            await steer("explode")
        with pytest.raises(LabError, match="not the arguments"):
            await steer("kill")
        address = json.loads(file.read_bytes())
        for line in (b"POST / HTTP/1.1\r\n", json.dumps({"token": "x", "command": "status"}).encode() + b"\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", address["port"])
            writer.write(line)
            assert await reader.read() == b""
            writer.close()
    with pytest.raises(LabError, match="no lab runs"):
        await steer("status")
    file.write_bytes(json.dumps(address).encode())  # left behind by a lab that was killed
    with pytest.raises(LabError, match="no lab runs"):
        await steer("status")


@pytest.fixture
async def command(tmp_path: Path, fakes: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`hanas lab` as a process."""
    code = "import sys; from hanas_client.cli import main; sys.exit(main())"
    arguments = ("lab", "--workers", "2", "--overseer-port", "0", "--first-port", "0", "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code, *arguments, "--directory", str(tmp_path / "lab")),
        env={**os.environ, **fakes},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_command_leaves_nothing_behind(
    command: asyncio.subprocess.Process, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.stdout is not None
    status = json.loads(await command.stdout.readline())
    processes = [server["pid"] for server in (status["overseer"], *status["workers"])]
    directory = str(tmp_path / "lab")
    assert all(alive(pid) for pid in processes)
    assert await asyncio.to_thread(cli.main, ["lab", "stop", "worker-1", "--directory", directory]) == 0
    assert capsys.readouterr().out == "worker-1: stopped\n"
    assert await asyncio.to_thread(cli.main, ["lab", "cut", "worker-1", "worker-2", "--directory", directory]) == 0
    assert capsys.readouterr().out == "link worker-1 ↔ worker-2: cut\n"
    command.send_signal(number)
    assert await command.wait() == (-9 if number == signal.SIGKILL else 0)
    await until(lambda: not any(alive(pid) for pid in processes))
