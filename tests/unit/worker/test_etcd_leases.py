"""Leases by a client of gRPC, over the plain model."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from hanas_serving.gate import Caller
from hanas_serving.grpc.status import RpcError
from hanas_worker.faces.etcd.leases import Leases
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseLeasesRequest,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    PutRequest,
    RangeRequest,
)
from tests.unit.waiting import until
from tests.unit.worker.etcd_faces import Failure, ask, facts_of, serving, stub
from tests.unit.worker.etcd_model import Model
from tests.unit.worker.etcd_store import made

NOT_FOUND = Failure(5, "etcdserver: requested lease not found")


@pytest.fixture(params=["model", "store"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with made(request.param, later=True) as store:
        yield store


@pytest.fixture
async def channel(model: Model) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(model) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connected:
        yield connected


async def test_leases_are_granted_within_bounds(channel: grpc.aio.Channel) -> None:
    lease = await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(TTL=100))
    assert (lease.TTL, lease.error, lease.header.revision) == (100, "", 1), "a lease takes no revision"
    assert lease.ID > 0
    assert (await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=5, TTL=0))).TTL == 2
    exists = Failure(9, "etcdserver: lease already exists")
    assert await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=5, TTL=60)) == exists
    too_long = Failure(11, "etcdserver: too large lease TTL")
    assert await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=6, TTL=9_000_000_001)) == too_long
    listed = await ask(channel, "Lease/LeaseLeases", LeaseLeasesRequest())
    assert [each.ID for each in listed.leases] == [5, lease.ID]


async def test_what_hangs_on_a_lease_goes_with_it_at_one_revision(channel: grpc.aio.Channel) -> None:
    await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=5, TTL=100))
    for key in (b"a", b"b", b"c"):
        await ask(channel, "KV/Put", PutRequest(key=key, lease=5))
    await ask(channel, "KV/Put", PutRequest(key=b"c"))  # it hangs on nothing any more
    alive = await ask(channel, "Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=5, keys=True))
    assert (alive.ID, alive.grantedTTL, sorted(alive.keys)) == (5, 100, [b"a", b"b"])
    assert 98 <= alive.TTL <= 100
    assert not (await ask(channel, "Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=5))).keys
    revoked = await ask(channel, "Lease/LeaseRevoke", LeaseRevokeRequest(ID=5))
    assert revoked.header.revision == 6
    rest = await ask(channel, "KV/Range", RangeRequest(key=b"\0", range_end=b"\0"))
    assert [kv.key for kv in rest.kvs] == [b"c"]
    assert await ask(channel, "Lease/LeaseRevoke", LeaseRevokeRequest(ID=5)) == NOT_FOUND
    gone = await ask(channel, "Lease/LeaseTimeToLive", LeaseTimeToLiveRequest(ID=5, keys=True))
    assert (gone.ID, gone.TTL, gone.grantedTTL) == (5, -1, 0)
    assert await ask(channel, "KV/Put", PutRequest(key=b"a", lease=5)) == NOT_FOUND


async def test_renewals_are_answered_one_by_one(channel: grpc.aio.Channel, model: Model) -> None:
    await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=5, TTL=100))
    call = stub(channel, "Lease/LeaseKeepAlive")()
    for number, seconds in ((5, 100), (6, 0)):
        await call.write(LeaseKeepAliveRequest(ID=number))
        answer = await call.read()
        assert (answer.ID, answer.TTL, answer.header.revision) == (number, seconds, 1)
    model.hold()
    await call.write(LeaseKeepAliveRequest(ID=5))
    await call.done_writing()
    await until(lambda: bool(model.stuck))
    model.release()
    assert (await call.read()).TTL == 100, "the stream ended before the renewal was answered"
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_renewal_tells_a_revision_at_which_the_lease_was_there(channel: grpc.aio.Channel, model: Model) -> None:
    await ask(channel, "Lease/LeaseGrant", LeaseGrantRequest(ID=5, TTL=100))
    call = stub(channel, "Lease/LeaseKeepAlive")()
    await call.write(LeaseKeepAliveRequest(ID=6))
    await call.read()
    model.hold()
    await call.write(LeaseKeepAliveRequest(ID=5))
    await until(lambda: bool(model.stuck))
    stuck, model.stuck = model.stuck or [], None
    await ask(channel, "KV/Put", PutRequest(key=b"a"))
    for give in stuck:
        give()
    assert (await call.read()).header.revision == 1


class Sink:
    """A channel that keeps nothing."""

    done = congested = False
    share = 1 << 20
    caller = Caller({}, "", None)

    def send(self, message: bytes) -> None:
        """Drop a message."""

    def finish(self) -> None:
        """End."""

    def fail_with(self, error: RpcError) -> None:
        """Fail."""


async def test_too_many_renewals_at_a_time_are_refused(model: Model) -> None:
    session = Leases(facts_of(model)).keep_alive(Sink())
    model.hold()
    for _ in range(1000):
        session.received(LeaseKeepAliveRequest(ID=5))
    with pytest.raises(RpcError, match="etcdserver: too many requests"):
        session.received(LeaseKeepAliveRequest(ID=5))
    assert len(model.stuck or []) == 1000
