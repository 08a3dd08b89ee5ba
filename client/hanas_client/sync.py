"""The blocking client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from hanas_client import calls, overseer, transport
from hanas_client.base import BaseClient, as_method
from hanas_client.calls import Reply, TypedCall
from hanas_client.documents import Entry
from hanas_client.plan import Failure, Send, StepResult

P = ParamSpec("P")
T = TypeVar("T")


def _method(call: Callable[P, TypedCall[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *arguments: P.args, **options: P.kwargs) -> T:
        return client._perform(call(*arguments, **options))

    return as_method(method, call)


class Client(BaseClient[httpx.Client]):
    """A client of one cluster. It may be shared by threads; use it as a context manager or `close` it.

    `overseers` and `servers` (workers) are base URLs, comma-separated or several; `settings.addresses` has the
    defaults. Every method raises a `HanasError`; `Unavailable` after `policy.deadline` seconds. The client repeats
    a write over takeovers with one idempotency key, so it happens at most once.
    """

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def list(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Iterator[Entry]:
        """Yield at most `limit` keys with `prefix` and after `after`, in order, page by page."""
        while limit is None or limit > 0:
            page = self.page(prefix, after, calls.page_limit(limit))
            yield from page.keys[:limit]
            if page.next is None:
                return
            after, limit = page.next, None if limit is None else limit - len(page.keys)

    def _connections(self) -> httpx.Client:
        return httpx.Client(verify=self._trust.context, trust_env=False, limits=transport.LIMITS)

    def _perform(self, typed: TypedCall[T]) -> T:
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
