"""Following one cluster: the event stream of its overseer, else its document, else the status of its workers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from hanas_core.members.documents import MainInfo
from hanas_core.members.roles import MainState, Role
from hanas_operator import names, reach, view
from hanas_operator.queue import Key
from hanas_operator.reach import HttpInterface, Reach, Unreachable
from hanas_operator.view import ClusterView
from hanas_serving.events import EventParser

STALE_SECONDS = 10.0
"""A view expires after this time without contact."""
RETRY_SECONDS = 1.0
MOST_BYTES = 16 << 20
"""A document has fewer: that of a cluster of 256 members less than 1 MiB."""
_log = logging.getLogger(__name__)


class WorkerStatus(Struct, frozen=True, rename="camel"):
    """``GET /v1/status`` of a worker, reduced to the fields that matter here."""

    member: str
    incarnation: str
    role: str
    epoch: int


class ClusterFollower:
    """Keeps the newest view of one cluster."""

    def __init__(
        self,
        access: Reach,
        key: Key,
        token: Callable[[Key], Awaitable[str]],
        changed: Callable[[Key, ClusterView | None], Awaitable[None]],
    ) -> None:
        """``changed``: called with every view that differs from the one before, and with None when the last one
        expires.
        """
        self._reach = access
        self._key = key
        self._token = token
        self._changed = changed
        self._view: ClusterView | None = None
        self._heard_at = 0.0
        self._reported = False
        self.workers = 0
        """The number of workers, which are asked if no overseer answers."""
        self.trouble = "no overseer has answered yet"
        """Why there is no stream; empty while one is open."""

    @property
    def view(self) -> ClusterView | None:
        """The newest view, None if there is none or it expired."""
        is_fresh = not self.trouble or time.monotonic() - self._heard_at <= STALE_SECONDS
        return self._view if is_fresh else None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._stream()
                self.trouble = "the overseer closed the event stream"
            except Unreachable as error:
                self.trouble = str(error)
            except Exception as error:  # an answer may break anything, and the next one may be valid
                self.trouble = str(error) or type(error).__name__
                _log.warning("%s/%s: %s", *self._key, self.trouble)
            try:
                await self._poll()
            except Exception as error:
                _log.warning("%s/%s: %s", *self._key, error)
            if self._reported and self.view is None:
                self._reported = False
                self._view = None
                await self._changed(self._key, None)
            await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self) -> None:
        overseer, token = reach.overseer(*self._key), await self._token(self._key)
        async with self._reach.open(overseer, "/v1/events", token, stream=True) as response:
            parser = EventParser()
            async for chunk in response.content.iter_any():
                self.trouble = ""
                self._heard_at = time.monotonic()
                for event in parser.feed(chunk):
                    if event.name == "cluster":
                        await self._update(view.decode(event.data))

    async def _poll(self) -> None:
        try:
            present: ClusterView | None = view.decode(await self._get(reach.overseer(*self._key), "/v1/cluster"))
        except (Unreachable, msgspec.MsgspecError):
            members = [names.member(ordinal) for ordinal in range(self.workers)]
            statuses = await asyncio.gather(*(self._status(member) for member in members))
            present = among([status for status in statuses if status is not None], self._view)
        if present is not None:
            self._heard_at = time.monotonic()
            await self._update(present)

    async def _status(self, member: str) -> WorkerStatus | None:
        try:
            return msgspec.json.decode(
                await self._get(reach.worker(*self._key, member), "/v1/status"), type=WorkerStatus
            )
        except (Unreachable, msgspec.MsgspecError):
            return None

    async def _get(self, place: HttpInterface, path: str) -> bytes:
        async with self._reach.open(place, path, await self._token(self._key)) as response:
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > MOST_BYTES:
                    raise Unreachable(f"{place.url}{path} answered with more than {MOST_BYTES} bytes")
            return bytes(content)

    async def _update(self, present: ClusterView) -> None:
        is_same = view.same(present, self._view)
        self._view = present
        self._reported = True
        if not is_same:
            await self._changed(self._key, present)


def among(statuses: list[WorkerStatus], before: ClusterView | None) -> ClusterView | None:
    """Return ``before`` with the main of the highest epoch among ``statuses``; None without a newer main."""
    mains = [status for status in statuses if status.role == Role.MAIN]
    if not mains:
        return None
    newest = max(mains, key=lambda status: status.epoch)
    base = before or ClusterView()
    if newest.epoch < base.epoch:
        return None
    info = MainInfo(newest.member, newest.incarnation, "", "", newest.epoch, MainState.SERVING)
    return msgspec.structs.replace(base, epoch=newest.epoch, main=info, links=(), alerts=())
