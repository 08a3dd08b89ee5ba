"""etcd3gw, by the JSON gateway: a client of it knows one endpoint, so a program has one client for each."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import etcd3gw
from conversation import TTL_SECONDS, begin, break_store, lived_as_granted
from etcd3gw.exceptions import ConnectionFailedError, Etcd3Exception

T = TypeVar("T")
Client = Any


def connected(endpoints: list[str]) -> list[Client]:
    return [etcd3gw.client(host=host, port=int(port)) for host, port in (each.split(":") for each in endpoints)]


def insist(clients: list[Client], call: Callable[..., T], *arguments: object) -> T:
    """Return what the first client that can answers: others have lost their worker, or their main."""
    for client in itertools.cycle(clients):
        try:
            return call(client, *arguments)
        except ConnectionFailedError:
            time.sleep(0.02)
    raise AssertionError


def kv(endpoints: list[str]) -> None:
    client = connected(endpoints)[0]

    def show(what: str, found: list[tuple[bytes, dict[str, Any]]]) -> None:
        seen = [(entry["key"].decode(), value.decode(), entry["version"]) for value, entry in found]
        print(what, *seen, sep="\n  ")

    for number in range(5):
        client.put(f"gw/kv/{number}", str(10 - number))
    client.put("gw/kv/3", "again")
    show("all", client.get_prefix("gw/kv/"))
    show("by value", client.get_prefix("gw/kv/", sort_order="descend", sort_target="value"))
    show("some", client.get("gw/kv/1", metadata=True, range_end="gw/kv/9", limit=2))
    show("names", client.get("gw/kv/", metadata=True, range_end="gw/kv0", keys_only=True, sort_order="ascend"))
    print("one", client.get("gw/kv/3"), "none", client.get("gw/kv/nothing"))
    ((_, entry),) = client.get("gw/kv/3", metadata=True)
    print("before", client.get("gw/kv/3", revision=int(entry["mod_revision"]) - 1))
    print("create", client.create("gw/kv/new", "1"), client.create("gw/kv/new", "2"))
    print("replace", client.replace("gw/kv/new", "1", "2"), client.replace("gw/kv/new", "1", "3"))
    print("delete", client.delete("gw/kv/new"), client.delete("gw/kv/new"))
    try:
        client.get("gw/kv/3", revision=1 << 40)
    except Etcd3Exception as error:
        print("the future:", error.detail_text)
    try:
        client.put("", "1")
    except Etcd3Exception as error:
        print("no key:", error.detail_text)
    print("members:", all(member["clientURLs"] for member in client.members()))
    print("version:", client.status()["version"].startswith("3.6."))
    print("deleted", client.delete_prefix("gw/kv/"), client.get_prefix("gw/kv/"))


def lock(endpoints: list[str]) -> None:
    clients = connected(endpoints)
    first, second = (insist(clients, lambda client: client.lock("gw-lock", ttl=TTL_SECONDS)) for _ in range(2))
    print("first", first.acquire(), first.is_acquired())
    print("second", second.acquire(), second.is_acquired())
    stop = threading.Event()

    def keep(client: Client) -> int:
        first.lease.client = first.client = client
        return int(first.refresh())

    def refresh() -> None:
        while not stop.wait(TTL_SECONDS / 6):
            assert insist(clients, keep) == TTL_SECONDS, "the lock is lost"

    refreshing = threading.Thread(target=refresh)
    refreshing.start()
    break_store()
    begun = time.monotonic()
    while time.monotonic() < begun + 2 * TTL_SECONDS:  # the time in which it must not be lost

        def held(client: Client) -> bool:
            first.client = client
            return bool(first.is_acquired())

        assert insist(clients, held), "the lock is lost"
        time.sleep(0.1)
    stop.set()
    refreshing.join()
    print("first", first.is_acquired())
    print("released", first.release())
    print("second", insist(clients, lambda client: taken(second, client)), second.is_acquired())
    print("released", second.release(), first.release())


def taken(lock: Any, client: Client) -> bool:
    lock.client = client
    return bool(lock.acquire())


def watch(endpoints: list[str]) -> None:
    """A watch of etcd3gw ends without a word when its connection does: it is begun anew behind its last event."""
    clients = connected(endpoints)
    insist(clients, lambda client: client.put("gw/watch-begins", ""))
    ((_, begins),) = insist(clients, lambda client: client.get("gw/watch-begins", metadata=True))
    written: list[int] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            insist(clients, lambda client: client.put(f"gw/watch/{len(written) % 5}", str(len(written))))
            written.append(len(written))

    seen: list[tuple[int, str, str]] = []

    def look(events: Iterator[dict[str, Any]], last: str) -> None:
        for event in events:
            entry = event["kv"]
            seen.append((int(entry["mod_revision"]), entry["key"].decode(), entry.get("value", b"").decode()))
            if seen[-1][2] == last:
                return

    def follow(client: Client, last: str) -> None:
        start = seen[-1][0] + 1 if seen else int(begins["mod_revision"])
        events, cancel = client.watch_prefix("gw/watch/", start_revision=start)
        look(events, last)
        cancel()

    writing = threading.Thread(target=write)
    writing.start()
    for _ in range(3):
        last = str(len(written) + 10)
        insist(clients, follow, last)
        break_store()
    over.set()
    writing.join()
    insist(clients, lambda client: client.put("gw/watch/end", "end"))
    insist(clients, follow, "end")

    revisions = [revision for revision, _, _ in seen]
    assert revisions == sorted(set(revisions)), "an event came twice, or too late"
    values = [int(value) for _, _, value in seen[:-1]]
    assert sorted(set(values)) == written, "an event was missed"
    assert values == sorted(values), "an event came too late"
    print("each event was seen once and in order")
    insist(clients, lambda client: client.delete_prefix("gw/watch/"))


def lease(endpoints: list[str]) -> None:
    clients = connected(endpoints)
    kept = insist(clients, lambda client: client.lease(TTL_SECONDS))
    insist(clients, lambda client: client.put("gw/lease/kept", "", lease=kept))
    print("keys", kept.keys(), "lives on", 0 < kept.ttl() <= TTL_SECONDS)
    begun = time.monotonic()
    left = insist(clients, lambda client: client.lease(TTL_SECONDS))
    insist(clients, lambda client: client.put("gw/lease/left", "", lease=left))
    gone: list[float] = []
    stop = threading.Event()

    def refresh(client: Client) -> int:
        kept.client = client
        return int(kept.refresh())

    def keep() -> None:
        while not stop.wait(TTL_SECONDS / 6):
            assert insist(clients, refresh) == TTL_SECONDS, "the lease is lost"
            if not gone and not insist(clients, lambda client: client.get("gw/lease/left")):
                gone.append(time.monotonic() - begun)

    keeping = threading.Thread(target=keep)
    keeping.start()
    break_store()
    while not gone:
        time.sleep(0.1)
    stop.set()
    keeping.join()
    lived_as_granted(gone[0])
    left.client = kept.client
    print("refreshed afterwards:", left.refresh())
    print("kept", kept.keys(), kept.revoke(), kept.client.get("gw/lease/kept"))
    print("refreshed afterwards:", kept.refresh())


if __name__ == "__main__":
    begin({"kv": kv, "lock": lock, "watch": watch, "lease": lease})
