"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from hanas_client import calls, leases, locks, overseer, transactions, transport
from hanas_client.base import BaseClient, as_method
from hanas_client.calls import Call, Reply, TypedCall
from hanas_client.documents import Entry
from hanas_client.leases import Lease
from hanas_client.locks import Election, Lock
from hanas_client.plan import Failure, Send, StepResult
from hanas_client.watches import Watch
from hanas_client.watching import Cursor

P = ParamSpec("P")
T = TypeVar("T")


def _method(call: Callable[P, TypedCall[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await client.perform(call(*arguments, **options))

    return as_method(method, call)


_LASTING_SECONDS = 3600.0
"""For a stream, whose reader has a time limit of its own."""


def _whole(reply: Reply) -> Reply:
    return reply


class AsyncClient(BaseClient[httpx.AsyncClient]):
    """`Client` with coroutines, for one event loop; use it as an asynchronous context manager or `close` it."""

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def list(
        self, prefix: str = "", after: str | None = None, limit: int | None = None, revision: int | None = None
    ) -> AsyncIterator[Entry]:
        """Yield at most `limit` keys with `prefix` and after `after`, in order, page by page.

        With `revision`, as they were then.
        """
        while limit is None or limit > 0:
            page = await self.page(prefix, after, calls.page_limit(limit), revision)
            for entry in page.keys[:limit]:
                yield entry
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
    ) -> Watch:
        """Return the changes of keys with `prefix`, or of one `key`, from revision `start` on; from now on by default.

        `previous`: with what the keys held before. `progress`: the watch also yields revisions without changes, up to
        which everything was told, every few seconds.
        """
        return Watch(
            Cursor(prefix, key, None if start is None else start - 1, previous), self._stream, progress=progress
        )

    def lease(self, ttl: int = leases.DEFAULT_TTL, lease: int | None = None) -> Lease:
        """Return a context manager that holds a lease of `ttl` seconds; `lease`: its id, a random one by default."""
        return Lease(self, ttl, lease)

    def lock(
        self,
        name: str,
        ttl: int = locks.DEFAULT_TTL,
        *,
        value: bytes = b"",
        timeout: float | None = None,
        lease: Lease | None = None,
    ) -> Lock:
        """Return a context manager that waits for a lock and holds it; `timeout` in seconds, 0: try once.

        It has a lease of `ttl` seconds of its own, or takes `lease`. Raises NotAcquired, LeaseLost.
        """
        return Lock(self, name, ttl, value=value, timeout=timeout, lease=lease)

    def election(self, name: str, ttl: int = locks.DEFAULT_TTL, *, lease: Lease | None = None) -> Election:
        """Return a context manager with which to take part in an election; see `lock`."""
        return Election(self, name, ttl, lease=lease)

    def _connections(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._trust.context, trust_env=False, limits=transport.LIMITS)

    async def perform(self, typed: TypedCall[T]) -> T:
        """Carry out a call."""
        plan = self._plan(typed)
        try:
            step = next(plan)
            while True:
                outcome = None
                if isinstance(step, Send):
                    outcome = await self._send(step)
                else:
                    await asyncio.sleep(step.seconds)
                step = plan.send(StepResult(time.monotonic(), outcome))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _stream(self, call: Call) -> httpx.Response:
        """Return the answer to `call` while its body is still to come; close it. Raises what another answer means."""
        opened: httpx.Response | None = None
        plan = self._plan(TypedCall(call, _whole))
        try:
            step = next(plan)
            while True:
                outcome: Reply | Failure | None = None
                if opened is not None:  # its head was not accepted
                    await opened.aclose()
                    opened = None
                if not isinstance(step, Send):
                    await asyncio.sleep(step.seconds)
                elif not step.url.endswith(call.target):
                    outcome = await self._send(step)
                else:
                    head = await self._head(step)
                    if isinstance(head, httpx.Response):
                        opened = head
                        outcome = Reply(head.status_code, dict(head.headers))
                    else:
                        outcome = head
                step = plan.send(StepResult(time.monotonic(), outcome))
        except StopIteration as end:
            if opened is None:
                raise calls.failure_of(end.value, call.target) from None
            response, opened = opened, None
            return response
        finally:
            if opened is not None:
                await opened.aclose()

    async def _head(self, step: Send) -> httpx.Response | Reply | Failure:
        """Return the answer with its body to come if its status is 200, else all of it."""
        lasting = dataclasses.replace(step, read_seconds=_LASTING_SECONDS)
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(step.connect_seconds + step.read_seconds):
                response = await self._http.send(transport.request(lasting), stream=True)
                if response.status_code != 200:
                    async with contextlib.aclosing(response):
                        return await transport.receive_later(step, response)
        except TimeoutError:
            return Failure("no answer within the time-out", sent=True)
        except transport.FAILURES as error:
            return transport.failure(error)
        return response

    async def _send(self, step: Send) -> Reply | Failure:
        try:
            async with asyncio.timeout(step.whole_seconds):
                async with contextlib.aclosing(await self._http.send(transport.request(step), stream=True)) as response:
                    return await transport.receive_later(step, response)
        except TimeoutError:
            return Failure("no whole answer within the time-out", sent=True)
        except transport.FAILURES as error:
            return transport.failure(error)
