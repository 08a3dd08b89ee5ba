"""A proxy as a process in front of a lab."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.integration.cluster import Cluster
from tests.integration.programs import free_port
from tests.integration.waiting import eventually, within

CONFIGURATIONS = Path(__file__).parents[2] / "docs" / "proxies"
PROXIES = ("nginx", "haproxy", "traefik")
_STOP_SECONDS = 10.0


@dataclass
class Proxied:
    """A lab, and the addresses of its proxy."""

    name: str
    cluster: Cluster
    clients: str
    dashboard: str


@asynccontextmanager
async def proxied(name: str, cluster: Cluster, directory: Path) -> AsyncIterator[Proxied]:
    """Start the proxy ``name`` in front of a lab, with the configuration of the documentation."""
    ports = {8080: free_port(20_000, 25_000), 8081: free_port(25_001, 30_000)}
    for source in CONFIGURATIONS.iterdir():
        (directory / source.name).write_text(_adapted(source.read_text(), cluster, ports, directory))
    command = {
        "nginx": [
            "-e",
            "stderr",
            "-p",
            str(directory),
            "-c",
            "nginx.conf",
            "-g",
            f"daemon off; pid {directory}/pid; {'user root;' if os.geteuid() == 0 else ''}",
        ],
        "haproxy": ["-db", "-f", str(directory / "haproxy.cfg")],
        "traefik": [f"--configFile={directory / 'traefik.yaml'}"],
    }[name]
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *command, cwd=directory, stdout=log, stderr=log)
    try:
        started = Proxied(name, cluster, f"http://127.0.0.1:{ports[8080]}", f"http://127.0.0.1:{ports[8081]}")

        async def serves() -> bool:
            """Return whether every worker was checked: Traefik takes all for healthy before."""
            assert process.returncode is None, (directory / "log").read_text()
            try:
                answers = [
                    await cluster.http.put(f"{started.clients}/v1/kv/ready", content=b"1") for _ in cluster.names * 2
                ]
            except httpx.HTTPError:
                return False
            return all(answer.is_success for answer in answers)

        await eventually(serves)
        yield started
    finally:
        if process.returncode is None:
            process.terminate()
        await within(_STOP_SECONDS, process.wait())


def _adapted(text: str, cluster: Cluster, ports: dict[int, int], directory: Path) -> str:
    """Return a configuration with the addresses of a lab in place of those of the documentation."""
    for number, url in enumerate(cluster.lab.urls.values(), start=1):
        text = text.replace(f"10.0.0.{number}:3001", urlsplit(url).netloc)
    text = text.replace("10.0.0.9:4000", urlsplit(cluster.lab.overseer_url).netloc)
    text = text.replace("traefik-hanas.yaml", str(directory / "traefik-hanas.yaml"))
    for port, free in ports.items():
        text = re.sub(rf"(bind :|listen |\":){port}\b", rf"\g<1>{free}", text)
    return re.sub(r"\nhttp \{\n", f"\nhttp {{\n  access_log off;\n  client_body_temp_path {directory}/bodies;\n", text)
