"""Following one cluster: its overseer's event stream, else its document, else what its workers say of themselves."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import msgspec
from msgspec import Struct

from hanas_core.members.documents import MainInfo
from hanas_operator import reach, view
from hanas_operator.reach import Reach, Unreachable
from hanas_operator.view import SERVING, ClusterView

STALE_SECONDS = 10.0
"""What was last heard is no longer believed after this time without contact."""
RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class WorkerStatus(Struct, frozen=True, rename="camel"):
    """``GET /v1/status`` of a worker, as far as it is needed."""

    member: str
    incarnation: str
    role: str
    epoch: int


class Follower:
    """Keeps the newest view of one cluster."""

    def __init__(
        self,
        way: Reach,
        namespace: str,
        cluster: str,
        members: Callable[[], list[str]],
        token: Callable[[], Awaitable[str]],
        changed: Callable[[ClusterView | None], Awaitable[None]],
    ) -> None:
        """``members``: whom to ask if no overseer answers; ``changed``: called with every view that says anything new,
        and with None when the last one is too old to be believed.
        """
        self._way = way
        self._overseer = reach.overseer(namespace, cluster)
        self._name = namespace, cluster
        self._members = members
        self._token = token
        self._changed = changed
        self._view: ClusterView | None = None
        self._heard_at = 0.0
        self._told = False
        self.trouble = "no overseer has answered yet"
        """Why there is no stream; empty while there is one."""

    @property
    def view(self) -> ClusterView | None:
        """The newest view, None if there is none that can be believed."""
        fresh = not self.trouble or time.monotonic() - self._heard_at <= STALE_SECONDS
        return self._view if fresh else None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._stream()
                self.trouble = "the overseer closed the event stream"
            except Unreachable as error:
                self.trouble = str(error)
            except Exception as error:  # whatever an answer makes go wrong, the next one may be better
                self.trouble = str(error) or type(error).__name__
                _log.warning("%s/%s: %s", *self._name, self.trouble)
            try:
                await self._poll()
            except Exception as error:
                _log.warning("%s/%s: %s", *self._name, error)
            if self._told and self.view is None:
                self._told = False
                self._view = None
                await self._changed(None)
            await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self) -> None:
        async with self._way.open(self._overseer, "/v1/events", await self._token(), stream=True) as response:
            async for name, data in events(response.content):
                self.trouble = ""
                self._heard_at = time.monotonic()
                if name == "cluster":
                    await self._see(view.decode(data))

    async def _poll(self) -> None:
        try:
            async with self._way.open(self._overseer, "/v1/cluster", await self._token()) as response:
                seen = view.decode(await response.read())
        except (Unreachable, msgspec.MsgspecError):
            told = await asyncio.gather(*(self._ask(member) for member in self._members()))
            among_workers = among([status for status in told if status is not None], self._view)
            if among_workers is None:
                return
            seen = among_workers
        self._heard_at = time.monotonic()
        await self._see(seen)

    async def _ask(self, member: str) -> WorkerStatus | None:
        try:
            async with self._way.open(reach.worker(*self._name, member), "/v1/status", await self._token()) as response:
                return msgspec.json.decode(await response.read(), type=WorkerStatus)
        except (Unreachable, msgspec.MsgspecError):
            return None

    async def _see(self, seen: ClusterView) -> None:
        news = not view.same(seen, self._view)
        self._view = seen
        self._told = True
        if news:
            await self._changed(seen)


def among(told: list[WorkerStatus], known: ClusterView | None) -> ClusterView | None:
    """Return the view that workers give of themselves: the main of the highest epoch; the rest as it was known."""
    mains = [status for status in told if status.role == "main"]
    if not mains:
        return None
    newest = max(mains, key=lambda status: status.epoch)
    base = known or ClusterView()
    if newest.epoch < base.epoch:
        return None
    info = MainInfo(newest.member, newest.incarnation, "", "", newest.epoch, SERVING)
    return msgspec.structs.replace(base, epoch=newest.epoch, main=info, links=(), alerts=())


async def events(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, str]]:
    """Yield the (name, data) of server-sent events, and ("", "") for every comment (HTML standard, section 9.2)."""
    name, data = "", ""
    pending = b""
    async for piece in content.iter_any():
        *lines, pending = (pending + piece).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\r")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if name or data:
                    yield name, data
                name, data = "", ""
            elif not field:
                yield "", ""
            elif field == "event":
                name = value
            elif field == "data":
                data = f"{data}\n{value}" if data else value
