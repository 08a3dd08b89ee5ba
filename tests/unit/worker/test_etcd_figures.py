"""What status and metrics tell of etcd's API: calls by method, and connections that are carried to the main."""

import asyncio
import json
from types import SimpleNamespace
from typing import cast

import grpc.aio
import httpx

from hanas_serving.relaying import Here, Relays, Visitor
from hanas_worker.faces.etcd.messages.rpc_pb2 import PutRequest, RangeRequest, WatchRequest
from hanas_worker.host.host import Host
from hanas_worker.ops import etcd_figures
from hanas_worker.ops.etcd_figures import EtcdState
from tests.unit.worker.etcd_faces import Failure, ask, counting, stub
from tests.unit.worker.etcd_model import Model


def values(host: Host) -> dict[str, float]:
    """Return the metrics that have no label, and the calls by method that are more than none."""
    samples = [sample for metric in etcd_figures.metrics_of(host) for sample in metric.samples]
    return {sample.labels.get("method", sample.name): sample.value for sample in samples if sample.value}


def host_of(relays: Relays | None = None, **calls: int) -> Host:
    return cast("Host", SimpleNamespace(relays=relays, etcd_calls=calls))


def test_a_worker_that_does_not_speak_it_tells_nothing() -> None:
    assert EtcdState.of(host_of()) is None
    assert list(etcd_figures.metrics_of(host_of())) == []


def test_figures_of_a_port() -> None:
    relays = Relays(lambda: Here.HERE, 1)
    relays.refused, relays.carried = 3, 4
    waiting, carried = Visitor(relays, asyncio.Protocol), Visitor(relays, asyncio.Protocol)
    carried.other = cast("asyncio.Transport", object())
    for visitor in (waiting, carried):
        relays._visitors[visitor] = None
    host = host_of(relays, **{"KV/Put": 2, "KV/Range": 5, "KV/Txn": 0})
    assert EtcdState.of(host) == EtcdState(requests=7, relayed=2, waiting=1, relays=4, refused=3)
    assert values(host) == {
        "KV/Put": 2,
        "KV/Range": 5,
        "hanas_etcd_relayed": 2,
        "hanas_etcd_waiting": 1,
        "hanas_etcd_relays_total": 4,
        "hanas_etcd_refused_total": 3,
    }
    methods = {sample.labels.get("method") for metric in etcd_figures.metrics_of(host) for sample in metric.samples}
    assert "KV/Txn" in methods, "a method that nobody called is there, too"


async def test_calls_are_counted_by_method_whatever_becomes_of_them() -> None:
    async with counting(Model()) as (port, counts):
        assert set(counts.values()) == {0}
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, httpx.AsyncClient() as client:
            await ask(channel, "KV/Put", PutRequest(key=b"a", value=b"v"))
            assert isinstance(await ask(channel, "KV/Put", PutRequest()), Failure)
            await client.post(f"http://127.0.0.1:{port}/v3/kv/range", content=json.dumps({"key": "YQ=="}))
            call = stub(channel, "Watch/Watch")()
            for _ in range(2):
                await call.write(WatchRequest(create_request={"key": b"a"}))
                assert (await call.read()).created
            call.cancel()
            await ask(channel, "KV/Range", RangeRequest(key=b"a"))
        assert {method: count for method, count in counts.items() if count} == {
            "KV/Put": 2,
            "KV/Range": 2,
            "Watch/Watch": 1,
        }
        assert {"KV/Txn", "Lease/LeaseGrant", "Maintenance/Status", "Health/Check"} <= set(counts)
