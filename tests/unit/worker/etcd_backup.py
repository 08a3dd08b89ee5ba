"""A backup that serves, on a folder in memory: it follows a main, and forwards to it what its clients ask."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hanas_core.members.documents import LOG
from hanas_core.state.index import Index
from hanas_core.state.replica import Replica
from hanas_serving.budget import Budget
from hanas_serving.runtime import Runtime
from hanas_worker.faces.etcd import revisions
from hanas_worker.faces.etcd.adapter import StoreAdapter
from hanas_worker.faces.etcd.revisions import EVERYTHING, Put, Query, Span, Transaction
from hanas_worker.host import settings
from hanas_worker.log.desk import Desk
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.node import Node
from hanas_worker.store import Store
from tests.unit.core.scenery import FOLDER_ID
from tests.unit.waiting import until
from tests.unit.worker.etcd_store import Real, real
from tests.unit.worker.nodes import FolderDecides, Nobody
from tests.unit.worker.office import PATIENCE, REST, Road


class Backup:
    """A backup that forwards to the main whose store is ``main``, over a road that lets everything through."""

    def __init__(self, main: Real) -> None:
        self.main, stage = main, main.stage
        read = settings.read({"WORKER_ID": "b"})
        self.node = Node(read, stage.folder.other(), FOLDER_ID, FolderDecides(), Nobody(), Runtime())
        self.driver = self.node.logs[LOG]
        self.state = self.driver.state
        self.state.member.see(self.node.host.now, stage.claim, 0)
        self.forwarder = self.state.forwarder = Forwarder(self.state, PATIENCE)
        self.store = Store(self.driver, Budget())
        self.adapter = StoreAdapter(self.store, lambda: 4096)
        self.desk = Desk(stage.service, read.value_bytes, main.store._carry_out_for_other, REST)
        self.road = Road(self.forwarder, self.desk.visit("b"))
        self.follows = asyncio.Event()
        """Its copy is read on."""
        self.follows.set()

    async def run(self) -> None:
        """Let through what is said, and read on."""
        while True:
            while self.road.outward.deliver() or self.road.back.deliver():
                pass
            if self.follows.is_set() and not self.state.replica_lock.locked():
                await self.driver._follower.catch_up()
            await asyncio.sleep(0)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Lend the copy to a takeover inside the context, which gives it back as it was."""
        release = asyncio.Event()

        async def hold() -> None:
            async with self.state.replica_lock:
                followed, self.state.followed_epoch = self.state.followed_epoch, 0
                self.state._lent = self.state.replica.standing
                await release.wait()
                self.state._lent, self.state.followed_epoch = None, followed
                self.state.on_applied()

        holding = asyncio.create_task(hold())
        await until(lambda: self.state.index is None)
        try:
            yield
        finally:
            release.set()
            await holding

    def lends_at(self, turn: int, monkeypatch: pytest.MonkeyPatch) -> list[Index]:
        """Lend the copy for a while when it is looked for this time whether it can be read; return all that were."""
        looks, still, loop = list[Index](), Store.still, asyncio.get_running_loop()

        def come_back() -> None:
            self.state._lent = None
            self.state.on_applied()

        def look(store: Store, index: Index) -> bool:
            if store is self.store:
                looks.append(index)
                if len(looks) == turn:
                    self.state._lent = self.state.replica.standing
                    loop.call_later(REST, come_back)
            return still(store, index)

        monkeypatch.setattr(Store, "still", look)
        return looks

    async def make_anew(self) -> None:
        """Give the copy up, as for a thread that never gave it back."""
        async with self.state.replica_lock:
            self.state.replica = Replica(self.state.replica.cache_bytes)
            self.state.followed_epoch = 0

    async def ask(self, call: Callable[..., None], *arguments: Any) -> Any:
        """Return what is called back."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call(*arguments, waiter.set_result)
        return await waiter

    async def do(self, *operations: revisions.Operation) -> Any:
        return await self.ask(self.adapter.transact, Transaction((), operations, ()))

    async def put(self, *keys: bytes, value: bytes = b"v") -> None:
        for key in keys:
            assert not isinstance(await self.do(Put(key, value)), revisions.Refusal)

    async def read(self, span: Span = EVERYTHING, **more: Any) -> Any:
        return await self.ask(self.adapter.read, Query(span, **more))


@asynccontextmanager
async def backup_of_a_main() -> AsyncIterator[Backup]:
    """Run a main, and a backup of it."""
    async with real() as main:
        backup = Backup(main)
        running = asyncio.create_task(backup.run())
        try:
            yield backup
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
