"""The lab: an overseer, workers, and a relay in front of each worker's link port."""

from __future__ import annotations

import asyncio
import fcntl
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

from hanas_client import AsyncClient, Policy
from hanas_lab import ports
from hanas_lab.faults import LabError
from hanas_lab.hosts import LOOPBACK, Host
from hanas_lab.identities import CLIENT, VARIABLES, Identities
from hanas_lab.process import Guard, ServerProcess
from hanas_lab.readiness import Readiness
from hanas_lab.relay import Relay, Secured
from hanas_serving.tls_files import TlsFiles

OVERSEER = "overseer"
LINK_PORT_OFFSET, ETCD_PORT_OFFSET = 1000, 2000
MAX_WORKERS = 99
STOP_SECONDS = 5.0
# Variables of the caller's environment that would direct the lab's processes to another cluster.
_FOREIGN = ("HANAS_FOLDER_ID", "HANAS_SERVER", *VARIABLES)


class Lab:
    """A cluster in `directory`, of real processes on this machine. Use it as an asynchronous context manager.

    `overseer_port` and `first_port` may be 0 for free ports. Worker `worker-N` has port
    `first_port + N - 1` and its link port 1000 above; with `etcd` it speaks etcd's API 2000 above.
    `environment` is added to that of every process, such as `HANAS_…` timings. `tls`: all of them speak TLS and
    show certificates, as do their clients.
    `hosts` names the processes that run elsewhere than on the loopback
    interface, or mount the folder elsewhere. `report` gets a sentence for each step of the start. Each step has
    `patience` seconds. The lab keeps and uses the data of an earlier run in the directory.
    Methods raise LabError, whose text is one line.
    """

    def __init__(  # noqa: PLR0913  # all but two are options
        self,
        directory: str | Path = "./hanas-lab",
        workers: int = 3,
        *,
        overseer_port: int = 4000,
        first_port: int = 3001,
        preset: str = "lan",
        environment: Mapping[str, str] | None = None,
        hosts: Mapping[str, Host] | None = None,
        report: Callable[[str], None] | None = None,
        patience: float = 30.0,
        tls: bool = False,
        etcd: bool = False,
    ) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise LabError(f"a lab has 1 to {MAX_WORKERS} workers, not {workers}")
        self.directory = Path(directory).absolute()
        self._count = workers
        self._overseer_port = overseer_port
        self._etcd = etcd
        self._first_port = first_port
        self._preset = preset
        self._environment = dict(environment or {})
        self._hosts = dict(hosts or {})
        self._report = report or (lambda sentence: None)
        self._tls = tls
        self.identities: Identities | None = None
        """The certificates, with `tls` once it was started."""
        self._readiness = Readiness(patience)
        self._guard = Guard()
        self._servers: dict[str, ServerProcess] = {}
        self._relays: dict[str, Relay] = {}
        self._ports: set[int] = set()
        self._lock: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def overseer_url(self) -> str:
        """Base URL of the overseer and of its dashboard."""
        return self._servers[OVERSEER].url

    @property
    def urls(self) -> dict[str, str]:
        """Base URL of each worker by its name."""
        return {name: server.url for name, server in self._servers.items() if name != OVERSEER}

    @property
    def communication_folder(self) -> Path:
        """The folder that the workers share."""
        return self.directory / "communication"

    @property
    def trust(self) -> ssl.SSLContext:
        """What clients trust and show over TLS."""
        return self._readiness.trust

    def log_of(self, name: str) -> Path:
        """The log of a worker or of `overseer`."""
        return self._server(name).log

    async def start(self) -> None:
        """Start all processes and wait until they serve. After a failure no process remains."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every process (SIGTERM, after 5 s SIGKILL) and close the links. Idempotent."""
        ending = asyncio.gather(*(server.end(STOP_SECONDS) for server in self._servers.values()))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending  # even then no process may remain
            raise
        finally:
            await asyncio.gather(*(relay.close() for relay in self._relays.values()))
            await self._guard.close()
            await self._readiness.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    async def kill(self, name: str) -> None:
        """SIGKILL a worker or the overseer."""
        await self._server(name).kill()

    async def terminate(self, name: str) -> None:
        """SIGTERM a worker or the overseer, and wait for its end without a limit."""
        await self._server(name).terminate()

    async def pause(self, name: str) -> None:
        """SIGSTOP: the process neither answers nor closes its connections."""
        self._server(name).pause()

    async def resume(self, name: str) -> None:
        """SIGCONT."""
        self._server(name).resume()

    async def start_worker(self, name: str) -> None:
        """Start a worker (or the overseer) that does not run, with its id and ports, and wait until it is ready."""
        server = self._server(name)
        await server.launch()
        await self._readiness.of(server, "/healthz" if name == OVERSEER else "/readyz")

    async def add_worker(self) -> str:
        """Start one more worker, wait until it is ready, and return its name."""
        server = await self._new_worker()
        await self.start_worker(server.name)
        return server.name

    def cut(self, source: str, target: str, one_way: bool = False) -> None:
        """Drop every request on the link from `source` to `target`, and back unless `one_way`."""
        for sender, receiver in self._directions(source, target, one_way):
            if receiver not in self._relays:
                raise LabError(f"{receiver} is on a host without a relay; cut that network itself")
            self._relays[receiver].cut(sender)

    def heal(self, source: str, target: str, one_way: bool = False) -> None:
        """Undo `cut`."""
        for sender, receiver in self._directions(source, target, one_way):
            self._relays[receiver].heal(sender)

    def jitter(self, seconds: float) -> None:
        """Delay every message on every link by a random time of up to `seconds`; 0 ends it."""
        for relay in self._relays.values():
            relay.jitter = seconds

    def client(self, policy: Policy | None = None, name: str = CLIENT) -> AsyncClient:
        """Return a client that knows all processes, and shows the certificate of `name` if there are any."""
        files = TlsFiles() if self.identities is None else self.identities.files(name)
        workers, trust = list(self.urls.values()), files.trust
        return AsyncClient(
            self.overseer_url, workers, policy=policy, cacert=trust, cert=files.certificate, key=files.key
        )

    async def main(self) -> str | None:
        """Return the main that the overseer names, None without one."""
        main = await self._readiness.main(self.overseer_url)
        return main.member if main is not None else None

    def status(self) -> dict[str, Any]:
        """Return the lab's processes and cuts, ready for JSON."""
        return {
            "directory": str(self.directory),
            "overseer": self._servers[OVERSEER].description() if self._servers else None,
            "workers": [
                server.description()
                | {"linkUrl": server.environment["LINK_URL"], "linkPort": int(server.environment["LINK_PORT"])}
                for name, server in self._servers.items()
                if name != OVERSEER
            ],
            "cuts": [
                {"from": sender, "to": receiver}
                for receiver, relay in self._relays.items()
                for sender in sorted(relay.cuts)
            ],
        }

    async def _start(self) -> None:
        self._prepare_directory()
        if self._tls:
            self.identities = Identities(self.directory / "certificates")
            self._readiness.trust = self.identities.calling(CLIENT)
        await self._guard.start()
        overseer = self._add_server(OVERSEER, "hanas_overseer", self._port(self._overseer_port, "--overseer-port"), {})
        first, *others = [await self._new_worker() for _ in range(self._count)]
        self._report("starting the overseer")
        await self.start_worker(OVERSEER)
        # worker-1 starts first, so that it becomes the main of a new folder.
        self._report(f"starting {first.name}")
        await self.start_worker(first.name)
        for server in others:
            self._report(f"starting {server.name}")
            await server.launch()
        for server in others:
            await self._readiness.of(server, "/readyz")
        self._report("waiting for a main")
        await self._readiness.of_a_main(overseer)

    def _prepare_directory(self) -> None:
        try:
            self.communication_folder.mkdir(parents=True, exist_ok=True)
            (self.directory / "logs").mkdir(exist_ok=True)
            self._lock = (self.directory / "lab.lock").open("ab")
        except OSError as error:
            raise LabError(f"{self.directory} cannot be used: {error.strerror}; choose --directory") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(
                f"a lab runs already in {self.directory}; end it, or choose another one with --directory"
            ) from None

    async def _new_worker(self) -> ServerProcess:
        number = len(self.urls) + 1
        if number > MAX_WORKERS:
            raise LabError(f"a lab has at most {MAX_WORKERS} workers")
        fixed = self._first_port + number - 1 if self._first_port else 0
        port = self._port(fixed, "--first-port")
        link_port = self._port(fixed + LINK_PORT_OFFSET if fixed else 0, "--first-port")
        name = f"worker-{number}"
        host = self._hosts.get(name, LOOPBACK)
        link_url = f"{self._scheme}://{host.address}:{link_port}"
        if self.identities is not None:
            self.identities.issue(name, host.address)
        if host.relayed:
            relay = self._relays[name] = Relay(link_port, host.address, host.listen, self._secured(name))
            await relay.start()
            link_url = relay.url
        environment = {
            "OVERSEER_IP": self.overseer_url,
            "WORKER_ID": name,
            "ADVERTISE_URL": f"{self._scheme}://{host.address}:{port}",
            "LINK_PORT": str(link_port),
            "LINK_URL": link_url,
        }
        if self._etcd:
            etcd_port = self._port(fixed + ETCD_PORT_OFFSET if fixed else 0, "--first-port")
            environment["HANAS_ETCD_PORT"] = str(etcd_port)
            environment["HANAS_ETCD_URL"] = f"{self._scheme}://{host.address}:{etcd_port}"
        return self._add_server(name, "hanas_worker", port, environment)

    def _add_server(self, name: str, module: str, port: int, own: Mapping[str, str]) -> ServerProcess:
        inherited = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
        shown = {} if self.identities is None else self.identities.environment(name)
        host = self._hosts.get(name, LOOPBACK)
        common = {
            "PORT": str(port),
            "COMMUNICATION_FOLDER": str(host.folder or self.communication_folder),
            "HANAS_PRESET": self._preset,
            "PYTHONUNBUFFERED": "1",
        }
        server = ServerProcess(
            name=name,
            arguments=("-m", module),
            environment=inherited | common | shown | dict(own) | self._environment,
            enter=host.enter,
            url=f"{self._scheme}://{host.address}:{port}",
            log=self.directory / "logs" / f"{name}.log",
            guard=self._guard,
        )
        self._servers[name] = server
        return server

    @property
    def etcd_urls(self) -> dict[str, str]:
        """Where the workers speak etcd's API, by their names."""
        names = list(self.urls) if self._etcd else []
        return {name: self._servers[name].environment["HANAS_ETCD_URL"] for name in names}

    @property
    def _scheme(self) -> str:
        return "https" if self._tls else "http"

    def _secured(self, name: str) -> Secured | None:
        """Return how the relay of a worker speaks TLS: as that worker, and to it as each sender."""
        if self.identities is None:
            return None
        return Secured(self.identities.listening(name), self.identities.calling)

    def _port(self, port: int, option: str) -> int:
        if port == 0:
            return ports.choose(self._ports)
        if port in self._ports:
            raise LabError(f"port {port} would be used twice in this lab; choose other ports with {option}")
        ports.require_free(port, option)
        self._ports.add(port)
        return port

    def _server(self, name: str) -> ServerProcess:
        if name not in self._servers:
            raise LabError(f"there is no {name!r} in this lab; there are: {', '.join(self._servers)}")
        return self._servers[name]

    def _directions(self, source: str, target: str, one_way: bool) -> list[tuple[str, str]]:
        for name in (source, target):
            if self._server(name).name == OVERSEER:
                raise LabError("only links between workers can be cut; the overseer is on none")
        if source == target:
            raise LabError(f"a link has two ends, and both are {source}")
        return [(source, target)] if one_way else [(source, target), (target, source)]
