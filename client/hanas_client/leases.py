"""Leases: the calls, and a lease that is kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import msgspec

from hanas_client.calls import Call, Reply, TypedCall, expect, is_missing
from hanas_client.documents import LenientDocument, decode
from hanas_client.errors import HanasError, LeaseLost, NoLease, Refused
from hanas_client.lock_guard import clock

PATH = "/v1/leases"
DEFAULT_TTL = 30
MOST_ID = (1 << 63) - 1
_CONFLICT = 409
_RETRY_SHARE = 1 / 20
"""Of the time to live: the least time between two keep-alives."""
_REVOKE_SECONDS = 1.0
"""At least so long it is tried to revoke a lease at the end of its block."""

T = TypeVar("T")


class Granted(LenientDocument, frozen=True):
    """A lease that was granted or renewed, for `ttl` seconds."""

    id: int
    ttl: int


class LeaseState(LenientDocument, frozen=True):
    """A lease, the seconds that remain of it, and its keys."""

    id: int
    ttl: int
    remaining: int = 0
    keys: tuple[str, ...] = ()


def grant_lease(ttl: int, lease: int | None = None) -> TypedCall[Granted]:
    """Begin a lease of `ttl` seconds, with an id of one's own if `lease` is given. Raises Refused: 409 if it exists."""
    body = msgspec.json.encode({"ttl": ttl} if lease is None else {"ttl": ttl, "id": lease})
    call = Call("POST", PATH, {"content-type": "application/json"}, body, writes=True)

    def read(reply: Reply) -> Granted:
        expect(reply, PATH, 200, 201)
        return decode(reply.body, Granted, "the server")

    return TypedCall(call, read)


def keep_alive(lease: int) -> TypedCall[Granted]:
    """Renew a lease: it lives for its `ttl` from the time of this call on. Raises NoLease."""
    call = Call("POST", f"{PATH}/{lease:d}/keepalive")
    return TypedCall(call, lambda reply: decode(_body(reply, lease), Granted, "the server"))


def revoke_lease(lease: int) -> TypedCall[None]:
    """End a lease and delete its keys. Raises NoLease."""

    def read(reply: Reply) -> None:
        _body(reply, lease)

    return TypedCall(Call("DELETE", f"{PATH}/{lease:d}", writes=True), read)


def show_lease(lease: int) -> TypedCall[LeaseState]:
    """Return a lease. Raises NoLease."""
    call = Call("GET", f"{PATH}/{lease:d}", {"accept": "application/json"})
    return TypedCall(call, lambda reply: decode(_body(reply, lease), LeaseState, "the server"))


def _body(reply: Reply, lease: int) -> bytes:
    if is_missing(reply):
        raise NoLease(lease)
    expect(reply, PATH, 200, 204)
    return reply.body


class Performer(Protocol):
    """Who carries out calls: the asyncio client."""

    async def perform(self, typed: TypedCall[T]) -> T:
        """Carry out a call."""


class Lease:
    """A lease that this process keeps alive while the block of the context manager runs; then it is revoked.

    A keep-alive is sent every third of the `ttl`. The lease is **lost** when `ttl` seconds have passed on the clock of
    this process since the last keep-alive that was answered was *sent*, or when the cluster says that it is gone. It
    stays lost. Up to then no key of it is deleted. Nothing interrupts the block: ask `lost`, call `check` before each
    step that depends on the lease, or wait with `wait_lost`.
    """

    def __init__(self, client: Performer, ttl: int = DEFAULT_TTL, lease: int | None = None) -> None:
        """Grant a lease of `ttl` seconds at the beginning of the block; `lease`: its id, a random one by default."""
        self._client = client
        self._chosen = lease
        self.id = lease or secrets.randbelow(MOST_ID) + 1
        self.ttl = ttl
        self._until = 0.0
        self._ended = False
        self._gone = asyncio.Event()
        """The cluster has ended it."""
        self._keeping: asyncio.Task[None] | None = None
        self.on_renewal: Callable[[float], None] | None = None
        """Called with the time of `clock` up to which the lease is certain, after each keep-alive."""

    @property
    def until(self) -> float:
        """The time of `clock` up to which the lease is certain."""
        return self._until

    @property
    def remaining(self) -> float:
        """The seconds for which the lease is certain; 0 if it is lost."""
        return 0.0 if self.lost else max(self._until - clock(), 0.0)

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended."""
        if self._gone.is_set() or clock() >= self._until:
            self._ended = True
        return self._ended

    def check(self) -> None:
        """Raise LeaseLost if the lease may have ended."""
        if self.lost:
            raise LeaseLost(f"the lease {self.id} is lost: whatever depends on it may be another one's now")

    async def wait_lost(self) -> None:
        """Return when the lease is lost."""
        while not self.lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until - clock()):
                    await self._gone.wait()

    async def while_kept(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`, which is cancelled when the lease is lost. Raises LeaseLost then."""
        task, losing = asyncio.create_task(work), asyncio.create_task(self.wait_lost())
        try:
            await asyncio.wait({task, losing}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            for each in (task, losing):
                each.cancel()
            await asyncio.gather(task, losing, return_exceptions=True)

    async def keep_alive(self) -> None:
        """Renew the lease now. Raises LeaseLost."""
        self.check()
        sent = clock()
        try:
            async with asyncio.timeout(self._until - sent):
                renewed = await self._client.perform(keep_alive(self.id))
        except TimeoutError:
            self.check()
            raise
        except NoLease:
            self._gone.set()
            self.check()
        else:
            self.check()  # an answer that comes too late changes nothing: it stays lost
            self._renew(sent, renewed.ttl)

    async def revoke(self) -> None:
        """End the lease and delete its keys. Raises what a call raises; a lease that is gone is no error."""
        await self._stop()
        self._gone.set()
        with contextlib.suppress(NoLease):
            await self._client.perform(revoke_lease(self.id))

    async def __aenter__(self) -> Self:
        sent = clock()
        try:
            granted = await self._client.perform(grant_lease(self.ttl, self.id))
        except Refused as refusal:
            if refusal.status != _CONFLICT or self._chosen is not None:
                raise
            # Nobody else has this random id: an earlier attempt was carried out, and its answer was lost.
            sent = clock()
            granted = await self._client.perform(keep_alive(self.id))
        self._renew(sent, granted.ttl)
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(HanasError, TimeoutError):  # it ends by itself then
            async with asyncio.timeout(max(self.remaining, _REVOKE_SECONDS)):
                await self.revoke()

    async def _stop(self) -> None:
        task, self._keeping = self._keeping, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _renew(self, sent: float, ttl: int) -> None:
        self.ttl, self._until = ttl, sent + ttl
        if self.on_renewal is not None:
            self.on_renewal(self._until)

    async def _keep(self) -> None:
        while not self.lost:
            await asyncio.sleep(max(self._until - self.ttl * 2 / 3 - clock(), self.ttl * _RETRY_SHARE))
            with contextlib.suppress(HanasError, TimeoutError):
                await self.keep_alive()
