"""Transactions, compactions and leases at the main (docs/protocol.md, sections 3.11 and 3.14)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NoReturn, assert_never

from hanas_core.log import records
from hanas_core.state.judge import Compaction, Result
from hanas_core.state.leases import MOST_ID
from hanas_core.state.transactions import Transact
from hanas_core.volume.errors import FolderError
from hanas_serving.budget import Budget
from hanas_worker import calls
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.lessor import Lessor
from hanas_worker.log.service import Service
from hanas_worker.log.transactor import Transacted, Transactor
from hanas_worker.refusals import (
    OF_RESULTS,
    Busy,
    Elsewhere,
    Forgotten,
    Future,
    NoLease,
    NoRevisions,
    Refusal,
    Unreadable,
    awaited,
)


class Coordinator:
    """Carries out calls while this worker is the main. It belongs to the event loop."""

    def __init__(self, log: LogDriver, memory: Budget, revision: Callable[[], int]) -> None:
        """Carry them out in ``log``; ``memory``: for what transactions read. ``revision``: what may be told of it."""
        self._log, self._state, self._memory = log, log.state, memory
        self._revision = revision
        self._reading: set[asyncio.Task[None]] = set()
        """Transactions that read values of the volume."""

    async def carry_out(self, call: calls.Call, most_bytes: int | None = None) -> calls.Answer:
        """Return how a call ended. Raises Refusal: Elsewhere, where nothing was done, NoLease, Unknown, ...

        ``most_bytes``: of the values that a transaction reads, if that is less than usual; beyond it they are left out.
        """
        match call:
            case calls.Transacting(request=request):
                return await awaited(partial(self.transact, request, most_bytes=most_bytes))
            case calls.Compacting(revision=revision):
                return await self._compact(revision)
            case calls.Granting(lease=lease, ttl=ttl):
                return await self._grant(lease, ttl)
            case calls.Renewing(lease=lease):
                return await self._renew(lease)
            case calls.Ending(lease=lease):
                return await self._end(lease)
            case calls.Showing(lease=lease):
                return await self._show(lease)
            case calls.Listing():
                lessor, _ = await self._fenced_lessor()
                return calls.Listed(lessor.ids())
            case _:
                assert_never(call)

    def transact(
        self, request: Transact, done: Callable[[Transacted | Refusal], None], most_bytes: int | None = None
    ) -> None:
        """Call ``done`` when a transaction was carried out, or with the refusal; it must not raise."""
        service = self._state.service
        if service is None:
            done(Elsewhere(self._log.main_url))
        elif service.form == records.PLAIN:
            done(NoRevisions(service.epoch))
        else:
            carrier = Transactor(service, self._log.values, self._memory, self._reading, most_bytes)
            carrier.carry_out(request, partial(self._transacted, done))

    def _transacted(self, done: Callable[[Transacted | Refusal], None], transacted: Transacted | FolderError) -> None:
        if isinstance(transacted, FolderError):
            done(Unreadable(str(transacted)))
        elif transacted.outcome.result is Result.TRANSACTED:
            done(transacted)
        else:
            outcome = transacted.outcome
            done(self._refusal(outcome.result, transacted.epoch, outcome.revision))

    async def _compact(self, revision: int) -> calls.Compacted:
        service = self._state.service
        if service is None:
            self._refuse()
        outcome = await service.write(Compaction(revision, strict=True))
        if outcome.result is not Result.COMPACTED:
            self._refused(outcome.result, service.epoch, outcome.revision)
        return calls.Compacted(outcome.revision)

    async def _grant(self, lease: int, ttl: int) -> calls.Granted:
        lessor, service = self._lessor()
        if service.form == records.PLAIN:
            raise NoRevisions(service.epoch)
        while True:
            named = lease or int(self._state.host.runtime.nonce(), 16) % MOST_ID + 1
            outcome, epoch = await lessor.grant(named, ttl)
            if outcome.result is Result.LEASE_GRANTED:
                return calls.Granted(named, epoch, outcome.revision)
            if lease or outcome.result is not Result.LEASE_EXISTS:
                self._refused(outcome.result, epoch, outcome.revision)

    async def _renew(self, lease: int) -> calls.Renewed:
        lessor, service = self._lessor()
        if service.crowded:
            raise Busy(service.epoch)
        renewal = await lessor.keep_alive(lease)
        if renewal.result is not Result.COMMITTED:
            self._refused(renewal.result, service.epoch)
        return calls.Renewed(renewal.ttl, service.epoch, self._revision())

    async def _end(self, lease: int) -> calls.Ended:
        outcome, epoch = await self._lessor()[0].revoke(lease)
        if outcome.result is not Result.LEASE_REVOKED:
            self._refused(outcome.result, epoch, outcome.revision)
        return calls.Ended(epoch, outcome.revision)

    async def _show(self, lease: int) -> calls.Shown:
        lessor, epoch = await self._fenced_lessor()
        if (told := lessor.told(lease)) is None:
            raise NoLease(epoch)
        return calls.Shown(told.lease.ttl, told.left, told.keys, epoch, self._revision())

    async def _fenced_lessor(self) -> tuple[Lessor, int]:
        """Return the lessor, and the epoch, behind a check that began after this call. Raises Elsewhere, Busy."""
        lessor, service = self._lessor()
        if service.crowded:
            raise Busy(service.epoch)
        epoch = await service.fence()
        if epoch is None:
            self._refuse()
        return lessor, epoch

    def _lessor(self) -> tuple[Lessor, Service]:
        lessor, service = self._state.lessor, self._state.service
        if lessor is None or service is None:
            self._refuse()
        return lessor, service

    def _refuse(self) -> NoReturn:
        raise Elsewhere(self._log.main_url)

    def _refused(self, result: Result, epoch: int, revision: int = 0) -> NoReturn:
        raise self._refusal(result, epoch, revision)

    def _refusal(self, result: Result, epoch: int, revision: int) -> Refusal:
        if result is Result.NOT_MAIN:
            return Elsewhere(self._log.main_url)
        index = self._state.replica.index
        refusal: Refusal
        if result is Result.FORGOTTEN:
            refusal = Forgotten(epoch, index.compacted)
        elif result is Result.TO_COME:
            refusal = Future(epoch, index.revision)
        else:
            refusal = OF_RESULTS[result](epoch)
        refusal.revision = revision
        return refusal
