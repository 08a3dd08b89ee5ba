"""Locks and elections, as etcd's clients make them: keys with leases, in the order of their creation.

Who wants a lock or to lead creates the key `NAME/LEASE`, with its lease's id in hexadecimal, and waits until no key
with this prefix was created earlier. The wait is for the key created just before, so that an end wakes one only.

The create revision of the key is the **fencing token**: it grows from holder to holder. A lock alone does not keep a
holder that was paused from acting on when its lease is over; whoever is acted upon can, by refusing what comes with a
lower token than it has seen. For keys of this store a transaction with the condition `held.holds` does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from hanas_client import transactions as tx
from hanas_client.errors import Compacted, HanasError, LeaseLost, NotAcquired
from hanas_client.leases import Lease, Performer
from hanas_client.transactions import Condition, KeyState, TxnResult
from hanas_client.watches import Watch
from hanas_client.watching import Changes

DEFAULT_TTL = 15


class Watcher(Performer, Protocol):
    """Who carries out calls and watches: the asyncio client."""

    def watch(
        self,
        prefix: str = "",
        *,
        key: str | None = None,
        start: int | None = None,
        previous: bool = False,
        progress: bool = False,
    ) -> Watch:
        """Watch keys."""  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """The key of a candidate. `revision` created it: the fencing token."""

    key: str
    revision: int

    @property
    def holds(self) -> Condition:
        """The condition of a transaction that the key is still that one."""
        return tx.compare(self.key, "create", "=", self.revision)


class Queue:
    """The keys below `NAME/`, in the order of their creation."""

    def __init__(self, client: Watcher, name: str) -> None:
        """Be the queue of ``name``."""
        if not name:
            raise ValueError("a lock or an election needs a name")
        self._client = client
        self.prefix = f"{name}/"

    def key(self, lease: Lease) -> str:
        """Return the key of a lease."""
        return f"{self.prefix}{lease.id:x}"

    async def join(self, lease: Lease, value: bytes) -> Place:
        """Create the key of `lease`, or give the one that is there this value. Raises NoLease, LeaseLost."""
        key, put = self.key(lease), tx.put(self.key(lease), value, lease=lease.id)
        created = await self._client.perform(tx.txn([tx.missing(key)], [put], [tx.get(key), put]))
        if created.succeeded:
            return Place(key, created.revision)
        read = created if created.results else await self._client.perform(tx.txn((), [tx.get(key)]))
        rows = read.results[0].keys
        if not rows:
            raise LeaseLost(f"{key} is gone: the lease {lease.id} has ended")
        return Place(key, rows[0].create)

    async def wait(self, place: Place) -> int:
        """Wait until no key was created before this one; return the revision of that. Raises LeaseLost."""
        while True:
            looked = await self._look(place)
            if looked.succeeded:
                return looked.revision
            own, others = (result.keys for result in looked.results)
            if not any(row.create == place.revision for row in own):
                raise LeaseLost(f"{place.key} is gone: its lease has ended, or somebody deleted it")
            earlier = [row for row in others if row.create < place.revision]
            await self._deletion(max(earlier, key=lambda row: row.create, default=None), looked.revision)

    async def leave(self, lease: Lease) -> None:
        """Delete the key of a lease if it is there."""
        key = self.key(lease)
        await self._client.perform(tx.txn([tx.compare(key, "lease", "=", lease.id)], [tx.delete(key)]))

    async def is_first(self, place: Place) -> bool:
        """Return whether no key was created before this one, and it is there."""
        return (await self._look(place)).succeeded

    async def read(self) -> tuple[dict[str, KeyState], int]:
        """Return all keys, and the revision as of which they were read. Raises HanasError for more than 1000."""
        read = await self._client.perform(tx.txn((), [tx.get(prefix=self.prefix, limit=tx.MOST_KEYS)]))
        if read.results[0].more:
            raise HanasError(f"{self.prefix} has more than {tx.MOST_KEYS} candidates")
        return {row.key: row for row in read.results[0].keys}, read.revision

    async def _look(self, place: Place) -> TxnResult:
        first = tx.compare(None, "create", ">", place.revision - 1, prefix=self.prefix)
        reads = [tx.get(place.key), tx.get(prefix=self.prefix, limit=tx.MOST_KEYS)]
        while True:
            looked = await self._client.perform(tx.txn([place.holds, first], (), reads))
            if not looked.repeated:
                return looked

    async def _deletion(self, row: KeyState | None, revision: int) -> None:
        """Wait until the key of `row` is deleted, as it is after `revision`; of any key if there is none."""
        with contextlib.suppress(Compacted):  # then it may be: look again
            async with self._client.watch(
                self.prefix, key=None if row is None else row.key, start=revision + 1
            ) as watch:
                async for changes in watch:
                    if any(change.delete is not None for change in changes.changes):
                        return


class Candidacy:
    """A key with a lease of its own, or with one that is given: what a lock and an election have in common."""

    def __init__(self, client: Watcher, name: str, ttl: int, lease: Lease | None) -> None:
        self._queue = Queue(client, name)
        self._own = Lease(client, ttl) if lease is None else None
        self.lease = self._own or lease or Lease(client, ttl)
        self._client = client
        self._place: Place | None = None

    @property
    def key(self) -> str:
        """The key in the store."""
        return self._placed.key

    @property
    def revision(self) -> int:
        """The fencing token: the revision that created the key."""
        return self._placed.revision

    @property
    def holds(self) -> Condition:
        """The condition of a transaction that this is still the holder: it fails once the key is gone."""
        return self._placed.holds

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended; then another one may be the holder."""
        return self.lease.lost

    def check(self) -> None:
        """Raise LeaseLost if the lease may have ended."""
        self.lease.check()

    async def wait_lost(self) -> None:
        """Return when the lease is lost."""
        await self.lease.wait_lost()

    @property
    def _placed(self) -> Place:
        if self._place is None:
            raise NotAcquired("this needs to be acquired first")
        return self._place

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def _enter(self, value: bytes, timeout: float | None) -> None:
        """Create the key and wait for its turn. Raises NotAcquired, LeaseLost; the key is deleted then."""
        try:
            async with asyncio.timeout(timeout or None):
                self._place = await self._queue.join(self.lease, value)
                if timeout != 0:
                    await self.lease.while_kept(self._queue.wait(self._place))
                    self.check()
                    return
            if not await self._queue.is_first(self._place):
                raise TimeoutError
        except TimeoutError:
            await self._leave()
            raise NotAcquired(f"{self._queue.prefix[:-1]} is held by another one") from None
        except BaseException:
            await self._leave()
            raise

    async def _leave(self) -> None:
        self._place = None
        if not self.lost:
            with contextlib.suppress(HanasError, TimeoutError):
                async with asyncio.timeout(self.lease.remaining):
                    await self._queue.leave(self.lease)


