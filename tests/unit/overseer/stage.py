"""A folder with a cluster in it, and overseers on it, without any worker."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec

from hanas_core.log.claimfile import Claim, Seal, Why
from hanas_core.log.claims import claim_epoch, write_pointer
from hanas_core.log.manifests import Manifest, write_manifest
from hanas_core.log.seals import write_seal
from hanas_core.members import cluster
from hanas_core.members.documents import Alert, Link, LogPresence, Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.roles import LinkState, Role
from hanas_core.members.timing import LAN, Timing
from hanas_core.members.verdicts import Severity, Verdict
from hanas_core.volume import blocking, names
from hanas_core.volume.folder import Folder
from hanas_core.volume.posix import PosixFolder
from hanas_overseer.application import application
from hanas_overseer.calls import Calls
from hanas_overseer.decisions import Decisions
from hanas_overseer.metrics import OverseerMetrics
from hanas_overseer.watcher import Watcher
from hanas_serving.admission import Admission
from hanas_serving.clients import Clients
from hanas_serving.credentials import Credentials
from hanas_serving.gate import Gate
from hanas_serving.http1 import Connection
from hanas_serving.limits import Limits
from hanas_serving.runtime import Runtime
from hanas_serving.settings import Public

FAST = msgspec.structs.replace(LAN, watch_interval=0.01, presence_interval=0.1, folder_timeout=5.0)
SECONDS = {"seals": 0.004, "replay": 0.01, "relog": 0.002}


def incarnation(number: int) -> str:
    """Return the incarnation of the ``number``-th member."""
    return f"{number:016x}"


def presence(number: int, counter: int = 1, **changes: Any) -> Presence:
    """Return a block of the ``number``-th member (from 1)."""
    log = {name: changes.pop(name) for name in LogPresence.__struct_fields__ if name in changes}
    shown = LogPresence(role=Role.BACKUP, epoch=1, verdict=Verdict.HEALTHY)
    block = Presence(
        member=f"worker-{number}",
        incarnation=incarnation(number),
        counter=counter,
        advertise_url=f"http://host-{number}:3001",
        link_url=f"http://host-{number}:4001",
        logs=(msgspec.structs.replace(shown, **log),),
    )
    return msgspec.structs.replace(block, **changes)


def link(origin: int, to: int, state: LinkState = LinkState.UP, seconds: float = 1.0) -> Link:
    """Return a link between two members."""
    return Link(f"worker-{origin}", f"worker-{to}", state, seconds)


def alert(identity: str, severity: Severity = Severity.NOTICE, **changes: Any) -> Alert:
    """Return an alert that some worker shows."""
    found = Alert(
        id=identity,
        severity=severity,
        kind=Verdict.LINK_FAILED,
        member="worker-2",
        about="worker-1",
        message="link failed, primary alive: not urgent",
        advice="look at the network",
        since="2026-01-01T00:00:00+00:00",
    )
    return msgspec.structs.replace(found, **changes)


def claim(epoch: int, number: int, folder_id: str = "f" * 16, **changes: Any) -> Claim:
    """Return the claim of an epoch by the ``number``-th member."""
    made = Claim(
        epoch=epoch,
        member=f"worker-{number}",
        incarnation=incarnation(number),
        nonce=secrets.token_hex(16),
        advertise_url=f"http://host-{number}:3001",
        link_url=f"http://host-{number}:4001",
        folder_id=folder_id,
        follows=epoch - 1,
        why=Why.FIRST if epoch == 1 else Why.FAILURE,
        claimed_at="2026-01-01T00:00:00+00:00",
    )
    return msgspec.structs.replace(made, **changes)


class Stage:
    """An initialised folder at ``path``; what workers would write is written by these methods, blocking."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = PosixFolder(path)
        self.folder_id = blocking.run(cluster.initialise(self.folder)).folder_id
        self._mailboxes = Mailboxes(self.folder)

    def register(self, *numbers: int) -> None:
        registry = Registry(self.folder)
        for number in numbers:
            shown = presence(number)
            blocking.run(
                registry.slot_of(shown.member, shown.incarnation, "http://first:1", "http://first:2"),
            )

    def show(self, slot: int, block: Presence) -> None:
        blocking.run(self._mailboxes.write(Box.PRESENCE, slot, block))

    def claim(self, epoch: int, number: int, *, served: bool = True, **changes: Any) -> Claim:
        made = blocking.run(claim_epoch(self.folder, claim(epoch, number, self.folder_id, **changes)))
        if served:
            self.serve(made)
        return made

    def serve(self, made: Claim) -> None:
        manifest = Manifest(
            epoch=made.epoch,
            member=made.member,
            incarnation=made.incarnation,
            predecessor=made.epoch - 1,
            cuts=(),
            relogged_end=4096,
            next_sequence=1,
            seconds=SECONDS,
        )
        pointer = blocking.run(write_manifest(self.folder, made, manifest))
        blocking.run(write_pointer(self.folder, made.epoch, pointer))

    def hand_over(self, made: Claim) -> None:
        blocking.run(write_seal(self.folder, made.epoch, Seal(made.epoch, made.member, made.incarnation, planned=True)))

    def claims(self) -> int:
        return len(list((self.path / names.CLAIMS).iterdir()))

    def arrival(self, number: int, **changes: Any) -> dict[str, Any]:
        body = {
            "member": f"worker-{number}",
            "incarnation": incarnation(number),
            "folderId": self.folder_id,
            "advertiseUrl": f"http://host-{number}:3001",
            "linkUrl": f"http://host-{number}:4001",
        }
        return body | changes

    def challenge(self, number: int, epoch: int, main: int, **changes: Any) -> dict[str, Any]:
        body = {
            "member": f"worker-{number}",
            "incarnation": incarnation(number),
            "folderId": self.folder_id,
            "expected": {"epoch": epoch, "main": f"worker-{main}"},
            "verdict": "PrimaryFailed",
            "evidence": {"words": "it did not answer"},
        }
        return body | changes


