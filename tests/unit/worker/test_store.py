"""The store in no protocol's words: every way in which a read, a list and a write can end."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from hanas_core.log.positions import Version
from hanas_core.members.roles import Role
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.keyspace import KeyPage
from hanas_core.state.queue import GroupCommit
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving import budget
from hanas_serving.budget import Budget, Hold
from hanas_worker import refusals
from hanas_worker import store as stores
from hanas_worker.faces.http.answers import Page, of_page, problem
from hanas_worker.log import service as services
from hanas_worker.log.bell import Bell
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.tally import Tally
from hanas_worker.log.values import Moved
from hanas_worker.refusals import (
    Busy,
    Conflict,
    Crowded,
    Elsewhere,
    Full,
    KeyReused,
    NotFound,
    Refusal,
    Unknown,
    Unreadable,
)
from hanas_worker.store import Part, PendingRead, PendingWrite, Store
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.stage import Gate, Stage, started

MAIN_URL = "http://main:3001"


class Values:
    """Values on the volume: what happens to the reads of them, one after the other."""

    def __init__(self) -> None:
        self.outcomes: list[bytes | Exception] = []
        self.parts: list[Part] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def read(self, key: bytes, entry: Entry, part: Part) -> bytes:
        del key, entry
        self.parts.append(part)
        await self.goes_on.wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Read(PendingRead):
    """Keeps what it was told."""

    part: Part | None = (0, 1)
    mistake: Exception | None = None
    chosen: list[tuple[Version, int]] = msgspec.field(default_factory=list)
    ends: list[bytes | Exception] = msgspec.field(default_factory=list)

    def choose(self, entry: Entry, epoch: int) -> Part | None:
        self.chosen.append((entry.version, epoch))
        if self.mistake is not None:
            raise self.mistake
        return self.part

    def done(self, value: bytes) -> None:
        self.ends.append(value)

    def fail(self, error: Exception) -> None:
        self.ends.append(error)


class Change(PendingWrite):
    """Keeps what it was told."""

    mistake: Exception | None = None
    ends: list[tuple[Outcome, int] | Exception] = msgspec.field(default_factory=list)

    def done(self, outcome: Outcome, epoch: int) -> None:
        if self.mistake is not None:
            raise self.mistake
        self.ends.append((outcome, epoch))

    def fail(self, error: Exception) -> None:
        self.ends.append(error)


class Scene:
    """A store, its service, and what stands around them."""

    def __init__(self, stage: Stage) -> None:
        self.service, self.values = stage.service, Values()
        self.stage = stage
        self.node = SimpleNamespace(
            main_url=None,
            values=self.values,
            state=SimpleNamespace(
                service=stage.service,
                forwarder=None,
                replica=SimpleNamespace(index=stage.service.index),
                index=stage.service.index,
                on_applied=Bell(),
                tally=Tally(),
                certain=0,
                member=SimpleNamespace(epoch=1, role=Role.MAIN),
                followed_epoch=0,
            ),
        )
        self.store = Store(cast("LogDriver", self.node), Budget())

    @property
    def index(self) -> Index:
        return self.service.index

    async def put(self, key: str, value: bytes = b"value") -> None:
        await self.service.write(Write(key.encode(), value))

    def follow(self, epoch: int, main: str | None = MAIN_URL) -> None:
        """Be a backup from now on."""
        self.node.state.service, self.node.main_url = None, main
        self.node.state.member.role, self.node.state.followed_epoch = Role.BACKUP, epoch

    async def list(self, prefix: str, after: str, limit: int, *, stale: bool) -> tuple[KeyPage, int]:
        async with self.store.list((prefix.encode(),), after.encode(), limit, stale=stale) as listed:
            return listed

    async def read(self, key: str, part: Part | None = (0, 1), *, stale: bool = False) -> Read:
        read = Read(self.store, key.encode(), stale, part)
        self.store.read(read)
        await until(lambda: bool(read.ends))
        return read

    async def write(self, write: Write) -> tuple[Outcome, int] | Exception:
        change = Change(self.store)
        self.store.write(write, change)
        await until(lambda: bool(change.ends))
        [end] = change.ends
        return end

    async def refused(self, write: Write) -> Refusal:
        end = await self.write(write)
        assert isinstance(end, Refusal)
        return end


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    stage = await started()
    yield Scene(stage)
    stage.service.end("the test is over")


def the_refusal(read: Read) -> Refusal:
    [end] = read.ends
    assert isinstance(end, Refusal)
    return end


# ---------------------------------------------------------------------- reads


async def test_a_value_in_memory_is_given_out_in_part_or_whole(scene: Scene) -> None:
    await scene.put("a", b"value")
    for part, value in (((0, 5), b"value"), ((1, 3), b"al"), ((2, 2), b"")):
        read = await scene.read("a", part)
        assert (read.chosen, read.ends) == ([(Version(1, 1), 1)], [value])
    assert scene.values.parts == []


async def test_a_read_that_wants_no_part_is_over(scene: Scene) -> None:
    await scene.put("a")
    scene.index._cache.drop(b"a")
    read = Read(scene.store, b"a", False, None)
    scene.store.read(read)
    await scene.service.fence()
    assert (read.chosen, read.ends, scene.values.parts) == ([(Version(1, 1), 1)], [], [])


async def test_a_key_that_is_not_there(scene: Scene) -> None:
    read = await scene.read("none")
    refusal = the_refusal(read)
    assert isinstance(refusal, NotFound)
    assert (refusal.epoch, read.chosen) == (1, [])


async def test_a_value_on_the_volume(scene: Scene) -> None:
    await scene.put("a", b"value")
    scene.index._cache.drop(b"a")
    scene.values.outcomes = [b"al"]
    assert (await scene.read("a", (1, 3))).ends == [b"al"]
    assert scene.values.parts == [(1, 3)]


async def test_a_value_that_moved_is_checked_for_and_looked_at_again(scene: Scene) -> None:
    await scene.put("a", b"value")
    scene.index._cache.drop(b"a")
    scene.values.outcomes = [Moved(), Moved(), b"v"]
    checks = scene.service.checks
    read = await scene.read("a")
    assert read.ends == [b"v"]
    assert len(read.chosen) == 3
    assert scene.service.checks == checks + 3


async def test_a_value_that_moved_while_the_epoch_ended_is_elsewhere(scene: Scene) -> None:
    await scene.put("a", b"value")
    scene.index._cache.drop(b"a")
    scene.values.outcomes = [Moved()]
    scene.values.goes_on.clear()
    read = Read(scene.store, b"a", False)
    scene.store.read(read)
    await until(lambda: bool(scene.values.parts))
    scene.follow(2)
    scene.values.goes_on.set()
    await until(lambda: bool(read.ends))
    refusal = the_refusal(read)
    assert isinstance(refusal, Elsewhere)
    assert refusal.main == MAIN_URL


async def test_a_value_that_cannot_be_read(scene: Scene) -> None:
    await scene.put("a", b"value")
    scene.index._cache.drop(b"a")
    mistake = ValueError("a mistake")
    scene.values.outcomes = [FolderUnavailable("input/output error"), mistake]
    refusal = the_refusal(await scene.read("a"))
    assert isinstance(refusal, Unreadable)
    assert (refusal.trouble, refusal.epoch) == ("input/output error", None)
    assert (await scene.read("a")).ends == [mistake]


async def test_what_a_protocol_raises_concerns_its_own_request(scene: Scene) -> None:
    await scene.put("a")
    mistake = ValueError("a mistake")
    read = Read(scene.store, b"a", False, None, mistake)
    scene.store.read(read)
    await until(lambda: bool(read.ends))
    assert read.ends == [mistake]
    change = Change(scene.store, mistake)
    scene.store.write(Write(b"a", b"1"), change)
    await until(lambda: bool(change.ends))
    assert change.ends == [mistake]
    assert scene.stage.ends == []


async def test_a_backup_is_read_only_by_those_who_take_what_is_stale(scene: Scene) -> None:
    await scene.put("a", b"value")
    scene.follow(7)
    refusal = the_refusal(await scene.read("a"))
    assert isinstance(refusal, Elsewhere)
    assert (refusal.main, refusal.epoch) == (MAIN_URL, None)
    read = await scene.read("a", stale=True)
    assert (read.chosen, read.ends) == ([(Version(1, 1), 7)], [b"v"])
    page, epoch = await scene.list("", "", 10, stale=True)
    assert ([key for key, _ in page.entries], epoch) == ([b"a"], 7)
    with pytest.raises(Elsewhere):
        await scene.list("", "", 10, stale=False)
    scene.follow(0, None)
    assert isinstance(the_refusal(await scene.read("a", stale=True)), Elsewhere)
    with pytest.raises(Elsewhere) as nowhere:
        await scene.list("", "", 10, stale=True)
    assert nowhere.value.main is None


async def test_a_stale_read_of_the_main_waits_for_no_check(scene: Scene) -> None:
    await scene.put("a", b"value")
    checks = scene.service.checks
    read = Read(scene.store, b"a", True)
    scene.store.read(read)
    assert (read.chosen, read.ends) == ([(Version(1, 1), 1)], [b"v"])
    assert (await scene.list("", "", 10, stale=True))[1] == 1
    assert scene.service.checks == checks


async def test_a_list_waits_for_a_check(scene: Scene) -> None:
    for key in ("a", "b", "c"):
        await scene.put(key)
    page, epoch = await scene.list("", "a", 1, stale=False)
    assert ([key for key, _ in page.entries], page.following, epoch) == ([b"b"], b"b", 1)
    assert scene.service.checks == 1
    listing = asyncio.ensure_future(scene.list("", "", 1, stale=False))
    scene.stage.seal()
    with pytest.raises(Elsewhere):
        await listing


async def test_reads_beyond_the_bound_are_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_READERS", 3)
    await scene.put("a")
    check = Gate()
    scene.stage.folder.at("read", "claims", before=check)
    reads = [Read(scene.store, b"a", False) for _ in range(4)]
    scene.store.read(reads[0])
    await until(check.reached.is_set)
    for read in reads[1:]:  # these wait for the next check
        scene.store.read(read)
    late = await scene.read("a")
    assert isinstance(the_refusal(late), Busy)
    assert the_refusal(late).epoch == 1
    with pytest.raises(Busy):
        await scene.list("", "", 1, stale=False)
    own = scene.service.fence()  # the worker's own is never refused
    stale = await scene.read("a", stale=True)
    assert stale.ends == [b"v"]
    check.open()
    assert await own == 1
    assert [read.ends for read in reads] == 4 * [[b"v"]]
    assert (await scene.read("a")).ends == [b"v"]


async def test_reads_of_values_on_the_volume_beyond_the_bound_are_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MOST_READERS", 1)
    await scene.put("a")
    scene.index._cache.drop(b"a")
    scene.values.outcomes = [b"1", b"2"]
    scene.values.goes_on.clear()
    first = Read(scene.store, b"a", False)
    scene.store.read(first)
    await until(lambda: bool(scene.values.parts))
    assert isinstance(the_refusal(await scene.read("a")), Busy)
    scene.values.goes_on.set()
    await until(lambda: bool(first.ends))
    assert (await scene.read("a")).ends == [b"2"]


# ---------------------------------------------------------------------- writes


async def test_how_writes_end_that_are_done(scene: Scene) -> None:
    assert await scene.write(Write(b"a", b"1")) == (Outcome(Result.CREATED, Version(1, 1)), 1)
    assert await scene.write(Write(b"a", b"2")) == (Outcome(Result.REPLACED, Version(1, 2)), 1)
    assert await scene.write(Write(b"a", None)) == (Outcome(Result.DELETED, Version(1, 3)), 1)


async def test_how_writes_end_that_are_not_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.write(Write(b"a", b"1", idempotency_key="k"))
    refusals = [
        await scene.refused(Write(b"none", None)),
        await scene.refused(Write(b"a", b"2", idempotency_key="k")),
        await scene.refused(Write(b"a", b"2", if_match=("9-9",))),
        await scene.refused(Write(b"none", b"2", if_match=("*",))),
    ]
    assert [type(refusal) for refusal in refusals] == [NotFound, KeyReused, Conflict, Conflict]
    assert [refusal.version for refusal in refusals if isinstance(refusal, Conflict)] == [Version(1, 1), None]
    monkeypatch.setattr(GroupCommit, "submit", lambda *_: False)
    refusals.append(await scene.refused(Write(b"a", b"2")))
    assert isinstance(refusals[-1], Busy)
    assert {refusal.epoch for refusal in refusals} == {1}


async def test_a_write_that_finds_no_room(scene: Scene) -> None:
    scene.service.space_lacks()
    refusal = await scene.refused(Write(b"a", bytes(1 << 20)))
    assert isinstance(refusal, Full)
    assert refusal.epoch == 1


async def test_writes_of_an_epoch_that_ends(scene: Scene) -> None:
    commit = Gate()
    scene.stage.folder.at("sync", "segments", before=commit)
    in_flight, waiting = Change(scene.store), Change(scene.store)
    scene.store.write(Write(b"a", b"1"), in_flight)
    await until(commit.reached.is_set)
    scene.store.write(Write(b"b", b"1"), waiting)
    scene.service.end("another one claimed epoch 2")
    scene.follow(2)
    scene.node.state.member.epoch = 2
    await until(lambda: bool(in_flight.ends and waiting.ends))
    [unknown], [elsewhere] = in_flight.ends, waiting.ends
    assert isinstance(unknown, Unknown)
    assert unknown.epoch == 1  # the one that the write was in
    assert isinstance(elsewhere, Elsewhere)
    assert elsewhere.main == MAIN_URL
    commit.open()
    late = await scene.refused(Write(b"c", b"1"))
    assert isinstance(late, Elsewhere)
    with pytest.raises(Elsewhere):
        scene.store.require_main()


async def test_a_main_is_where_one_asks(scene: Scene) -> None:
    scene.store.require_main()
    assert (scene.store.epoch, scene.store.index) == (1, scene.service.index)


async def test_large_values_wait_for_memory_and_small_ones_do_not(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_PATIENCE_SECONDS", 0.2)
    large, memory = bytes(100 << 10), scene.store.memory
    await scene.put("large", large)
    await scene.put("small")
    others = Hold(memory, None)
    others.resize(memory.most - len(large))
    assert (await scene.read("small")).ends == [b"v"]
    refused = await scene.read("large", (0, len(large)))
    await until(lambda: bool(refused.ends))
    [refusal] = refused.ends
    assert isinstance(refusal, Crowded)
    assert (scene.values.parts, memory.refusals) == ([], 1)
    monkeypatch.setattr(budget, "_PATIENCE_SECONDS", AMPLE_SECONDS)
    scene.values.outcomes.append(large)
    read = Read(scene.store, b"large", False, (0, len(large)))
    scene.store.read(read)
    await until(lambda: bool(read.chosen))
    assert read.ends == []
    others.release()
    await until(lambda: read.ends == [large])
    assert scene.values.parts == [(0, len(large))]
    await until(lambda: memory.used == 0)
    assert (await scene.read("large", (0, len(large)))).ends == [large]


async def test_a_long_list_is_made_alone_and_in_pieces(scene: Scene) -> None:
    for number in range(100):
        await scene.put(f"{number:03}" + "\1" * 900)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with scene.store.list((b"",), b"", 99, stale=True) as listed:
        other = asyncio.create_task(scene.list("", "", 1, stale=True))
        before = turns
        answer = await of_page(*listed)
        assert turns - before >= 2  # of 90,000 characters
        assert not other.done()
    await other
    counting.cancel()
    page = msgspec.json.decode(answer.body, type=Page)
    assert [entry.key for entry in page.keys] == [key.decode() for key, _ in listed[0].entries]
    assert page.next == page.keys[-1].key
    empty = await of_page(KeyPage([], None), 1)
    assert msgspec.json.decode(empty.body) == {"keys": [], "next": None}


async def test_a_backup_that_serves_redirects_while_its_main_takes_no_lines(scene: Scene) -> None:
    scene.follow(1)
    forwarder = scene.node.state.forwarder = SimpleNamespace(declined=False)
    scene.store.require_main()
    with pytest.raises(Elsewhere) as refusal:
        scene.store.refuse()
    assert refusal.value.main is None, "its patience is over: there is no main that can do it"
    forwarder.declined = True
    with pytest.raises(Elsewhere) as refusal:
        scene.store.require_main()
    assert refusal.value.main == MAIN_URL


@pytest.mark.parametrize("result", refusals.OF_RESULTS, ids=lambda result: result.name)
def test_every_refusal_has_an_answer(result: Result) -> None:
    large = {Result.TOO_LARGE, Result.TOO_MANY_DELETES, Result.TOO_MANY_KEYS, Result.LEASE_CROWDED}
    refusal = refusals.OF_RESULTS[result](1)
    assert problem(refusal, b"/v1/kv/a").status in {404, 409, 413, 422, 429, 503, 507}
    assert (problem(refusal, b"").status == 413) is (result in large)
