"""The blocking client."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from hanas_client import calls, transport
from hanas_client.calls import TypedCall, Value, Written
from hanas_client.documents import Alert, Cluster, Entry, Page, Takeover
from hanas_client.overseer import alerts_call, cluster_call, forget_call, takeovers_call
from hanas_client.plan import Failure, Plan, Send, StepResult, carry_out, consult
from hanas_client.routes import Routes
from hanas_client.settings import Policy, addresses, client_token, parse_urls

T = TypeVar("T")


class Client:
    """A client of one cluster. It may be shared by threads; use it as a context manager or `close` it.

    `overseers` and `servers` (workers) are base URLs, comma-separated or several; `settings.addresses` has the
    defaults. Every method raises a `HanasError`; `Unavailable` after `policy.deadline` seconds. The client repeats
    a write over takeovers with one idempotency key, so it happens at most once.
    """

    def __init__(
        self,
        overseers: str | Iterable[str] | None = None,
        servers: str | Iterable[str] | None = None,
        *,
        policy: Policy | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        self._routes = Routes(*addresses(overseers, servers))
        self._policy = policy or Policy()
        self._token = client_token(token_file)
        self._http = httpx.Client(trust_env=False, headers=transport.HEADERS, limits=transport.LIMITS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def put(
        self,
        key: str,
        value: bytes,
        content_type: str | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        """Write a value, durable on return. Raises PreconditionFailed."""
        return self._perform(calls.put(key, value, content_type, if_match, if_none_match))

    def get(self, key: str, *, stale: bool = False) -> Value:
        """Read a value, linearizably unless `stale`. Raises NotFound."""
        return self._perform(calls.get(key, stale=stale))

    def delete(self, key: str, if_match: str | None = None) -> None:
        """Remove a key. Raises NotFound, and PreconditionFailed if its version differs from `if_match`."""
        self._perform(calls.delete(key, if_match))

    def page(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Page:
        """Return one page of keys, as in `GET /v1/kv`."""
        return self._perform(calls.page(prefix, after, limit))

    def list(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Iterator[Entry]:
        """Yield at most `limit` keys with `prefix` and after `after`, in order, page by page."""
        remaining = limit
        while remaining is None or remaining > 0:
            page = self.page(prefix, after, calls.page_limit(remaining))
            entries = page.keys[:remaining]
            yield from entries
            if page.next is None:
                return
            after = page.next
            remaining = None if remaining is None else remaining - len(entries)

    def status(self, url: str | None = None) -> dict[str, object]:
        """Return the status of the worker at `url`, or of the main."""
        operation = calls.status()
        if url is None:
            return self._perform(operation)
        return self._consult(operation, parse_urls(url))

    def cluster(self) -> Cluster:
        """Return the state of the cluster, as the overseer reports it."""
        return self._consult(cluster_call(), self._routes.overseers)

    def takeovers(self) -> tuple[Takeover, ...]:
        """Return the history of epochs, with evidence."""
        return self._consult(takeovers_call(), self._routes.overseers)

    def alerts(self) -> tuple[Alert, ...]:
        """Return the open alerts."""
        return self._consult(alerts_call(), self._routes.overseers)

    def forget(self, member: str) -> None:
        """Declare that a failed member will not return; this ends its alerts. Raises Refused while it is alive."""
        self._consult(forget_call(member), self._routes.overseers)

    def _perform(self, operation: TypedCall[T]) -> T:
        plan = carry_out(operation.call, self._routes, self._policy, time.monotonic(), random.random, self._token)
        return operation.read(self._drive(plan))

    def _consult(self, operation: TypedCall[T], bases: tuple[str, ...]) -> T:
        if not bases:
            raise ValueError("no overseer is named, and only one can answer this")
        plan = consult(operation.call, bases, self._policy, time.monotonic(), random.random, self._token)
        return operation.read(self._drive(plan))

    def _drive(self, plan: Plan) -> calls.Reply:
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
            reply: calls.Reply = end.value
            return reply

    def _send(self, step: Send) -> calls.Reply | Failure:
        try:
            response = self._http.request(
                step.method,
                step.url,
                headers=dict(step.headers),
                content=step.body,
                timeout=transport.timeouts(step),
            )
        except transport.FAILURES as error:
            return transport.failure(error)
        return transport.reply(response)
