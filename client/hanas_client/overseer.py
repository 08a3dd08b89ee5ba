"""The calls to overseers; any overseer may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from hanas_client.calls import Call, Recipient, Reply, TypedCall, failure_of
from hanas_client.documents import Alert, Cluster, Takeover, decode
from hanas_client.errors import HanasError

T = TypeVar("T")


def cluster() -> TypedCall[Cluster]:
    """Return the state of the cluster."""
    return _document("/v1/cluster", lambda document: document)


def takeovers() -> TypedCall[tuple[Takeover, ...]]:
    """Return the history of epochs, with evidence."""
    return _document("/v1/takeovers", lambda document: tuple(document.takeovers))


def alerts() -> TypedCall[tuple[Alert, ...]]:
    """Return the open alerts."""
    return _document("/v1/alerts", lambda document: tuple(document.alerts))


def forget(member: str) -> TypedCall[None]:
    """Declare that a failed member will not return; this ends its alerts. Raises Refused while it is alive."""

    def read(reply: Reply) -> None:
        if reply.status == 404:
            raise HanasError(f"there is no member {member!r}; `hanas status` lists them")
        if reply.status != 204:
            raise failure_of(reply, member)

    return TypedCall(Call("DELETE", f"/v1/pool/{quote(member, safe='')}"), read, Recipient.OVERSEER)


def _document(path: str, content: Callable[[Cluster], T]) -> TypedCall[T]:
    def read(reply: Reply) -> T:
        if reply.status != 200:
            raise failure_of(reply, path)
        return content(decode(reply.body, Cluster, "the overseer"))

    return TypedCall(Call("GET", path, {"accept": "application/json"}), read, Recipient.OVERSEER)
