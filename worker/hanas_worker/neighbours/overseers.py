"""Calls to an overseer; if none can be reached, this worker decides in the folder itself, by the same functions."""

import asyncio
from collections.abc import Coroutine
from http.client import responses
from typing import Any, TypeVar

import msgspec

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Arrival, Challenge, Place
from hanas_core.members.documents import Report
from hanas_core.members.registry import Registry
from hanas_core.members.timing import Timing
from hanas_core.volume.folder import Folder
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Outbound, Runtime
from hanas_worker.host.duties import Duty

T = TypeVar("T")


class Rejected(Exception):
    """An overseer refused the call for good: it and this worker do not fit together. One line for people."""


class Overseers:
    """The overseers of this worker, in the order of its settings."""

    def __init__(self, urls: tuple[str, ...], timing: Timing, outbound: Outbound, runtime: Runtime) -> None:
        """Call nobody yet."""
        self._urls = urls
        self._outbound = outbound
        self._runtime = runtime
        self._timing = timing
        self.lane = Lane(Duty.ARBITRATION, runtime.thread)
        self.reachable = False
        """The last call reached an overseer."""

    async def arrive(self, folder: Folder, arrival: Arrival) -> Place:
        """Announce this worker and return its place. Raises Rejected, FolderError."""
        answer = await self._ask("/v1/claim", msgspec.json.encode(arrival))
        if answer is None:
            registry, now = Registry(folder), self._runtime.wall_clock()
            return await self._decide(
                arbitration.arrive(folder, registry, arrival, folder_id=arrival.folder_id, now=now)
            )
        url, content = answer
        try:
            return msgspec.json.decode(content, type=Place)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(
                f"the server at {url} does not answer as an overseer does ({error}): check OVERSEER_IP"
            ) from None

    async def challenge(self, folder: Folder, challenge: Challenge, addresses: tuple[str, str]) -> None:
        """Ask to become the main. The answer is in the folder: look at the claims. Raises Rejected, FolderError."""
        if await self._ask("/v1/takeover", msgspec.json.encode(challenge)) is None:
            folder_id, now = challenge.folder_id, self._runtime.wall_clock()
            await self._decide(
                arbitration.challenge(folder, challenge, folder_id=folder_id, addresses=addresses, now=now)
            )

    async def report(self, report: Report) -> bool:
        """Send the report to all overseers; return whether any of them could be reached."""
        body = msgspec.json.encode(report)
        reached = await asyncio.gather(*(self._tell(url, body) for url in self._urls))
        self.reachable = any(reached)
        return self.reachable

    async def _tell(self, url: str, body: bytes) -> bool:
        try:
            await self._outbound.post(f"{url}/v1/report", body, self._timing.overseer_timeout)
        except OSError:
            return False
        return True

    async def _ask(self, path: str, body: bytes) -> tuple[str, bytes] | None:
        """Return the first overseer that answers and its answer (409 of a takeover is one), None if none does."""
        for url in self._urls:
            try:
                status, answer = await self._outbound.post(url + path, body, self._timing.overseer_timeout)
            except OSError:
                continue
            self.reachable = True
            if status == 200 or (path, status) == ("/v1/takeover", 409):
                return url, answer
            if status < 500:
                raise Rejected(f"the overseer at {url} refused: {_detail(answer) or responses.get(status, status)}")
        self.reachable = False
        return None

    async def _decide(self, procedure: Coroutine[Any, Any, T]) -> T:
        try:
            return await self.lane.run(procedure, self._timing.folder_timeout)
        except arbitration.Refused as refusal:
            raise Rejected(str(refusal)) from None


class _Problem(msgspec.Struct):
    detail: str = ""


def _detail(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