class Lock(Candidacy):
    """A lock, held while the block of the context manager runs.

    `revision` is its fencing token. The block goes on when the lease is lost: use `check`, `wait_lost` or `lost`.
    """

    def __init__(
        self,
        client: Watcher,
        name: str,
        ttl: int = DEFAULT_TTL,
        *,
        value: bytes = b"",
        timeout: float | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Wait for the lock at the beginning of the block, for `timeout` seconds at most; 0: try once.

        The lock has a lease of `ttl` seconds of its own, or takes `lease`. `value` is what its key holds.
        """  # fmt: skip
        super().__init__(client, name, ttl, lease)
        self._value, self._timeout = value, timeout

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            if self._own is not None:
                await stack.enter_async_context(self._own)
            await self._enter(self._value, self._timeout)
            stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is None:
            await self._leave()
        else:
            self._place = None
            await self._own.__aexit__(kind, error, trace)


class Election(Candidacy):
    """An election. The block of the context manager has a lease; its end resigns.

    `campaign` waits until this candidate leads. `revision` is its fencing token.
    """

    def __init__(self, client: Watcher, name: str, ttl: int = DEFAULT_TTL, *, lease: Lease | None = None) -> None:
        """Take part in the election of ``name``, with a lease of `ttl` seconds of its own, or with `lease`."""
        super().__init__(client, name, ttl, lease)

    async def __aenter__(self) -> Self:
        if self._own is not None:
            await self._own.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
        if self._own is not None:
            await self._own.__aexit__(kind, error, trace)

    async def campaign(self, value: bytes, timeout: float | None = None) -> None:
        """Wait until this candidate leads, with `value` to tell. Raises NotAcquired after `timeout`, LeaseLost."""
        await self._enter(value, timeout)

    async def proclaim(self, value: bytes) -> None:
        """Announce another value as the leader. Raises LeaseLost if this candidate leads no more."""
        place = self._placed
        done = await self._client.perform(tx.txn([place.holds], [tx.put(place.key, value, lease=self.lease.id)]))
        if not done.succeeded:
            raise LeaseLost(f"{place.key} is gone: this candidate leads no more")

    async def resign(self) -> None:
        """Let another one lead. The lease goes on."""
        self._place = None
        await self._queue.leave(self.lease)

    async def leader(self) -> KeyState | None:
        """Return the key and the value of the leader, None without one. Needs no lease."""
        candidates, _ = await self._queue.read()
        return _first(candidates)

    async def observe(self) -> AsyncGenerator[KeyState, None]:
        """Yield the leader, and each change of it or of its value, in order. Needs no lease."""
        told: tuple[str, int] | None = None
        while True:
            candidates, revision = await self._queue.read()
            with contextlib.suppress(Compacted):  # too slow: go on from the present leader
                async with self._client.watch(self._queue.prefix, start=revision + 1) as watch:
                    while True:
                        leader = _first(candidates)
                        if leader is not None and (leader.key, leader.mod) != told:
                            told = (leader.key, leader.mod)
                            yield leader
                        _apply(candidates, await anext(watch))


def _first(candidates: dict[str, KeyState]) -> KeyState | None:
    return min(candidates.values(), key=lambda row: row.create, default=None)


def _apply(candidates: dict[str, KeyState], changes: Changes) -> None:
    for change in changes.changes:
        if change.put is not None:
            candidates[change.key] = change.put
        else:
            candidates.pop(change.key, None)