class Overseer:
    """One overseer on a folder, reached without a network."""

    def __init__(
        self,
        folder: Folder,
        folder_id: str,
        *,
        timing: Timing = FAST,
        secrets: Iterable[str] = (),
        tokens: Iterable[str] = (),
        listed: Clients | None = None,
        public: Public = Public.METRICS,
        certified: bool = False,
    ) -> None:
        self.admission, gate = Admission[Connection](Limits()), Gate()
        self.credentials = Credentials({}, tuple(secrets), tuple(tokens), listed, public, certified=certified)
        self.watcher = Watcher(folder, folder_id, timing, Runtime(), self.admission, self.credentials)
        self.metrics = OverseerMetrics(self.watcher, self.admission, gate.refusals, gate.audit, self.credentials)
        calls = Calls(Decisions(folder, folder_id, timing, Runtime()), self.watcher, self.metrics)
        self.app = application(calls, self.credentials, gate, Runtime())
        transport = httpx.ASGITransport(self.app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://overseer")

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def running(stage: Stage, **settings: Any) -> AsyncIterator[Overseer]:
    """Run an overseer on the folder of ``stage``."""
    async with started(Overseer(stage.folder, stage.folder_id, **settings)) as overseer:
        yield overseer


@asynccontextmanager
async def started(overseer: Overseer) -> AsyncIterator[Overseer]:
    """Let an overseer watch."""
    watching = asyncio.create_task(overseer.watcher.run())
    try:
        yield overseer
    finally:
        overseer.watcher.board.close()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await overseer.http.aclose()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as ``holds`` tells so."""
    async with asyncio.timeout(20):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.005)


def check_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a problem document (RFC 9457) of this status, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


class Events:
    """Reads server-sent events from pieces of a stream."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._text = ""

    async def next(self, *kinds: str) -> tuple[str, str | None, Any]:
        """Return (kind, id, document) of the next event of one of ``kinds``; any, if none is given."""
        async with asyncio.timeout(20):
            while True:
                while "\n\n" not in self._text:
                    self._text += (await anext(self._pieces)).decode()
                block, self._text = self._text.split("\n\n", 1)
                fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
                if "event" in fields and (not kinds or fields["event"] in kinds):
                    return fields["event"], fields.get("id"), json.loads(fields["data"])
