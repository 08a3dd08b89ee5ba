"""The systems of the benchmark: HANas, etcd behind its HTTP gateway and over gRPC, and a no-op endpoint."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.peers.etcd import Etcd

from hanas_lab import ports
from hanas_lab.cluster import Lab

_START_SECONDS = 30.0
_NODES = 3


Load = Callable[[str, int, float, list[str]], Awaitable[dict[str, float]]]
"""Takes URL, connections, seconds, and SYSTEM WORKLOAD VALUE_BYTES KEYS; returns the results as `wrk` does."""


class System(NamedTuple):
    """A running system."""

    name: str
    url: str
    """Base URL of the main or leader."""
    processes: tuple[int, ...]
    """Process ids."""
    about: str
    """Version and settings."""
    load: Load
    urls: tuple[str, ...] = ()
    """Of all servers, where somebody asks for them."""


class MissingProgram(Exception):
    """A program that the benchmark needs is missing. The message names it and its package."""


def program(name: str, variable: str, package: str) -> str:
    """Return the path of a program. Raises MissingProgram."""
    path = os.environ.get(variable) or shutil.which(name)
    if not path:
        raise MissingProgram(f"{name} is missing: install Debian's {package}, or name the program with {variable}")
    return path


@contextlib.asynccontextmanager
async def hanas(directory: Path) -> AsyncIterator[System]:
    """Three workers and an overseer, as `hanas lab` runs them; every write is synced and fenced."""
    lab = Lab(directory / "hanas", _NODES, overseer_port=0, first_port=0)
    async with lab:
        main = await lab.main()
        if main is None:
            raise SystemExit("HANas has no main")
        processes = tuple(worker["pid"] for worker in lab.status()["workers"])
        yield System("hanas", lab.urls[main], processes, "3 workers, defaults, preset lan", wrk)


@contextlib.contextmanager
def noop(directory: Path) -> Iterator[System]:
    """Uvicorn with an application that reads the body and answers 204: the limit of the HTTP server alone."""
    del directory
    port = ports.choose(set())
    with _running([sys.executable, str(Path(__file__).with_name("noop.py")), str(port)]) as process:
        _wait_for(f"http://127.0.0.1:{port}/")
        about = "uvicorn, uvloop, httptools, one process"
        yield System("noop", f"http://127.0.0.1:{port}", (process.pid,), about, wrk)


@contextlib.asynccontextmanager
async def etcd(directory: Path) -> AsyncIterator[System]:
    """Three nodes with their defaults; every write is synced."""
    server = program("etcd", "ETCD", "etcd-server")
    version = subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    cluster = Etcd("etcd", None, program=server, options=["--quota-backend-bytes", "8589934592"])
    data = directory / "etcd"
    data.mkdir()
    try:
        await cluster.start(data)
        about = f"{version}, 3 nodes, HTTP gateway"
        yield System("etcd", await cluster.leader_url(), cluster.processes, about, wrk, cluster.urls)
    finally:
        await cluster.stop()


def grpc(etcd: System, directory: Path) -> System:
    """The same etcd over gRPC, by a program with etcd's own client, built here. Raises MissingProgram."""
    source, binary = Path(__file__).parent / "load" / "etcd", directory / "etcdload"
    go = program("go", "GO", "golang, 1.25 or newer")
    build = subprocess.run([go, "build", "-o", binary, "."], cwd=source, capture_output=True, text=True, check=False)
    if build.returncode:
        raise MissingProgram(f"{source} cannot be built: {build.stderr.strip()[-300:]}")

    async def load(url: str, connections: int, seconds: float, arguments: list[str]) -> dict[str, float]:
        endpoint = url.removeprefix("http://")
        return await _result([str(binary), endpoint, str(connections), f"{seconds:.0f}", *arguments[1:]])

    return etcd._replace(name="grpc", about=etcd.about.replace("HTTP gateway", "gRPC, etcd's client for Go"), load=load)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1.0) as response:
            if response.status < 300:
                return
        time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


def processor_seconds(processes: tuple[int, ...]) -> float:
    """Return the processor time of these processes, seconds."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def wrk(url: str, connections: int, seconds: float, arguments: list[str]) -> dict[str, float]:
    """Run the load and return its results: requests, seconds, failed, refused, and percentiles in microseconds."""
    command = [
        program("wrk", "WRK", "wrk"),
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds:.0f}s",
        "--timeout=10s",
        f"--script={Path(__file__).parent / 'load' / 'requests.lua'}",
    ]
    return await _result([*command, url, "--", *arguments])


async def _result(command: list[str]) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    for line in output.decode().splitlines():
        if line.startswith("RESULT "):
            result: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return result
    raise SystemExit(f"{command[0]} printed no result: {output.decode()[-500:]}")
