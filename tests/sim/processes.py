"""The processes of a cluster: workers and overseers of production code, on simulated loops, mounts and links."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from hanas_core.epochs.arbitration import Arrival, Challenge, Refused
from hanas_core.members import cluster
from hanas_core.members.documents import LOG
from hanas_core.members.member import IsolationPolicy
from hanas_core.members.roles import Role
from hanas_core.members.timing import Timing
from hanas_core.volume.errors import FolderError
from hanas_core.volume.fitness import Unfit
from hanas_overseer.decisions import Decisions
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.lanes import Lane
from hanas_serving.lines import Wire
from hanas_serving.settings import Backups
from hanas_worker.faces.http.endpoint import KeysEndpoint
from hanas_worker.faces.http.keys import Keys
from hanas_worker.host.duties import Duty
from hanas_worker.host.leftovers import clear_temporary
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.log.driver import LogDriver
from hanas_worker.neighbours.keepalives import LinkEndpoint
from hanas_worker.neighbours.overseers import Overseers, Rejected
from hanas_worker.node import Node
from hanas_worker.store import Store
from tests.sim.downloads import Download
from tests.sim.mount import Mount
from tests.sim.network import Answer, Network, SimulatedOutbound, ask
from tests.sim.seams import runtime_of
from tests.sim.world import ProcessLoop, World

TIMING = Timing(
    keepalive_interval=0.1,
    suspect_after=0.35,
    probe_timeout=0.25,
    probe_interval=0.3,
    folder_grace=0.4,
    link_confirm=1.0,
    stall_limit=0.8,
    mailbox_interval=0.08,
    tail_interval=0.12,
    watch_interval=0.25,
    presence_interval=0.5,
    folder_timeout=2.5,
    overseer_timeout=0.3,
    isolation_after=1.0,
    most_patience=4.0,
    leftovers_after=3.0,
)
VALUE_BYTES = 8 << 10


class Worker:
    """A member: its machine, and its current process."""

    def __init__(
        self,
        world: World,
        network: Network,
        mount: Mount,
        name: str,
        *,
        folder_id: str,
        overseers: tuple[str, ...],
        policy: IsolationPolicy,
        segment_bytes: int,
        compact_bytes: int,
        compact_share: float,
        snapshot_bytes: int,
        history_seconds: float,
        history_bytes: int,
        cache_bytes: int,
        rate: float,
        backups: Backups,
        patience: float,
    ) -> None:
        self.world = world
        self.network = network
        self.mount = mount
        self.name = name
        self.node: Node | None = None
        self.running = False
        self.comes_back = False
        """Whether a process that ended in order is started again, too."""
        self._rate = rate
        self._folder_id = folder_id
        self._settings = WorkerSettings(
            port=3000,
            link_port=4000,
            member=name,
            advertise_url=f"http://{name}:3000",
            link_url=f"http://{name}:4000",
            overseers=overseers,
            folder=Path(),
            folder_is_default=False,
            folder_id=folder_id,
            secrets=(),
            client_tokens=(),
            timing=TIMING,
            policy=policy,
            value_bytes=VALUE_BYTES,
            segment_bytes=segment_bytes,
            cache_bytes=cache_bytes,
            memory_bytes=1 << 30,
            snapshot_bytes=snapshot_bytes,
            history_seconds=history_seconds,
            history_bytes=history_bytes,
            compact_share=compact_share,
            compact_bytes=compact_bytes,
            backups=backups,
            patience_seconds=patience,
        )
        self.loop = ProcessLoop(world, name, rate=rate)
        self.loop.kill()
        network.hosts[name] = self

    @property
    def role(self) -> Role | None:
        """Its current role; None if it does not run or has none yet."""
        return self.log.state.member.role if self.running and self.log else None

    @property
    def serves(self) -> bool:
        """Whether it runs and is a main that serves."""
        return self.running and self.log is not None and self.log.serving is not None

    @property
    def log(self) -> LogDriver | None:
        """The driver of its log; None before the process has opened the folder."""
        return self.node.logs[LOG] if self.node else None

    # ------------------------------------------------------------------ its life

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.running:
            return
        self.world.note(self.name, "starts")
        self.running = True
        self.node = None
        self.loop = ProcessLoop(self.world, self.name, rate=self._rate)
        gate, callers = Gate(), Callers()
        self._keys = Keys(callers, VALUE_BYTES, gate)
        self._memory = Budget()
        self._endpoint = KeysEndpoint(self._keys, self._memory)
        self._link = LinkEndpoint(callers, gate)
        self._stopping = asyncio.Event()
        self.loop.spawn(self._live()).add_done_callback(self._ended)

    def kill(self, *, machine: bool) -> None:
        """SIGKILL the process, or cut the power of its machine."""
        self.world.note(self.name, "loses its power" if machine else "is killed")
        self.running = False
        self._falls_silent()
        self.loop.kill()
        if machine:
            self.mount.crash()
        else:
            self.mount.orphan()
            self.network.hang_up(self.name)

    def stop(self) -> None:
        """Stop the process in order (SIGTERM)."""
        if self.running:
            self.world.note(self.name, "is asked to stop")
            self.loop.call_soon(self._stopping.set)

    def pause(self) -> None:
        self.world.note(self.name, "is paused")
        self._falls_silent()
        self.loop.pause()

    def resume(self) -> None:
        if self.loop.paused:
            self.world.note(self.name, "goes on")
            if self.node is not None:
                self.network.silent_since.pop(self.node.host.incarnation, None)
            self.loop.resume()

    def _falls_silent(self) -> None:
        if self.node is not None:
            self.network.silent_since.setdefault(self.node.host.incarnation, self.world.now)

    async def _live(self) -> None:
        runtime, outbound = runtime_of(self.loop), SimulatedOutbound(self.network, self.loop)
        lane = Lane(Duty.START, runtime.thread)
        while True:
            try:
                await lane.run(cluster.identify(self.mount, self._folder_id), TIMING.folder_timeout)
                break
            except FolderError:
                await asyncio.sleep(TIMING.watch_interval)
        overseers = Overseers(self._settings.overseers, TIMING, outbound, runtime)
        node = Node(self._settings, self.mount, self._folder_id, overseers, outbound, runtime)
        await node.places.wait_for_earlier_run()
        await lane.run(clear_temporary(self.mount, self.name, node.host.incarnation), TIMING.folder_timeout)
        self.node, self._keys.store = node, Store(node.logs[LOG], self._memory)
        self._link.join(self._folder_id, node.verifier, node.hear, node.visit)
        await node.run(self._stopping)

    def _ended(self, life: asyncio.Task[None]) -> None:
        self.running = False
        self._falls_silent()
        error = None if life.cancelled() else life.exception()
        self.world.note(self.name, "ends" if error is None else f"ends with {error!r}")
        if error is not None and not isinstance(error, FolderError | Rejected | Unfit):
            self.world.accuse(f"{self.name} ended with an error of the program: {error!r}")
        self.loop.kill()
        self.network.hang_up(self.name)
        if self.comes_back or error is not None:
            self.world.after(0.5, self.start)

    # ------------------------------------------------------------------ what it is asked

    async def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        app = self._link if target.startswith("/v1/keepalive") else self._endpoint
        return await ask(app, method, target, headers, body)

    async def stream(self, target: str, headers: dict[str, str], download: Download) -> None:
        """Answer in parts."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await self._endpoint(scope, download.receive, download.send)

    async def open_line(self, target: str, headers: dict[str, str]) -> tuple[Answer, Wire | None]:
        """Return the answer to who asks for a line, and what speaks over it."""
        wires: list[tuple[bytes, Wire]] = []
        answer = await ask(self._link, "GET", target, headers, b"", lambda head, wire: wires.append((head, wire)))
        if not wires:
            return answer, None
        lines = wires[0][0].decode().split("\r\n")
        fields = (line.partition(": ") for line in lines[1:] if line)
        return Answer(int(lines[0].split()[1]), {name.lower(): value for name, _, value in fields}, b""), wires[0][1]


