"""What both clients share: addresses, time limits, and the plan of each call."""

from __future__ import annotations

import functools
import inspect
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from hanas_client.calls import Recipient, TypedCall
from hanas_client.plan import Step, StepResult, carry_out, consult
from hanas_client.routes import Routes
from hanas_client.settings import Policy, addresses, client_token, tls_files
from hanas_client.trust import Trust

H = TypeVar("H")
M = TypeVar("M", bound=Callable[..., object])
T = TypeVar("T")


class BaseClient(ABC, Generic[H]):
    """The constructor of `Client` and `AsyncClient`. A subclass has the HTTP client `H` and carries out the plans."""

    def __init__(
        self,
        overseers: str | Iterable[str] | None = None,
        servers: str | Iterable[str] | None = None,
        *,
        policy: Policy | None = None,
        token_file: str | Path | None = None,
        token: str | None = None,
        cacert: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
    ) -> None:
        self._tls = tls_files(cacert, cert, key)
        self._routes = Routes(*addresses(overseers, servers, scheme=self._tls.client_scheme))
        self._policy = policy or Policy()
        self._token = client_token(token_file) if token is None else token
        self._trust = Trust(self._tls)
        self._http = self._connections()

    @classmethod
    def beside(cls, other: BaseClient[Any]) -> Self:
        """Return a client of the same cluster; what one of them learns of it, both know."""
        client = cls.__new__(cls)
        client._tls, client._trust, client._token = other._tls, other._trust, other._token
        client._routes, client._policy = other._routes, other._policy
        client._http = client._connections()
        return client

    @abstractmethod
    def _connections(self) -> H:
        """Return the HTTP client."""

    def _plan(self, typed: TypedCall[T]) -> Generator[Step, StepResult, T]:
        """Return the steps of a call, which end with its result."""
        self._trust.refresh()
        context = (self._policy, time.monotonic(), random.random, self._token)
        if typed.recipient is Recipient.MAIN:
            reply = yield from carry_out(typed.call, self._routes, *context)
        else:
            bases = self._routes.overseers if typed.recipient is Recipient.OVERSEER else typed.recipient
            if not bases:
                raise ValueError("no overseer is named, and only one can answer this")
            reply = yield from consult(typed.call, bases, *context, self._routes)
        return typed.read(reply)


def as_method(method: M, call: Callable[..., object]) -> M:
    """Give `method` the name, the documentation and, after `self`, the parameters of `call`."""
    functools.update_wrapper(method, call)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += inspect.signature(call).parameters.values()
    method.__dict__["__signature__"] = inspect.Signature(parameters)
    return method
