"""The processor time of calls of etcd's API, without sockets, threads and a disk, µs each.

A round is 64 calls, each on a connection of its own; the best of 1000 rounds counts.
"""

import asyncio
import gc
import math
import time
from collections.abc import Callable
from typing import Any, cast

import ngh2
import uvloop
from bench.interpreter import CONNECTIONS, Service, Wire, store_of
from ngh2.events import TrailersReceived

from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.grpc.framing import framed
from hanas_serving.http1 import Server
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import Bounds
from hanas_worker.faces.etcd.adapter import StoreAdapter
from hanas_worker.faces.etcd.face import Face
from hanas_worker.faces.etcd.facts import Facts
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)
from hanas_worker.faces.etcd.rights import Rights
from hanas_worker.ops.app import WorkerApplication

_ROUNDS = 1000
_HEADERS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"localhost:2379"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-go/1.71.1"),
    (b"te", b"trailers"),
)


class _Answered(Wire):
    """What a client is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def pause_reading(self) -> None:
        """Do nothing: nothing comes by itself."""

    def resume_reading(self) -> None:
        """Do nothing."""


class _Client:
    """One connection and its client."""

    def __init__(self, server: Server, face: Face) -> None:
        self.wire, self.server_side = _Answered(), Http2(server, face.dispatch, Bounds())
        self._engine = ngh2.Connection(ngh2.Role.CLIENT)
        self._engine.initiate_connection()
        self.server_side.connection_made(self.wire)
        self.server_side.data_received(self._engine.data_to_send())

    def meet(self) -> None:
        """Take the settings."""
        self._take()

    def request(self, method: bytes, message: Any) -> bytes:
        """Return the bytes of a call."""
        path = (b":path", b"/etcdserverpb.KV/" + method)
        stream = self._engine.send_request([path, *_HEADERS], end_stream=False)
        self._engine.send_data(stream, framed(message.SerializeToString()), end_stream=True)
        return self._engine.data_to_send()

    def take(self) -> None:
        """Take what was answered, which is complete and no error."""
        events = self._take()
        trailers = [dict(event.headers) for event in events if isinstance(event, TrailersReceived)]
        assert trailers == [{b"grpc-status": b"0"}], events

    def _take(self) -> Any:
        assert self.wire.written, "the server has something to say"
        self._engine.receive_data(self.wire.written)
        self.wire.written = b""
        events = list(self._engine.events())
        if rest := self._engine.data_to_send():
            self.server_side.data_received(rest)
        return events


def _face(service: Service) -> tuple[Face, Server]:
    server = Server(cast("WorkerApplication", None))
    store = store_of(service, server.memory)
    rights = Rights(Callers(), Gate())
    facts = Facts(StoreAdapter(store, lambda: 1), 1, 1, list, lambda: 1, rights)
    return Face(facts, Gate()), server


def _update(key: bytes, service: Service) -> TxnRequest:
    """Return what a kube-apiserver asks for to change an object."""
    entry = service.replica.index.get(key)
    assert entry is not None, "it was put before"
    return TxnRequest(
        compare=[Compare(target=Compare.MOD, key=key, mod_revision=entry.facts.revision)],
        success=[RequestOp(request_put=PutRequest(key=key, value=b"v" * 64))],
        failure=[RequestOp(request_range=RangeRequest(key=key))],
    )


async def measure(rounds: int = _ROUNDS) -> dict[str, float]:
    """Return µs for each call, by what it is."""
    service = Service()
    face, server = _face(service)
    clients = [_Client(server, face) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0)
    for client in clients:
        client.meet()
    keys = [b"/registry/configmaps/default/%04d" % number for number in range(CONNECTIONS)]
    calls: list[tuple[str, bytes, Callable[[bytes], Any]]] = [
        ("Put", b"Put", lambda key: PutRequest(key=key, value=b"v" * 64)),
        ("Range", b"Range", lambda key: RangeRequest(key=key)),
        ("Txn", b"Txn", lambda key: _update(key, service)),
        ("DeleteRange", b"DeleteRange", lambda key: DeleteRangeRequest(key=key)),
    ]
    best = {}
    for name, method, make in calls:
        gc.collect()
        best[name] = math.inf
        for _ in range(rounds):
            requests = [client.request(method, make(key)) for client, key in zip(clients, keys, strict=True)]
            best[name] = min(best[name], await _round_of(clients, requests, service))
    for client in clients:
        client.server_side.connection_lost(None)
    return {name: seconds / CONNECTIONS * 1e6 for name, seconds in best.items()}


async def _round_of(clients: list[_Client], requests: list[bytes], service: Service) -> float:
    """Return the processor seconds for one call at each connection and all answers."""
    began = time.thread_time()
    for client, request in zip(clients, requests, strict=True):
        client.server_side.data_received(request)
    for client in clients:
        while not client.wire.written:
            await asyncio.sleep(0)
            service.answer()
    took = time.thread_time() - began
    for client in clients:
        client.take()
    return took


if __name__ == "__main__":
    for name, microseconds in uvloop.run(measure()).items():
        print(f"{name} {microseconds:.2f} µs")
