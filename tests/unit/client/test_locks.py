"""Leases, locks and elections of the client, against a store in memory and a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from hanas_client import LeaseLost, NoLease, NotAcquired, Refused, leases
from hanas_client import transactions as tx
from hanas_client.calls import Call
from hanas_client.leases import Lease
from hanas_client.locks import Election, Lock, Queue
from tests.unit.client.fake_store import FakeStore
from tests.unit.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float, _: Call) -> bool:
        self.now += seconds
        return False


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "clock", clock)
    return clock


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[FakeStore]:
    async with asyncio.timeout(30):
        yield FakeStore()


def sent(store: FakeStore, ending: str) -> int:
    return sum(call.target.endswith(ending) for call in store.calls)


# ---------------------------------------------------------------------- leases


async def test_a_lease_is_certain_from_the_time_when_what_was_answered_was_sent(store: FakeStore, clock: Clock) -> None:
    async with Lease(store, 30) as lease:
        assert (lease.remaining, lease.until) == (30.0, 1030.0)
        clock.now += 12
        renewed: list[float] = []
        lease.on_renewal = renewed.append
        store.loses = partial(clock.passes, 5)
        await lease.keep_alive()
        assert (lease.until, renewed, clock.now) == (1042.0, [1042.0], 1017.0)
        clock.now = 1041.9
        lease.check()
        clock.now = 1042.0
        assert lease.remaining == 0
        with pytest.raises(LeaseLost):
            lease.check()
    assert store.leases == {}


async def test_a_lease_that_was_lost_stays_lost(store: FakeStore, clock: Clock) -> None:
    async with Lease(store, 30) as lease:
        store.loses = partial(clock.passes, 30)
        with pytest.raises(LeaseLost):
            await lease.keep_alive()
        clock.now -= 30
        with pytest.raises(LeaseLost, match="may be another one's"):
            lease.check()
        await lease.wait_lost()


async def test_a_lease_that_the_cluster_has_ended_is_lost_at_once(store: FakeStore, clock: Clock) -> None:
    async with Lease(store, 30) as lease:
        losing = asyncio.create_task(lease.wait_lost())
        await store.expire(lease.id)
        with pytest.raises(LeaseLost):
            await lease.keep_alive()
        await losing
        assert lease.lost


async def test_a_lease_is_kept_alive_in_the_background_and_over_failures(store: FakeStore) -> None:
    async with Lease(store, 1) as lease:
        store.down = True
        await until(lambda: lease.remaining < 0.6)
        store.down = False
        await until(lambda: lease.remaining > 0.9)
        assert not lease.lost
    assert sent(store, "/keepalive") >= 1


async def test_work_ends_when_the_lease_is_lost(store: FakeStore) -> None:
    async with Lease(store, 1) as lease:
        assert await lease.while_kept(asyncio.sleep(0, "done")) == "done"
        store.down = True
        with pytest.raises(LeaseLost):
            await lease.while_kept(asyncio.Event().wait())


async def test_a_grant_whose_answer_was_lost_is_taken_up(store: FakeStore, clock: Clock) -> None:
    store.loses = lambda call: call.target == leases.PATH
    async with Lease(store, 30) as lease:
        assert list(store.leases) == [lease.id]
        assert sent(store, "/keepalive") == 1
    with pytest.raises(Refused):
        async with Lease(store, 30, lease=7):
            pass


async def test_calls_about_a_lease_that_is_not_there(store: FakeStore) -> None:
    for call in (leases.keep_alive(7), leases.revoke_lease(7), leases.show_lease(7)):
        with pytest.raises(NoLease) as failure:
            await store.perform(call)
        assert failure.value.lease == 7
    with pytest.raises(NoLease):
        await store.perform(tx.txn((), [tx.put("a", b"", lease=7)]))


# ---------------------------------------------------------------------- transactions


async def test_a_transaction_that_was_repeated_tells_so(store: FakeStore) -> None:
    store.loses = lambda call: True
    done = await store.perform(tx.txn([tx.missing("a")], [tx.put("a", b"x")], [tx.get("a")]))
    assert (done.succeeded, done.revision, done.repeated, done.results) == (True, 2, True, ())
    assert store.keys["a"]["version"] == 1


@pytest.mark.parametrize(("target", "operand"), [("value", 1), ("version", b"1")])
def test_a_comparison_of_the_wrong_kind(target: tx.Target, operand: bytes | int) -> None:
    with pytest.raises(ValueError, match=f"{target} is compared with"):
        tx.compare("a", target, "=", operand)


def test_the_json_of_a_transaction() -> None:
    asked = tx.txn(
        [tx.compare("a", "value", "!=", b"\xff"), tx.exists("b"), tx.compare(None, "lease", "=", 0, prefix="c/")],
        [tx.put("a", b"x", "text/plain", 7), tx.delete(prefix="d/"), tx.inner(then=[tx.get("a")])],
        [tx.get(prefix="", limit=3)],
        idempotency_key="mine",
    ).call
    assert asked.body == (
        b'{"if":[{"key":"a","is":"!=","base64":"/w=="},{"key":"b","target":"version","is":">","number":0},'
        b'{"prefix":"c/","target":"lease","number":0}],'
        b'"then":[{"put":{"key":"a","base64":"eA==","contentType":"text/plain","lease":7}},'
        b'{"delete":{"prefix":"d/"}},{"txn":{"then":[{"get":{"key":"a"}}]}}],'
        b'"else":[{"get":{"prefix":"","limit":3}}]}'
    )
    assert asked.headers["idempotency-key"] == "mine"


# ---------------------------------------------------------------------- locks


async def test_holders_follow_each_other_in_the_order_of_their_keys(store: FakeStore) -> None:
    order: list[int] = []
    inside = 0

    async def work(number: int) -> None:
        nonlocal inside
        async with Lock(store, "job") as lock:
            inside += 1
            assert inside == 1
            order.append(lock.revision)
            assert store.keys[lock.key]["create"] == lock.revision
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(work(number) for number in range(6)))
    assert len(order) == 6
    assert order == sorted(order)
    assert store.keys == {}
    assert {call.target.partition("&")[0][:18] for call in store.watched} == {"/v1/watch?key=job%"}


async def test_a_holder_whose_lease_expires_is_followed_by_the_next_one(store: FakeStore) -> None:
    async with Lock(store, "job") as first:
        waiting = asyncio.create_task(Lock(store, "job").__aenter__())
        await until(lambda: len(store.watched) == 1)
        assert not waiting.done()
        await store.expire(first.lease.id)
        second = await waiting
        assert second.revision > first.revision
        assert not (await store.perform(tx.txn([first.holds], ()))).succeeded
        assert (await store.perform(tx.txn([second.holds], ()))).succeeded
        await second.__aexit__(None, None, None)


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_a_lock_that_is_not_obtained_in_time_leaves_no_key(store: FakeStore, timeout: float) -> None:
    async with Lock(store, "job") as first, Lease(store, 30) as lease:
        for attempt in (Lock(store, "job", timeout=timeout), Lock(store, "job", timeout=timeout, lease=lease)):
            with pytest.raises(NotAcquired, match="job is held by another one"):
                await attempt.__aenter__()
            with pytest.raises(NotAcquired, match="acquired first"):
                _ = attempt.key
        assert list(store.keys) == [first.key]
        assert set(store.leases) == {first.lease.id, lease.id}


async def test_a_lock_is_obtained_though_every_answer_is_lost(store: FakeStore) -> None:
    store.loses = lambda call: True
    async with Lock(store, "job", timeout=0) as lock:
        assert store.keys[lock.key]["create"] == lock.revision
        assert store.keys[lock.key]["version"] == 1
    assert store.keys == {}


async def test_a_lease_that_is_given_is_kept(store: FakeStore) -> None:
    async with Lease(store, 30) as lease:
        async with Lock(store, "job", value=b"me", lease=lease) as lock:
            assert store.keys[lock.key] | {"lease": lease.id, "text": "me"} == store.keys[lock.key]
            async with Lock(store, "job", lease=lease) as again:
                assert again.revision == lock.revision
        assert store.keys == {}
        assert list(store.leases) == [lease.id]


async def test_a_candidate_whose_key_is_deleted_does_not_hold(store: FakeStore) -> None:
    async with Lock(store, "job") as first:
        waiting = asyncio.create_task(Lock(store, "job").__aenter__())
        await until(lambda: len(store.watched) == 1)
        (other,) = store.keys.keys() - {first.key}
        await store.delete(other)
        await store.delete(first.key)
        with pytest.raises(LeaseLost, match="somebody deleted it"):
            await waiting


async def test_a_watch_whose_history_is_forgotten_looks_again(store: FakeStore) -> None:
    async with Lock(store, "job") as first:
        store.compacted = store.revision + 2
        waiting = asyncio.create_task(Lock(store, "job").__aenter__())
        await until(lambda: len(store.watched) >= 2)
        store.compacted = 0
        await store.expire(first.lease.id)
        await (await waiting).__aexit__(None, None, None)


async def test_predecessors_beyond_the_longest_read_are_waited_for(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tx, "MOST_KEYS", 1)
    store.leases[1] = 30
    await store.put("job/z", lease=1)
    async with Lease(store, 30, 2) as lease:
        waiting = asyncio.create_task(Lock(store, "job", lease=lease).__aenter__())
        await until(lambda: len(store.watched) == 1)
        assert store.watched[0].target.startswith("/v1/watch?prefix=job%2F&")
        await store.delete("job/z")
        await waiting


async def test_a_name_is_needed(store: FakeStore) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Queue(store, "")


async def test_the_waiting_ends_with_the_lease(store: FakeStore) -> None:
    async with Lock(store, "job"):
        waiting = asyncio.create_task(Lock(store, "job", ttl=1).__aenter__())
        await until(lambda: len(store.watched) == 1)
        store.down = True
        with pytest.raises(LeaseLost):
            await waiting
        store.down = False


# ---------------------------------------------------------------------- elections


async def test_leaders_follow_each_other_and_are_observed(store: FakeStore) -> None:
    seen: list[str | None] = []

    async def observe() -> None:
        async for leader in Election(store, "e").observe():
            seen.append(leader.text)  # noqa: PERF401

    observing = asyncio.create_task(observe())
    async with Election(store, "e") as first, Election(store, "e") as second:
        assert await first.leader() is None
        await first.campaign(b"first")
        campaign = asyncio.create_task(second.campaign(b"second"))
        await until(lambda: seen == ["first"])
        await first.proclaim(b"still first")
        await until(lambda: seen == ["first", "still first"])
        leader = await second.leader()
        assert leader is not None
        assert (leader.key, leader.create) == (first.key, first.revision)
        place = first.key
        await first.resign()
        await campaign
        await until(lambda: seen[2:] == ["second"])
        assert place not in store.keys
        with pytest.raises(NotAcquired):
            await first.proclaim(b"again")
        await store.delete(second.key)
        with pytest.raises(LeaseLost, match="leads no more"):
            await second.proclaim(b"late")
        with pytest.raises(NotAcquired):
            async with Lock(store, "e"):
                await first.campaign(b"first", timeout=0.05)
    observing.cancel()
    assert store.leases == {}


async def test_an_observer_that_is_too_slow_goes_on_from_the_present_leader(store: FakeStore) -> None:
    leaders = Election(store, "e").observe()
    async with Election(store, "e") as candidate:
        await candidate.campaign(b"1")
        assert (await anext(leaders)).text == "1"
        await candidate.proclaim(b"2")
        await candidate.proclaim(b"3")
        await store.compact(store.revision)
        assert (await anext(leaders)).text == "3"
    await leaders.aclose()
