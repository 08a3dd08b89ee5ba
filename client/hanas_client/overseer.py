"""The overseer's documents as operations. Any overseer may answer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hanas_client.calls import Call, Operation, Reply, failure_of
from hanas_client.documents import Alert, Alerts, Cluster, Takeover, Takeovers, decode

D = TypeVar("D")
T = TypeVar("T")


def cluster_call() -> Operation[Cluster]:
    """Everything in one document."""
    return _document("/v1/cluster", Cluster, lambda document: document)


def takeovers_call() -> Operation[tuple[Takeover, ...]]:
    """The history of epochs with its evidence."""
    return _document("/v1/takeovers", Takeovers, lambda document: tuple(document.takeovers))


def alerts_call() -> Operation[tuple[Alert, ...]]:
    """The open alerts."""
    return _document("/v1/alerts", Alerts, lambda document: tuple(document.alerts))


def _document(path: str, kind: type[D], content: Callable[[D], T]) -> Operation[T]:
    def read(reply: Reply) -> T:
        if reply.status != 200:
            raise failure_of(reply, path)
        return content(decode(reply.body, kind, "the overseer"))

    return Operation(Call("GET", path, {"accept": "application/json"}), read)
