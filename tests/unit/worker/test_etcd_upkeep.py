"""What etcd's API tells of the cluster, by gRPC: status, alarms, members, health; and what is not there."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from hanas_worker.faces.etcd.facts import VERSION
from hanas_worker.faces.etcd.messages.health_pb2 import HealthCheckRequest
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    AlarmRequest,
    AuthStatusRequest,
    CompactionRequest,
    DefragmentRequest,
    HashKVRequest,
    MemberListRequest,
    PutRequest,
    StatusRequest,
)
from tests.unit.worker.etcd_faces import MEMBER, Failure, ask, serving, stub
from tests.unit.worker.etcd_model import Model
from tests.unit.worker.etcd_store import made


@pytest.fixture(params=["model", "store"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with made(request.param, later=True) as store:
        yield store


@pytest.fixture
async def channel(model: Model) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(model) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connected:
        yield connected


async def test_the_status_is_that_of_a_new_enough_etcd(channel: grpc.aio.Channel, model: Model) -> None:
    status = await ask(channel, "Maintenance/Status", StatusRequest())
    assert (status.version, status.storageVersion) == (VERSION, "3.6.0")
    assert tuple(map(int, VERSION.split("."))) >= (3, 5, 13), "clients ask for no progress below this"
    assert (status.leader, status.raftTerm, status.dbSize, status.isLearner) == (MEMBER, 2, 20_480, False)
    assert status.HasField("downgradeInfo")
    assert list(status.errors) == []
    model.full = True
    status = await ask(channel, "Maintenance/Status", StatusRequest())
    assert list(status.errors) == [f"memberID:{MEMBER} alarm:NOSPACE "]


async def test_a_full_volume_is_an_alarm(channel: grpc.aio.Channel, model: Model) -> None:
    assert not (await ask(channel, "Maintenance/Alarm", AlarmRequest())).alarms
    model.full = True
    alarm = (await ask(channel, "Maintenance/Alarm", AlarmRequest())).alarms[0]
    assert (alarm.memberID, alarm.alarm) == (MEMBER, 1)
    corrupt = AlarmRequest(alarm="CORRUPT")
    assert not (await ask(channel, "Maintenance/Alarm", corrupt)).alarms
    taken_back = AlarmRequest(action=AlarmRequest.DEACTIVATE, alarm="NOSPACE", memberID=MEMBER)
    assert not (await ask(channel, "Maintenance/Alarm", taken_back)).alarms
    refused = await ask(channel, "Maintenance/Alarm", AlarmRequest(action=AlarmRequest.ACTIVATE, alarm="NOSPACE"))
    assert isinstance(refused, Failure)
    assert refused.code == 12


async def test_hashes_tell_whether_workers_have_the_same(channel: grpc.aio.Channel) -> None:
    hashes = []
    for _ in range(3):
        await ask(channel, "KV/Put", PutRequest(key=b"a"))
        answer = await ask(channel, "Maintenance/HashKV", HashKVRequest(revision=2))
        assert answer.hash_revision == 2
        hashes.append(answer.hash)
    assert len(set(hashes)) == 1, "a hash of the past changes"
    assert (await ask(channel, "Maintenance/HashKV", HashKVRequest())).hash != hashes[0]
    await ask(channel, "KV/Compact", CompactionRequest(revision=3))
    compacted = Failure(11, "etcdserver: mvcc: required revision has been compacted")
    assert await ask(channel, "Maintenance/HashKV", HashKVRequest(revision=2)) == compacted
    assert (await ask(channel, "Maintenance/HashKV", HashKVRequest())).compact_revision == 3


async def test_members_are_the_workers(channel: grpc.aio.Channel) -> None:
    answer = await ask(channel, "Cluster/MemberList", MemberListRequest(linearizable=True))
    (member,) = answer.members
    assert (member.ID, member.name, member.isLearner) == (MEMBER, "a", False)
    assert member.clientURLs[0].startswith("http://127.0.0.1:")
    assert (answer.header.member_id, answer.header.revision) == (MEMBER, 0)


async def test_the_rest_is_answered_as_etcd_does_without_users(channel: grpc.aio.Channel) -> None:
    status = await ask(channel, "Auth/AuthStatus", AuthStatusRequest())
    assert (status.enabled, status.authRevision) == (False, 1)
    assert not (await ask(channel, "Maintenance/Defragment", DefragmentRequest())).HasField("header")


@pytest.mark.parametrize(
    "path",
    [
        *("Auth/UserList", "Auth/Authenticate", "Cluster/MemberAdd", "Maintenance/Snapshot", "Maintenance/Downgrade"),
        "Maintenance/MoveLeader",
    ],
)
async def test_what_is_not_there_says_so(channel: grpc.aio.Channel, path: str) -> None:
    service, _, method = path.partition("/")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/etcdserverpb.{path}")(b"")  # type: ignore[arg-type]
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == f"unknown method {method} for service etcdserverpb.{service}"


async def test_health_is_told_to_clients_of_grpc(channel: grpc.aio.Channel) -> None:
    assert (await ask(channel, "Health/Check", HealthCheckRequest())).status == 1
    assert await ask(channel, "Health/Check", HealthCheckRequest(service="x")) == Failure(5, "unknown service")
    for service, status in (("", 1), ("x", 3)):
        call = stub(channel, "Health/Watch")(HealthCheckRequest(service=service))
        assert (await call.read()).status == status
        call.cancel()
