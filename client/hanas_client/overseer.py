"""The overseer's documents as operations. Any overseer may answer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from hanas_client.calls import Call, Operation, Reply, failure_of
from hanas_client.documents import Alert, Alerts, Cluster, Takeover, Takeovers, decode
from hanas_client.errors import HanasError

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


def forget_call(member: str) -> Operation[None]:
    """Say that a member that died will not come back."""

    def read(reply: Reply) -> None:
        if reply.status == 404:
            raise HanasError(f"there is no member {member!r}; `hanas status` lists them")
        if reply.status != 204:
            raise failure_of(reply, member)

    return Operation(Call("DELETE", f"/v1/pool/{quote(member, safe='')}"), read)


def _document(path: str, kind: type[D], content: Callable[[D], T]) -> Operation[T]:
    def read(reply: Reply) -> T:
        if reply.status != 200:
            raise failure_of(reply, path)
        return content(decode(reply.body, kind, "the overseer"))

    return Operation(Call("GET", path, {"accept": "application/json"}), read)
