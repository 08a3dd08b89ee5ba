"""The worker's own store on a folder in memory, as the face needs it; it can hold requests, as the model can."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from hanas_core.log import records
from hanas_core.log.positions import NOWHERE
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.state.entries import Entry
from hanas_core.state.replica import Standing
from hanas_serving.budget import Budget
from hanas_serving.runtime import Runtime
from hanas_worker.faces.etcd.adapter import AdaptedFeed, StoreAdapter, told_of
from hanas_worker.faces.etcd.revisions import Span, Vitals
from hanas_worker.log.bell import Bell
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.tally import Tally
from hanas_worker.store import Store
from tests.unit.core.test_revisions import value_of
from tests.unit.worker.etcd_model import Model
from tests.unit.worker.stage import Stage, started

_LOOK_SECONDS = 0.02
_SEGMENT_BYTES = 8 << 20


class _Values:
    """Values as they lie in the folder."""

    def __init__(self, stage: Stage) -> None:
        self._folder = stage.folder
        self.reads = 0

    async def read(self, key: bytes, entry: Entry, part: tuple[int, int]) -> bytes:
        del key
        self.reads += 1
        await asyncio.sleep(0)
        return value_of(self._folder, entry)[slice(*part)]


class Real:
    """The store."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stuck: list[Callable[[], None]] | None = None
        self.full = False
        self.serving = True
        self.later = True
        self.values = _Values(stage)
        service = stage.service
        service.form = records.REVISED
        service._on_room_needed = stage.space_comes
        self.lessor = Lessor(service, asyncio.get_running_loop().time)
        self.state = SimpleNamespace(
            service=service,
            forwarder=None,
            lessor=self.lessor,
            replica=SimpleNamespace(index=service.index),
            index=service.index,
            on_applied=Bell(),
            certain=0,
            tally=Tally(),
            host=SimpleNamespace(runtime=Runtime(), folder=SimpleNamespace(format=2)),
            standing=Standing(NOWHERE, 0, 1, 0, 0),
            member=SimpleNamespace(epoch=2, role=Role.MAIN, verdict=Verdict.HEALTHY),
            followed_epoch=None,
        )
        self.driver = SimpleNamespace(main_url=None, values=self.values, state=self.state, ready=True)
        self.store = Store(cast("LogDriver", self.driver), Budget())
        self.adapter = StoreAdapter(self.store, lambda: 20_480)

    @property
    def revision(self) -> int:
        return self.adapter.revision

    @property
    def compacted(self) -> int:
        return told_of(self.store.index.compacted)

    @property
    def term(self) -> int:
        return self.adapter.term

    @property
    def feeds(self) -> Any:
        return self.store.feeds._open

    def hold(self) -> None:
        self.stuck = []

    def release(self) -> None:
        stuck, self.stuck = self.stuck or [], None
        for go_on in stuck:
            go_on()

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any) -> None:
            if self.stuck is None:
                getattr(self.adapter, name)(*arguments)
            else:
                self.stuck.append(partial(getattr(self.adapter, name), *arguments))

        return ask

    def watch(self, span: Span, start: int, ready: Callable[[], None], *, previous: bool) -> AdaptedFeed:
        return self.adapter.watch(span, start, ready, previous=previous)

    def vitals(self) -> Vitals:
        vitals = self.adapter.vitals()
        return Vitals(vitals.size, 16_384, 0, vitals.position, self.full, self.serving)

    async def expire(self) -> None:
        """Have leases expire."""
        while True:
            await self.lessor.look()
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def real() -> AsyncIterator[Real]:
    store = Real(await started(segment_bytes=_SEGMENT_BYTES))
    expiring = asyncio.create_task(store.expire())
    try:
        yield store
    finally:
        expiring.cancel()
        store.stage.service.end("the test is over")


@asynccontextmanager
async def made(name: str, *, later: bool = True) -> AsyncIterator[Any]:
    """Make the model or the store, which one is called ``name``."""
    if name == "model":
        yield Model(later=later)
    else:
        async with real() as store:
            yield store
