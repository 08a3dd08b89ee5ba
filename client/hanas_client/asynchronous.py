"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from hanas_client import calls, overseer, transport
from hanas_client.base import BaseClient, as_method
from hanas_client.calls import Reply, TypedCall
from hanas_client.documents import Entry
from hanas_client.plan import Failure, Send, StepResult

P = ParamSpec("P")
T = TypeVar("T")


def _method(call: Callable[P, TypedCall[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await client._perform(call(*arguments, **options))

    return as_method(method, call)


class AsyncClient(BaseClient[httpx.AsyncClient]):
    """`Client` with coroutines, for one event loop; use it as an asynchronous context manager or `close` it."""

    put = _method(calls.put)
    get = _method(calls.get)
    delete = _method(calls.delete)
    page = _method(calls.page)
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

    async def list(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> AsyncIterator[Entry]:
        """Yield at most `limit` keys with `prefix` and after `after`, in order, page by page."""
        while limit is None or limit > 0:
            page = await self.page(prefix, after, calls.page_limit(limit))
            for entry in page.keys[:limit]:
                yield entry
            if page.next is None:
                return
            after, limit = page.next, None if limit is None else limit - len(page.keys)

    def _connections(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._trust.context, trust_env=False, limits=transport.LIMITS)

    async def _perform(self, typed: TypedCall[T]) -> T:
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

    async def _send(self, step: Send) -> Reply | Failure:
        try:
            async with asyncio.timeout(step.whole_seconds):
                async with contextlib.aclosing(await self._http.send(transport.request(step), stream=True)) as response:
                    return await transport.receive_later(step, response)
        except TimeoutError:
            return Failure("no whole answer within the time-out", sent=True)
        except transport.FAILURES as error:
            return transport.failure(error)
