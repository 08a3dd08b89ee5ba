"""Following one cluster: the event stream of each overseer pod, else documents of overseers and the status of workers.

Overseers and workers are asked, all at once, while no stream is open, while the overseers cannot read the folder, and
when a pod is ready no more, as all pods of a lost node are.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

import msgspec
from aiohttp import ClientResponse
from msgspec import Struct

from hanas_core.members.documents import MainInfo
from hanas_core.members.roles import MainState, Role
from hanas_operator import names, news, pods, reach, view
from hanas_operator.news import News
from hanas_operator.pods import Pod
from hanas_operator.queue import Key
from hanas_operator.reach import HttpInterface, Reach, Unauthorized, Unreachable
from hanas_operator.view import ClusterView
from hanas_serving.events import EventParser

RETRY_SECONDS = 1.0
MOST_BYTES = 16 << 20
"""A document has fewer: that of a cluster of 256 members less than 1 MiB."""
_log = logging.getLogger(__name__)
_Tasks = dict[HttpInterface, asyncio.Task[None]]


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
        self._read_token = token
        self._changed = changed
        self._token: str | None = None
        self._news = News()
        self._reported: ClusterView | None = None
        self._listening: _Tasks = {}
        self._asking: _Tasks = {}
        self._open: set[HttpInterface] = set()
        self._workers: tuple[HttpInterface, ...] = ()
        self._ready: frozenset[str] = frozenset()
        self._suspicious = False
        self._woken = asyncio.Event()
        self._trouble = "no overseer has answered yet"

    @property
    def view(self) -> ClusterView | None:
        """The newest view, None if there is none or it expired."""
        return self._news.newest(time.monotonic())

    @property
    def trouble(self) -> str:
        """Why there is no stream; empty while one is open."""
        return "" if self._open else self._trouble

    def watch(self, present: Iterable[Pod]) -> None:
        """Follow the overseers among these pods, and no others; ask everybody if one was ready and is no more."""
        present = list(present)
        self._workers = tuple(reach.of_pod(pod, names.WORKER_PORT) for pod in pods.of(present, names.WORKER))
        overseers = [reach.of_pod(pod, names.OVERSEER_PORT) for pod in pods.of(present, names.OVERSEER)]
        for place in set(self._listening) - set(overseers):
            self._listening.pop(place).cancel()
            self._leave(place)
        for place in overseers:
            if place not in self._listening:
                self._listening[place] = asyncio.create_task(self._listen(place), name=f"listen {place.proxied}")
        ready = frozenset(str(pod["metadata"]["name"]) for pod in present if pods.is_ready(pod))
        if self._ready - ready:
            self._suspicious = True
            self._woken.set()
        self._ready = ready

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                self._woken.clear()
                self._ask()
                await self._report()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._woken.wait()
        finally:
            tasks = [*self._listening.values(), *self._asking.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self) -> None:
        present = self.view
        if view.same(present, self._reported):
            return
        self._reported = present
        try:
            await self._changed(self._key, present)
        except Exception as error:  # the next view may be told
            _log.warning("%s/%s: %s", *self._key, error)

    # ------------------------------------------------------------------ streams

    async def _listen(self, place: HttpInterface) -> None:
        while True:
            try:
                await self._stream(place)
                self._trouble = "the overseer closed the event stream"
            except Unreachable as error:
                self._trouble = str(error)
            except Exception as error:  # an answer may break anything, and the next one may be valid
                self._trouble = str(error) or type(error).__name__
                _log.warning("%s/%s: %s", *self._key, self._trouble)
            self._leave(place)
            await asyncio.sleep(RETRY_SECONDS)

    def _leave(self, place: HttpInterface) -> None:
        self._open.discard(place)
        self._news.drop(place, time.monotonic())
        self._woken.set()

    async def _stream(self, place: HttpInterface) -> None:
        async with self._get(place, "/v1/events", stream=True) as response:
            parser = EventParser()
            async for chunk in response.content.iter_any():
                self._open.add(place)
                self._news.confirm(place, time.monotonic())
                for event in parser.feed(chunk):
                    if event.name == "cluster":
                        self._take(place, view.decode(event.data))

    def _take(self, source: news.Source, present: ClusterView) -> None:
        self._news.take(source, present, time.monotonic())
        if not view.same(self.view, self._reported):
            self._woken.set()

    # ------------------------------------------------------------------ questions

    def _ask(self) -> None:
        """Ask every overseer and worker that still owes no answer, if there is a reason to ask."""
        present = self.view
        if not (self._suspicious or not self._open or (present is not None and news.is_blind(present))):
            return
        self._suspicious = False
        for place in self._listening:
            self._begin(place, self._ask_overseer)
        for place in self._workers:
            self._begin(place, self._ask_worker)

    def _begin(self, place: HttpInterface, question: Callable[[HttpInterface], Coroutine[Any, Any, None]]) -> None:
        if place in self._asking:
            return
        task = self._asking[place] = asyncio.create_task(self._answer(place, question), name=f"ask {place.proxied}")
        task.add_done_callback(lambda _: self._asking.pop(place))

    async def _answer(self, place: HttpInterface, question: Callable[[HttpInterface], Awaitable[None]]) -> None:
        try:
            await question(place)
        except (Unreachable, msgspec.MsgspecError):
            pass  # the next one may answer
        except Exception as error:
            _log.warning("%s/%s: %s", *self._key, error)

    async def _ask_overseer(self, place: HttpInterface) -> None:
        self._take(place, view.decode(await self._read(place, "/v1/cluster")))

    async def _ask_worker(self, place: HttpInterface) -> None:
        status = msgspec.json.decode(await self._read(place, "/v1/status"), type=WorkerStatus)
        present = according_to(status, self.view)
        if present is not None:
            self._take(news.WORKERS, present)

    async def _read(self, place: HttpInterface, path: str) -> bytes:
        async with self._get(place, path) as response:
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > MOST_BYTES:
                    raise Unreachable(f"{place.proxied}{path} answered with more than {MOST_BYTES} bytes")
            return bytes(content)

    @contextlib.asynccontextmanager
    async def _get(self, place: HttpInterface, path: str, *, stream: bool = False) -> AsyncIterator[ClientResponse]:
        if self._token is None:
            self._token = await self._read_token(self._key)
        try:
            async with self._reach.open(place, path, self._token, stream=stream) as response:
                yield response
        except Unauthorized:
            self._token = None
            raise


def according_to(status: WorkerStatus, before: ClusterView | None) -> ClusterView | None:
    """Return ``before`` with the worker of ``status`` as the main; None if it is none, or one of an older epoch."""
    base = before or ClusterView()
    if status.role != Role.MAIN or status.epoch < base.epoch:
        return None
    info = MainInfo(status.member, status.incarnation, "", "", status.epoch, MainState.SERVING)
    return msgspec.structs.replace(base, epoch=status.epoch, main=info, links=(), alerts=())
