"""PostgreSQL under Patroni: members on this machine, and what they say of themselves."""

import asyncio
import glob
import json
import os
import pwd
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.etcd.sides import free_port, missing
from tests.integration.waiting import eventually

_STOP_SECONDS = 30.0
_PASSWORD = "for this test"


@dataclass(frozen=True)
class Timing:
    """What Patroni lets one set, seconds."""

    ttl: int
    loop_wait: int
    retry_timeout: int


def programs_of_postgres() -> Path:
    """Return where Debian's package has the newest of them, or skip the test."""
    found = sorted(Path(path) for path in glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return found[-1].parent if found else missing("PostgreSQL is not in /usr/lib/postgresql: package postgresql")


def unprivileged() -> list[str]:
    """Return how a program is started that root may not run: it believes that it is somebody else."""
    if os.geteuid():
        return []
    user = pwd.getpwnam("postgres")
    return ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]


class Member:
    """A PostgreSQL with its Patroni."""

    def __init__(self, name: str, directory: Path, stores: Sequence[str], timing: Timing, patroni: Path) -> None:
        self.name, self.directory = name, directory / name
        self.directory.mkdir()
        self.log = self.directory / "log"
        self._programs = programs_of_postgres()
        self._patroni = patroni
        self._port, api = free_port(), free_port()
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{api}", timeout=5.0, trust_env=False)
        self._configuration = self.directory / "patroni.yml"
        self._configuration.write_text(json.dumps(self._configured(stores, timing, api)))  # JSON is YAML
        self._process: asyncio.subprocess.Process | None = None

    def _configured(self, stores: Sequence[str], timing: Timing, api: int) -> dict[str, Any]:
        users = ("superuser", "replication", "rewind")
        return {
            "scope": "test",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{api}", "connect_address": f"127.0.0.1:{api}"},
            "etcd3": {"hosts": list(stores)},
            "bootstrap": {
                "dcs": {
                    "ttl": timing.ttl,
                    "loop_wait": timing.loop_wait,
                    "retry_timeout": timing.retry_timeout,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"wal_keep_size": "64MB"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self._port}",
                "connect_address": f"127.0.0.1:{self._port}",
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(self._programs),
                "pgpass": str(self.directory / "pgpass"),
                "authentication": {user: {"username": user, "password": _PASSWORD} for user in users},
                "parameters": {"unix_socket_directories": "", "shared_buffers": "16MB"},
                "pg_hba": ["host all all 127.0.0.1/32 md5", "host replication replication 127.0.0.1/32 md5"],
            },
        }

    async def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        command = [*unprivileged(), str(self._patroni), str(self._configuration)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, cwd=self.directory, stdout=log, stderr=log)

    async def stop(self) -> None:
        """End both in order, or at all."""
        await self._http.aclose()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL for both, as when the machine fails."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        postmaster = self.directory / "data" / "postmaster.pid"
        if postmaster.exists():
            os.kill(int(postmaster.read_text().split()[0]), signal.SIGKILL)

    async def status(self) -> dict[str, Any]:
        """Return what Patroni says of this member."""
        document: dict[str, Any] = (await self._http.get("/patroni")).json()
        return document

    async def until(self, **expected: object) -> None:
        """Wait until Patroni says so."""

        async def said() -> bool:
            status = await self.status()
            return all(status.get(name) == value for name, value in expected.items())

        await eventually(said, _STOP_SECONDS * 4)

    async def ask(self, statement: str) -> str:
        """Return what PostgreSQL answers to a statement; an error fails the test."""
        process = await asyncio.create_subprocess_exec(
            *(self._programs / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement),
            env={
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self._port),
                "PGUSER": "superuser",
                "PGPASSWORD": _PASSWORD,
                "PGDATABASE": "postgres",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{self.name}: {statement}: {err.decode()}"
        return out.decode().strip()
