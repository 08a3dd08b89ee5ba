"""Watches, leases, locks and elections of the blocking client: those of the asyncio client, on another thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Generic, Protocol, Self, TypeVar

from hanas_client import leases, locks
from hanas_client.background import Background
from hanas_client.transactions import Condition, KeyState
from hanas_client.watches import Watch
from hanas_client.watching import Changes


class _Losable(Protocol):
    """A lease, or what has one."""

    @property
    def lost(self) -> bool: ...
    def check(self) -> None: ...
    async def wait_lost(self) -> None: ...
    async def __aenter__(self) -> object: ...
    async def __aexit__(self, kind: None, error: None, trace: None, /) -> None: ...


H = TypeVar("H", bound=_Losable)
C = TypeVar("C", bound=locks.Candidacy)


class BlockingWatch:
    """`Watch`, for a blocking program."""

    def __init__(self, background: Background, watch: Watch) -> None:
        self._background, self._watch = background, watch

    @property
    def revision(self) -> int | None:
        """The revision up to which everything was returned; None before the watch is open."""
        return self._watch.revision

    def __enter__(self) -> Self:
        self._background.run(self._watch.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Changes:
        return self._background.run(self._watch.__anext__())

    def close(self) -> None:
        """End the stream."""
        self._background.run(self._watch.close())


class _Held(Generic[H]):
    """What is held while the block of a context manager runs, and may be lost."""

    def __init__(self, background: Background, held: H) -> None:
        self._background, self._held = background, held

    def __enter__(self) -> Self:
        self._background.run(self._held.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._background.run(self._held.__aexit__(None, None, None))

    @property
    def lost(self) -> bool:
        """Whether the lease may have ended."""
        return self._held.lost

    def check(self) -> None:
        """Raise LeaseLost if the lease may have ended."""
        self._held.check()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait for at most `timeout` seconds until the lease is lost; return whether it is."""
        with contextlib.suppress(TimeoutError):
            self._background.run(asyncio.wait_for(self._held.wait_lost(), timeout))
        return self.lost


class BlockingLease(_Held[leases.Lease]):
    """`Lease`, for a blocking program: a thread of the client keeps it alive."""

    @property
    def id(self) -> int:
        """The id, for `put` and transactions."""
        return self._held.id

    @property
    def ttl(self) -> int:
        """Seconds to live."""
        return self._held.ttl

    @property
    def remaining(self) -> float:
        """The seconds for which the lease is certain; 0 if it is lost."""
        return self._held.remaining

    @property
    def asynchronous(self) -> leases.Lease:
        """The lease, as the thread of the client has it."""
        return self._held


class _BlockingCandidacy(_Held[C]):
    """A candidate for a lock or an election."""

    @property
    def key(self) -> str:
        """The key in the store."""
        return self._held.key

    @property
    def revision(self) -> int:
        """The fencing token: the revision that created the key."""
        return self._held.revision

    @property
    def holds(self) -> Condition:
        """The condition of a transaction that this is still the holder: it fails once the key is gone."""
        return self._held.holds


class BlockingLock(_BlockingCandidacy[locks.Lock]):
    """`Lock`, for a blocking program."""


class BlockingElection(_BlockingCandidacy[locks.Election]):
    """`Election`, for a blocking program."""

    def campaign(self, value: bytes, timeout: float | None = None) -> None:
        """Wait until this candidate leads, with `value` to tell. Raises NotAcquired after `timeout`, LeaseLost."""
        self._background.run(self._held.campaign(value, timeout))

    def proclaim(self, value: bytes) -> None:
        """Announce another value as the leader. Raises LeaseLost if this candidate leads no more."""
        self._background.run(self._held.proclaim(value))

    def resign(self) -> None:
        """Let another one lead. The lease goes on."""
        self._background.run(self._held.resign())

    def leader(self) -> KeyState | None:
        """Return the key and the value of the leader, None without one. Needs no lease."""
        return self._background.run(self._held.leader())

    def observe(self) -> Iterator[KeyState]:
        """Yield the leader, and each change of it or of its value, in order. Needs no lease."""
        leaders = self._held.observe()
        try:
            while True:
                yield self._background.run(_following(leaders))
        finally:
            self._background.run(_closing(leaders))


async def _following(leaders: AsyncGenerator[KeyState, None]) -> KeyState:
    return await anext(leaders)


async def _closing(leaders: AsyncGenerator[KeyState, None]) -> None:
    await leaders.aclose()
