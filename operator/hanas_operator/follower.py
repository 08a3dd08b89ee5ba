"""Following one cluster: the event stream of its overseer, else its document, else the status of its workers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from hanas_core.members.documents import MainInfo
from hanas_core.members.roles import MainState, Role
from hanas_operator import reach, view
from hanas_operator.reach import Reach, Unreachable
from hanas_operator.view import ClusterView
from hanas_serving.events import EventParser

STALE_SECONDS = 10.0
"""A view expires after this time without contact."""
RETRY_SECONDS = 1.0
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
        namespace: str,
        cluster: str,
        members: Callable[[], list[str]],
        token: Callable[[], Awaitable[str]],
        changed: Callable[[ClusterView | None], Awaitable[None]],
    ) -> None:
        """``members``: the workers to ask if no overseer answers; ``changed``: called with every view that differs from
        the one before, and with None when the last one expires.
        """
        self._reach = access
        self._overseer = reach.overseer(namespace, cluster)
        self._name = namespace, cluster
        self._members = members
        self._token = token
        self._changed = changed
        self._view: ClusterView | None = None
        self._heard_at = 0.0
        self._reported = False
        self.trouble = "no overseer has answered yet"
        """Why there is no stream; empty while one is open."""

    @property
    def view(self) -> ClusterView | None:
        """The newest view, None if there is none or it expired."""
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
            except Exception as error:  # an answer may break anything, and the next one may be valid
                self.trouble = str(error) or type(error).__name__
                _log.warning("%s/%s: %s", *self._name, self.trouble)
            try:
                await self._poll()
            except Exception as error:
                _log.warning("%s/%s: %s", *self._name, error)
            if self._reported and self.view is None:
                self._reported = False
                self._view = None
                await self._changed(None)
            await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self) -> None:
        async with self._reach.open(self._overseer, "/v1/events", await self._token(), stream=True) as response:
            parser = EventParser()
            async for chunk in response.content.iter_any():
                self.trouble = ""
                self._heard_at = time.monotonic()
                for event in parser.feed(chunk):
                    if event.name == "cluster":
                        await self._update(view.decode(event.data))

    async def _poll(self) -> None:
        try:
            async with self._reach.open(self._overseer, "/v1/cluster", await self._token()) as response:
                present = view.decode(await response.read())
        except (Unreachable, msgspec.MsgspecError):
            statuses = await asyncio.gather(*(self._ask(member) for member in self._members()))
            account = among([status for status in statuses if status is not None], self._view)
            if account is None:
                return
            present = account
        self._heard_at = time.monotonic()
        await self._update(present)

    async def _ask(self, member: str) -> WorkerStatus | None:
        try:
            async with self._reach.open(
                reach.worker(*self._name, member), "/v1/status", await self._token()
            ) as response:
                return msgspec.json.decode(await response.read(), type=WorkerStatus)
        except (Unreachable, msgspec.MsgspecError):
            return None

    async def _update(self, present: ClusterView) -> None:
        news = not view.same(present, self._view)
        self._view = present
        self._reported = True
        if news:
            await self._changed(present)


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
