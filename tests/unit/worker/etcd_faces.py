"""Faces on real sockets, with the model behind them, and clients of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import msgspec

from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.http2.dual import DualEndpoint
from hanas_serving.server import bind
from hanas_worker.faces.etcd.face import Face
from hanas_worker.faces.etcd.facts import Facts, Member
from hanas_worker.faces.etcd.messages import health_pb2, rpc_pb2
from hanas_worker.faces.etcd.rights import Rights
from tests.unit.worker.etcd_model import Model

CLUSTER, MEMBER = 0xC1, 0x3E


def facts_of(model: Model, urls: tuple[str, ...] = (), callers: Callers | None = None) -> Facts:
    rights = Rights(callers or Callers(()), Gate())
    return Facts(model, CLUSTER, MEMBER, lambda: [Member(MEMBER, "a", urls)], lambda: MEMBER, rights)


@asynccontextmanager
async def serving(model: Model, callers: Callers | None = None, **options: Any) -> AsyncIterator[int]:
    """Serve the model; the port is returned."""
    async with counting(model, callers, **options) as (port, _):
        yield port


@asynccontextmanager
async def counting(
    model: Model, callers: Callers | None = None, **options: Any
) -> AsyncIterator[tuple[int, dict[str, int]]]:
    """Serve the model; the port is returned, and how often each method was called."""
    bound = bind(0, "test", "127.0.0.1")
    port = int(bound.getsockname()[1])
    face = Face(facts_of(model, (f"http://127.0.0.1:{port}",), callers), Gate(), **options)
    endpoint = DualEndpoint(face.dispatch, face.gateway, bound)
    await endpoint.start()
    try:
        yield port, face.counts
    finally:
        await endpoint.stop()


_STREAMS = {"Watch", "LeaseKeepAlive"}


def stub(channel: Any, method: str) -> Callable[..., Any]:
    """Return the call of ``KV/Range`` and the like."""
    service, _, name = method.partition("/")
    pb = health_pb2 if service == "Health" else rpc_pb2
    package = "grpc.health.v1" if service == "Health" else "etcdserverpb"
    descriptor = pb.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    response = getattr(pb, descriptor.output_type.name)
    make = channel.stream_stream if name in _STREAMS else channel.unary_unary
    if service == "Health" and name == "Watch":
        make = channel.unary_stream
    call: Callable[..., Any] = make(
        f"/{package}.{service}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
    return call


class Failure(msgspec.Struct, frozen=True):
    """How a call failed."""

    code: int
    text: str


async def ask(channel: grpc.aio.Channel, method: str, request: Any) -> Any:
    """Return the answer, or how the call failed."""
    try:
        return await stub(channel, method)(request)
    except grpc.aio.AioRpcError as error:
        return Failure(error.code().value[0], error.details() or "")
