"""Calls to an overseer; if none can be reached, this worker decides in the folder itself, by the same functions."""

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from http.client import responses
from typing import Any, TypeVar

import msgspec

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Arrival, Challenge, Place
from hanas_core.members.documents import Report
from hanas_core.members.registry import Registry, registered
from hanas_core.members.timing import Timing
from hanas_core.volume.blocks import UNREADABLE
from hanas_core.volume.folder import Folder
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Outbound, Runtime
from hanas_worker.host.duties import Duty

_log = logging.getLogger("hanas.worker")

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
            place = msgspec.json.decode(content, type=Place)
        except UNREADABLE as error:
            raise Rejected(
                f"the server at {url} does not answer as an overseer does ({error}): check OVERSEER_IP"
            ) from None
        owner = (await self._decide(registered(folder, place.slot))).member
        if owner != arrival.member:
            raise Rejected(
                f"the overseer at {url} gave this worker slot {place.slot}, which is that of {owner} in this folder: "
                "it uses another folder with the same id; mount the same volume, or run `hanas adopt` on the copy"
            )
        return place

    async def challenge(self, folder: Folder, challenge: Challenge, addresses: tuple[str, str]) -> None:
        """Ask to become the main. The answer is in the folder: look at the claims. Raises Rejected, FolderError.

        Without a ruling the folder decides: whoever else answers at an overseer's address must not forbid a takeover.
        """
        if not await self._ruled(msgspec.json.encode(challenge)):
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
            status, _ = await self._outbound.post(f"{url}/v1/report", body, self._timing.overseer_timeout)
        except OSError:
            return False
        return status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.SERVICE_UNAVAILABLE

    async def _ruled(self, body: bytes) -> bool:
        """Return whether an overseer has ruled on a takeover."""
        for url in self._urls:
            try:
                status, answer = await self._outbound.post(url + "/v1/takeover", body, self._timing.overseer_timeout)
            except OSError:
                continue
            if status in {HTTPStatus.OK, HTTPStatus.CONFLICT} and _decoded(answer).epoch:
                self.reachable = True
                return True
            _log.warning("no ruling from %s: %s", url, _decoded(answer).detail or status)
        self.reachable = False
        return False

    async def _ask(self, path: str, body: bytes) -> tuple[str, bytes] | None:
        """Return the first overseer that answers and its answer, None if none does. Raises Rejected."""
        for url in self._urls:
            try:
                status, answer = await self._outbound.post(url + path, body, self._timing.overseer_timeout)
            except OSError:
                continue
            self.reachable = True
            if status == HTTPStatus.OK:
                return url, answer
            if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                reason = _decoded(answer).detail or responses.get(status, str(status))
                raise Rejected(f"the overseer at {url} refused: {reason}")
        self.reachable = False
        return None

    async def _decide(self, procedure: Coroutine[Any, Any, T]) -> T:
        try:
            return await self.lane.run(procedure, self._timing.folder_timeout)
        except arbitration.Refused as refusal:
            raise Rejected(str(refusal)) from None


class _Answer(msgspec.Struct):
    """What a refusal says, and the highest epoch in a ruling: that is what tells it from the answer of a stranger."""

    detail: str = ""
    epoch: int = 0


def _decoded(answer: bytes) -> _Answer:
    try:
        return msgspec.json.decode(answer, type=_Answer)
    except UNREADABLE:
        return _Answer()