class Overseer:
    """An overseer: its decisions, without its pages."""

    def __init__(self, world: World, network: Network, mount: Mount, name: str, folder_id: str) -> None:
        self.world = world
        self.mount = mount
        self.name = name
        self._folder_id = folder_id
        self.loop = ProcessLoop(world, name)
        self.loop.kill()
        self.role: Role | None = None
        """None, for it is no member."""
        network.hosts[name] = self

    def start(self) -> None:
        if not self.loop.alive:
            self.world.note(self.name, "starts")
            self.loop = ProcessLoop(self.world, self.name)
            self._decisions = Decisions(self.mount, self._folder_id, TIMING, runtime_of(self.loop))

    def kill(self) -> None:
        self.world.note(self.name, "is killed")
        self.loop.kill()

    async def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer as `hanas_overseer.calls` does."""
        del headers
        try:
            if method == "POST" and target == "/v1/claim":
                place = await self._decisions.arrive(msgspec.json.decode(body, type=Arrival), (), 0)
                return Answer(200, {}, msgspec.json.encode(place))
            if method == "POST" and target == "/v1/takeover":
                ruling = await self._decisions.challenge(msgspec.json.decode(body, type=Challenge))
                return Answer(200 if ruling.granted else 409, {}, msgspec.json.encode(ruling.main))
        except Refused as refusal:
            return Answer(400, {}, msgspec.json.encode({"detail": str(refusal)}))
        except FolderError as error:
            return Answer(503, {}, msgspec.json.encode({"detail": str(error)}))
        return Answer(200, {}, b"ok\n")
