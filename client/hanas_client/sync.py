"""The blocking client."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from hanas_client import calls, leases, locks, overseer, transactions, transport
from hanas_client.asynchronous import AsyncClient
from hanas_client.background import Background
from hanas_client.base import BaseClient, as_method
from hanas_client.blocking import BlockingElection, BlockingLease, BlockingLock, BlockingWatch
from hanas_client.calls import Reply, TypedCall
from hanas_client.documents import Entry
from hanas_client.plan import Failure, Send, StepResult

P = ParamSpec("P")
T = TypeVar("T")
_STARTING = threading.Lock()


def _method(call: Callable[P, TypedCall[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *arguments: P.args, **options: P.kwargs) -> T:
        return client.perform(call(*arguments, **options))

    return as_method(method, call)


class Client(BaseClient[httpx.Client]):
    """A client of one cluster. It may be shared by threads; use it as a context manager or `close` it.

    `overseers` and `servers` (workers) are base URLs, comma-separated or several; `settings.addresses` has the
    defaults. Every method raises a `HanasError`; `Unavailable` after `policy.deadline` seconds. The client repeats
    a write over takeovers with one idempotency key, so it happens at most once.
    """

    _background: Background | None = None

    put = _method(calls.put)
    get = _method(calls.get)
    delete = _method(calls.delete)
    page = _method(calls.page)
    txn = _method(transactions.txn)
    raw_txn = _method(transactions.raw_txn)
    grant_lease = _method(leases.grant_lease)
    keep_alive = _method(leases.keep_alive)
    revoke_lease = _method(leases.revoke_lease)
    show_lease = _method(leases.show_lease)
    status = _method(calls.status)
    switch_over = _method(calls.switch_over)
    serving = _method(calls.serving)
    cluster = _method(overseer.cluster)
    takeovers = _method(overseer.takeovers)
    alerts = _method(overseer.alerts)
    forget = _method(overseer.forget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Leases that are still held are kept alive no more."""
        with _STARTING:
            background, self._background = self._background, None
        if background is not None:
            background.close()
        self._http.close()

    def list(
        self, prefix: str = "", after: str | None = None, limit: int | None = None, revision: int | None = None
    ) -> Iterator[Entry]:
        """Yield at most `limit` keys with `prefix` and after `after`, in order, page by page.

        With `revision`, as they were then.
        """
        while limit is None or limit > 0:
            page = self.page(prefix, after, calls.page_limit(limit), revision)
            yield from page.keys[:limit]
            if page.next is None:
                return
            after, limit = page.next, None if limit is None else limit - len(page.keys)

    def watch(
        self,
        prefix: str = "",
        *,
        key: str | None = None,
        start: int | None = None,
        previous: bool = False,
        progress: bool = False,
    ) -> BlockingWatch:
        """Return the changes of keys with `prefix`, or of one `key`, from revision `start` on; from now on by default.

        `previous`: with what the keys held before. `progress`: the watch also yields revisions without changes, up to
        which everything was told, every few seconds.
        """
        aside = self._aside()
        watch = aside.client.watch(prefix, key=key, start=start, previous=previous, progress=progress)
        return BlockingWatch(aside, watch)

    def lease(self, ttl: int = leases.DEFAULT_TTL, lease: int | None = None) -> BlockingLease:
        """Return a context manager that holds a lease of `ttl` seconds; `lease`: its id, a random one by default."""
        aside = self._aside()
        return BlockingLease(aside, aside.client.lease(ttl, lease))

    def lock(
        self,
        name: str,
        ttl: int = locks.DEFAULT_TTL,
        *,
        value: bytes = b"",
        timeout: float | None = None,
        lease: BlockingLease | None = None,
    ) -> BlockingLock:
        """Return a context manager that waits for a lock and holds it; `timeout` in seconds, 0: try once.

        It has a lease of `ttl` seconds of its own, or takes `lease`. Raises NotAcquired, LeaseLost.
        """
        aside, taken = self._aside(), None if lease is None else lease.asynchronous
        return BlockingLock(aside, aside.client.lock(name, ttl, value=value, timeout=timeout, lease=taken))

    def election(
        self, name: str, ttl: int = locks.DEFAULT_TTL, *, lease: BlockingLease | None = None
    ) -> BlockingElection:
        """Return a context manager with which to take part in an election; see `lock`."""
        aside, taken = self._aside(), None if lease is None else lease.asynchronous
        return BlockingElection(aside, aside.client.election(name, ttl, lease=taken))

    def _aside(self) -> Background:
        """Return the thread that has watches, leases, locks and elections."""
        with _STARTING:
            if self._background is None:
                self._background = Background(AsyncClient.beside(self))
            return self._background

    def _connections(self) -> httpx.Client:
        return httpx.Client(verify=self._trust.context, trust_env=False, limits=transport.LIMITS)

    def perform(self, typed: TypedCall[T]) -> T:
        """Carry out a call."""
        plan = self._plan(typed)
        try:
            step = next(plan)
            while True:
                outcome = None
                if isinstance(step, Send):
                    outcome = self._send(step)
                else:
                    time.sleep(step.seconds)
                step = plan.send(StepResult(time.monotonic(), outcome))
        except StopIteration as end:
            result: T = end.value
            return result

    def _send(self, step: Send) -> Reply | Failure:
        try:
            with contextlib.closing(self._http.send(transport.request(step), stream=True)) as response:
                return transport.receive(step, response)
        except transport.FAILURES as error:
            return transport.failure(error)
