"""How often each method was called, by gRPC and by JSON."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

from hanas_serving.grpc.calls import Method, StreamMethod

Counts = dict[str, int]
"""Calls by ``KV/Put`` and the like; one with messages both ways counts once."""


def counted(methods: Iterable[Method | StreamMethod], counts: Counts) -> list[Method | StreamMethod]:
    """Return ``methods``, whose calls are counted in ``counts``, also those that are refused."""
    return [_counted(method, counts) for method in methods]


def _counted(method: Method | StreamMethod, counts: Counts) -> Method | StreamMethod:
    name = method.path.rpartition(b".")[2].decode()
    counts[name] = 0
    if isinstance(method, Method):
        handle = method.handle

        def count_and_handle(call: Any, request: Any) -> None:
            counts[name] += 1
            handle(call, request)

        return structs.replace(method, handle=count_and_handle)
    begin: Callable[[Any], Any] = method.open

    def count_and_open(call: Any) -> Any:
        counts[name] += 1
        return begin(call)

    return structs.replace(method, open=count_and_open)
