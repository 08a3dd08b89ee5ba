"""The main's leases: granted, renewed, expired and revoked, by records and seal checks (docs/protocol.md, 3.14)."""

import asyncio
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import NamedTuple

from hanas_core.state.judge import Outcome, Result
from hanas_core.state.leases import Checkpoint, Grant, Lease, LeaseRequest, Revoke
from hanas_worker.log.deadlines import Deadlines, Held, LeaseTime
from hanas_worker.log.service import Service
from hanas_worker.log.tally import Tally

LOOK_SECONDS = 0.25
"""How often lease time moves on, and leases may expire."""
MOST_AT_ONCE = 256
"""Expiries that wait for their outcomes."""
_LATER = 1.0
"""So many seconds of lease time pass before what found no room is asked for again."""


class Renewal(NamedTuple):
    """The answer to a keep-alive."""

    result: Result
    """COMMITTED: it was renewed."""
    ttl: int = 0
    """The lease has so many seconds from now on."""


class Told(NamedTuple):
    """What is told of a lease."""

    lease: Lease
    left: float
    """Seconds until it expires."""
    keys: list[bytes]


class Lessor:
    """The leases of one service. It belongs to the event loop."""

    def __init__(self, service: Service, clock: Callable[[], float], tally: Tally | None = None) -> None:
        """Begin when ``service`` has: every lease has what remains of it. ``clock``: monotonic seconds."""
        self._tally = tally or Tally()
        self._service, self._clock = service, clock
        self._time = LeaseTime(clock())
        self._deadlines = Deadlines(service.index.leases.all())
        self._expiring = 0

    @property
    def _now(self) -> float:
        return self._time.now(self._clock())

    async def look(self) -> None:
        """Move lease time on, if a check says "unsealed", and expire what is due."""
        if not len(self._deadlines):
            self._time.checked(self._clock())
            return
        if await self._service.fence() is None:
            return
        now = self._time.checked(self._clock())
        checkpoints: list[tuple[Held, int]] = []
        for held in self._deadlines.due(now, MOST_AT_ONCE - self._expiring):
            if held.deadline <= now:
                self._expire(held)
                continue
            left, stored = ceil(held.deadline - now), self._service.index.leases.get(held.lease)
            if stored is not None and left < stored.remaining:
                checkpoints.append((held, left))
            else:
                self._deadlines.noted(held, now)
                self._deadlines.again(held)
        if checkpoints:
            self._checkpoint(checkpoints)

    async def grant(self, lease: int, ttl: int) -> tuple[Outcome, int]:
        """Return the outcome of a grant, and the epoch."""
        return await self._submit(Grant(lease, ttl), partial(self._granted, lease, ttl))

    def _granted(self, lease: int, ttl: int, outcome: Outcome) -> None:
        if outcome.result is Result.LEASE_GRANTED and outcome.version is not None:
            self._deadlines.begin(lease, outcome.version, ttl, self._now)

    async def revoke(self, lease: int) -> tuple[Outcome, int]:
        """Return the outcome of a revoke, and the epoch."""
        return await self._submit(Revoke(lease), partial(self._revoked, lease))

    def _revoked(self, lease: int, outcome: Outcome) -> None:
        if outcome.result is Result.LEASE_REVOKED and outcome.version is not None:
            self._deadlines.end(lease, outcome.version)

    async def keep_alive(self, lease: int) -> Renewal:
        """Renew a lease, after a check that began after this call."""
        while await self._service.fence() is not None:
            held = self._deadlines.get(lease)
            if held is None:
                return Renewal(Result.LEASE_NOT_FOUND)
            if held.pending is not None:  # the log decides
                await asyncio.wait((held.pending,))
                continue
            stored = self._service.index.leases.get(lease)
            if stored is not None and stored.remaining == held.ttl:
                self._deadlines.renew(held, self._now)
                return Renewal(Result.COMMITTED, held.ttl)
            result = await self._note_whole(held)
            if result is Result.CHECKPOINTED:
                return Renewal(Result.COMMITTED, held.ttl)
            if result in {Result.BUSY, Result.NO_SPACE}:
                return Renewal(result)
        return Renewal(Result.NOT_MAIN)

    async def _note_whole(self, held: Held) -> Result:
        """Have the log give a lease its whole time, and renew it when that is committed."""
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def told(result: Result) -> None:
            if not waiter.done():
                waiter.set_result(result)

        self._checkpoint([(held, held.ttl)], told)
        return await waiter

    def told(self, lease: int) -> Told | None:
        """Return what is to be told of a lease, None if there is none; to be called behind a check."""
        stored, held = self._service.index.leases.get(lease), self._deadlines.get(lease)
        if stored is None or held is None:
            return None
        return Told(stored, max(0.0, held.deadline - self._now), sorted(self._service.index.leases.keys(lease)))

    def ids(self) -> list[int]:
        """Return the ids of all leases, those that end first in front; to be called behind a check."""
        leases = [held for lease, _ in self._service.index.leases.all() if (held := self._deadlines.get(lease))]
        return [held.lease for held in sorted(leases, key=lambda held: held.deadline)]

    def _expire(self, held: Held) -> None:
        pending = held.pending = asyncio.get_running_loop().create_future()
        self._expiring += 1

        def written(outcome: Outcome, epoch: int) -> None:
            del epoch
            self._expiring -= 1
            ended = outcome.result in {Result.LEASE_REVOKED, Result.LEASE_NOT_FOUND}
            self._tally.expiries += outcome.result is Result.LEASE_REVOKED
            if ended:
                self._deadlines.end(held.lease, held.granted)
            self._settle(held, pending, done=ended)

        self._service.submit(Revoke(held.lease, held.granted), written)

    def _checkpoint(self, rows: list[tuple[Held, int]], told: Callable[[Result], None] | None = None) -> None:
        """Note what remains of leases. ``told``: it is their whole time, for a renewal that gets the result."""
        pending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for held, _ in rows:
            held.pending = pending

        def written(outcome: Outcome, epoch: int) -> None:
            del epoch
            noted = outcome.result is Result.CHECKPOINTED
            for held, _ in rows:
                if noted and told is not None:
                    self._deadlines.renew(held, self._now)
                elif noted:
                    self._deadlines.noted(held, self._now)
                self._settle(held, pending, done=noted or told is not None)
            if told is not None:
                told(outcome.result)

        self._service.submit(Checkpoint(tuple((held.lease, held.granted, left) for held, left in rows)), written)

    def _settle(self, held: Held, pending: asyncio.Future[None], *, done: bool) -> None:
        """The record about a lease that was on its way has its outcome; if that is nothing, it is asked for later."""
        held.pending = None
        if not done:
            self._deadlines.put_off(held, _LATER, self._now)
        self._deadlines.again(held)
        if not pending.done():
            pending.set_result(None)

    async def _submit(self, request: LeaseRequest, note: Callable[[Outcome], None]) -> tuple[Outcome, int]:
        """Return outcome and epoch of a request; ``note`` gets the outcome, whoever still waits for it."""
        waiter: asyncio.Future[tuple[Outcome, int]] = asyncio.get_running_loop().create_future()

        def written(outcome: Outcome, epoch: int) -> None:
            note(outcome)
            if not waiter.done():
                waiter.set_result((outcome, epoch))

        self._service.submit(request, written)
        return await waiter
