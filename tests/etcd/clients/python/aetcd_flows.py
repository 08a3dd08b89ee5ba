"""aetcd, by gRPC and asyncio."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import aetcd
from conversation import TTL_SECONDS, begin, break_store, lived_as_granted

T = TypeVar("T")
_OPTIONS = {"grpc.lb_policy_name": "round_robin", "grpc.max_reconnect_backoff_ms": 1000}


def connected(endpoints: list[str]) -> aetcd.Client:
    """Return a client that knows all endpoints, which takes a name of gRPC's: a client of aetcd has one host only."""
    host, _, port = f"ipv4:{','.join(endpoints)}".rpartition(":")
    return aetcd.Client(host, int(port), options=_OPTIONS)


async def insist(call: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Call until the store answers: what was under way when it broke ends as unavailable."""
    while True:
        try:
            return await call(*arguments)
        except aetcd.ConnectionFailedError:
            await asyncio.sleep(0.02)


async def broken() -> None:
    """Have the store broken and mended."""
    await asyncio.to_thread(break_store)


async def kv(endpoints: list[str]) -> None:
    async with connected(endpoints) as client:
        first = (await client.put(b"aio/kv/0", b"0")).header.revision

        def show(what: str, found: Any) -> None:
            seen = [(kv.key, kv.value, kv.version, kv.mod_revision - first) for kv in found]
            print(what, *seen, sep="\n  ")

        for number in range(1, 5):
            await client.put(b"aio/kv/%d" % number, b"%d" % (10 - number))
        print("over", (await client.put(b"aio/kv/3", b"again", prev_kv=True)).prev_kv.value)
        show("all", await client.get_prefix(b"aio/kv/"))
        found = await client.get_prefix(b"aio/kv/", sort_order="descend", sort_target="value")
        show(f"by value {found.count}, more {found.more}", found)
        print("none", await client.get(b"aio/kv/nothing"))
        transactions = client.transactions
        for expected in (b"again", b"else"):
            succeeded, answers = await client.transaction(
                compare=[transactions.value(b"aio/kv/3") == expected, transactions.version(b"aio/kv/3") > 1],
                success=[transactions.put(b"aio/kv/3", b"changed"), transactions.get(b"aio/kv/3")],
                failure=[transactions.get(b"aio/kv/1"), transactions.delete(b"aio/kv/2")],
            )
            print("transaction", succeeded, len(answers))
        print("replace", await client.replace(b"aio/kv/3", b"changed", b"last"))
        status = await client.status()
        print("version:", status.version.startswith("3.6."), "leader:", status.leader.name != "")
        deleted = await client.delete_prefix(b"aio/kv/", prev_kv=True)
        show(f"deleted {deleted.deleted}", deleted.prev_kvs)


async def lock(endpoints: list[str]) -> None:
    async with connected(endpoints) as one, connected(endpoints) as two:
        first, second = one.lock(b"aio/lock", TTL_SECONDS), two.lock(b"aio/lock", TTL_SECONDS)
        print("first", await first.acquire(), await first.is_acquired())
        print("second", await second.acquire(timeout=1), await second.is_acquired())
        stop = asyncio.Event()

        async def refresh() -> None:
            while not stop.is_set():
                assert (await insist(first.refresh)).TTL == TTL_SECONDS, "the lock is lost"
                await asyncio.sleep(TTL_SECONDS / 6)

        refreshing = asyncio.create_task(refresh())
        await broken()
        begun = time.monotonic()
        while time.monotonic() < begun + 2 * TTL_SECONDS:  # the time in which it must not be lost
            assert await insist(first.is_acquired), "the lock is lost"
            await asyncio.sleep(0.1)
        waiting = asyncio.create_task(insist(second.acquire, None))
        stop.set()
        await refreshing
        print("released", await insist(first.release))
        print("second", await waiting, await second.is_acquired())
        print("released", await second.release(), await first.release())


async def watch(endpoints: list[str]) -> None:
    """A watch of aetcd ends with an error when its connection does: it is begun anew behind its last event."""
    async with connected(endpoints) as client, connected(endpoints) as writer:
        begin = (await writer.put(b"aio/watch-begins", b"")).header.revision
        written: list[int] = []
        news, over = asyncio.Event(), asyncio.Event()

        async def write() -> None:
            while not over.is_set():
                number = len(written)
                await insist(writer.put, b"aio/watch/%d" % (number % 5), b"%d" % number)
                written.append(number)

        seen: list[tuple[int, bytes, bytes]] = []

        async def follow() -> None:
            start = seen[-1][0] + 1 if seen else begin
            async for event in await client.watch_prefix(b"aio/watch/", start_revision=start):
                seen.append((event.kv.mod_revision, event.kv.key, event.kv.value))
                news.set()
                if event.kv.value == b"end":
                    return

        following = asyncio.create_task(insist(follow))
        writing = asyncio.create_task(write())
        for _ in range(3):
            goal = len(seen) + 20
            while len(seen) < goal:
                news.clear()
                await news.wait()
            await broken()
        over.set()
        await writing
        await insist(writer.put, b"aio/watch/end", b"end")
        await following

        revisions = [revision for revision, _, _ in seen]
        assert revisions == sorted(set(revisions)), "an event came twice, or too late"
        values = [int(value) for _, _, value in seen[:-1]]
        assert sorted(set(values)) == written, "an event was missed"
        assert values == sorted(values), "an event came too late"
        print("each event was seen once and in order")
        await client.delete_prefix(b"aio/watch/")


async def lease(endpoints: list[str]) -> None:
    async with connected(endpoints) as client:
        kept = await client.lease(TTL_SECONDS)
        await client.put(b"aio/lease/kept", b"", lease=kept)
        print("keys", list(await kept.keys()), "granted", await kept.granted_ttl())
        begun = time.monotonic()
        left = await client.lease(TTL_SECONDS)
        await client.put(b"aio/lease/left", b"", lease=left)
        gone = asyncio.Event()

        async def keep() -> None:
            while not gone.is_set():
                assert (await insist(kept.refresh)).TTL == TTL_SECONDS, "the lease is lost"
                await asyncio.sleep(TTL_SECONDS / 6)

        keeping = asyncio.create_task(keep())
        await broken()
        while await insist(client.get, b"aio/lease/left") is not None:  # noqa: ASYNC110 - the store says so
            await asyncio.sleep(0.1)
        lived_as_granted(time.monotonic() - begun)
        gone.set()
        await keeping
        print("refreshed afterwards:", (await left.refresh()).TTL)
        print("kept", list(await kept.keys()))
        await kept.revoke()
        print("revoked:", await client.get(b"aio/lease/kept"), await kept.remaining_ttl())


def run(flow: Callable[[list[str]], Coroutine[Any, Any, None]]) -> Callable[[list[str]], None]:
    return lambda endpoints: asyncio.run(flow(endpoints))


if __name__ == "__main__":
    begin({"kv": run(kv), "lock": run(lock), "watch": run(watch), "lease": run(lease)})
