"""Streams of watches at a backup that serves, whose main does not answer at once, or never."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_worker.faces.etcd import watch
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
    WatchResponse,
)
from hanas_worker.faces.etcd.watch import Watches, WatchSession
from hanas_worker.log.forwarder import Forwarder
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker import etcd_backup
from tests.unit.worker.etcd_backup import Backup, backup_of_a_main
from tests.unit.worker.etcd_faces import facts_of

PROGRESS = WatchRequest(progress_request=WatchProgressRequest())


class Channel:
    """What a stream's client gets."""

    congested, share, caller = False, 1 << 20, None

    def __init__(self) -> None:
        self.done = False
        self.sent: list[Any] = []
        self.error: RpcError | None = None

    def send(self, message: bytes) -> None:
        self.sent.append(WatchResponse.FromString(message))

    def fail_with(self, error: RpcError) -> None:
        assert not self.done
        self.error, self.done = error, True


def create(**request: Any) -> WatchRequest:
    return WatchRequest(create_request=WatchCreateRequest(key=b"a", **request))


def opened(backup: Backup) -> tuple[WatchSession, Channel]:
    channel: Any = Channel()
    return Watches(facts_of(backup.adapter)).open(channel), channel  # type: ignore[arg-type]  # no model is needed


@pytest.fixture(name="backup")
async def _backup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backup]:
    monkeypatch.setattr(etcd_backup, "PATIENCE", getattr(request, "param", AMPLE_SECONDS))
    async with backup_of_a_main() as backup, asyncio.timeout(AMPLE_SECONDS):
        yield backup


async def settled(channel: Channel, count: int) -> list[Any]:
    await until(lambda: len(channel.sent) >= count)
    return channel.sent


@pytest.mark.parametrize("backup", [0.3], indirect=True)
async def test_a_stream_that_ends_while_progress_is_asked_for_holds_up_nobody(backup: Backup) -> None:
    await backup.put(b"a")
    session, channel = opened(backup)
    session.received(create(start_revision=1))
    await settled(channel, 2)
    backup.road.breaks()
    session.received(PROGRESS)
    reading = [asyncio.create_task(backup.read()) for _ in range(2)]
    await asyncio.sleep(0)
    session.gone()
    await asyncio.gather(*reading)
    await backup.read()  # whoever comes then is not forgotten, either
    assert backup.forwarder.idle


async def test_progress_concerns_watches_that_were_created_since_it_was_asked_for(backup: Backup) -> None:
    await backup.put(b"b", b"b", b"b")
    session, channel = opened(backup)
    session.received(create(start_revision=1))
    session.received(PROGRESS)
    session.received(create(start_revision=1, range_end=b"c"))
    await until(lambda: any(each.watch_id == -1 for each in channel.sent))
    *told, progress = channel.sent
    assert [(each.watch_id, event.kv.mod_revision) for each in told for event in each.events] == [
        (1, 2),
        (1, 3),
        (1, 4),
    ]
    assert progress.header.revision == 4


async def test_many_watches_from_now_on_are_one_question(backup: Backup) -> None:
    await backup.put(b"a")
    session, channel = opened(backup)
    longest = 0
    for _ in range(1000):
        session.received(create())
        longest = max(longest, backup.forwarder.figures.waiting)
    session.received(PROGRESS)
    *created, progress = await settled(channel, 1001)
    assert longest == 1
    assert [each.watch_id for each in created] == list(range(1000))
    assert {each.header.revision for each in created} == {2} == {progress.header.revision}
    assert progress.watch_id == -1


async def test_others_have_their_turn_while_many_watches_begin(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_TURN_SECONDS", 1e-4)
    await backup.put(b"a")
    session, channel = opened(backup)
    for _ in range(50):
        session.received(create())
    seen = set[int]()
    while len(channel.sent) < 50:
        await asyncio.sleep(0)
        seen.add(len(channel.sent))
    assert len(seen) > 2


async def test_clients_come_again_if_a_watch_from_now_on_finds_no_room(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, channel = opened(backup)
    monkeypatch.setattr(Forwarder, "crowded", True)
    session.received(create())
    assert channel.error is not None
    assert channel.error.code is StatusCode.UNAVAILABLE, "any other code ends all watches of the stream for good"
