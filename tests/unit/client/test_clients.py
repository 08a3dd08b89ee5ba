"""Both clients over real connections: what goes over the wire, and what comes back."""

import asyncio
import inspect
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from hanas_client import AsyncClient, Client, NotFound, Policy, PreconditionFailed, Refused, Unavailable
from hanas_client.documents import decoder_of
from hanas_client.errors import BadAnswer
from hanas_client.events import follow
from tests.unit.client.fake_cluster import FakeCluster, running


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with Client(cluster.url) as client:
        yield client


@pytest.mark.parametrize(
    "key", ["a", "a/b/c", "ü €/😀", "a b?c#d%41", "..", "../x/./y", "a//b", "/", "%", "+&=", "k" * 1024]
)
@pytest.mark.parametrize("value", [b"", b"\0\xff" * 100])
def test_keys_and_values_survive_the_wire(cluster: FakeCluster, client: Client, key: str, value: bytes) -> None:
    written = client.put(key, value, content_type="text/x-test")
    assert (written.created, written.version) == (True, "3-1")
    assert list(cluster.values) == [key]
    got = client.get(key)
    assert (got.value, got.version, got.content_type) == (value, "3-1", "text/x-test")
    assert not client.put(key, b"other").created
    client.delete(key)
    with pytest.raises(NotFound):
        client.get(key)
    with pytest.raises(NotFound):
        client.delete(key)


@pytest.mark.parametrize("key", ["", "k" * 1025, "ü" * 513, "\udcff"])
def test_impossible_keys_are_refused_at_once(cluster: FakeCluster, client: Client, key: str) -> None:
    with pytest.raises(ValueError, match="a key must"):
        client.get(key)
    assert cluster.requests == []


def test_conditions(client: Client) -> None:
    version = client.put("a", b"1", if_none_match=True).version
    with pytest.raises(PreconditionFailed, match="the key is there"):
        client.put("a", b"2", if_none_match=True)
    newer = client.put("a", b"2", if_match=version).version
    with pytest.raises(PreconditionFailed):
        client.delete("a", if_match=version)
    client.delete("a", if_match=f'"{newer}"')


@pytest.mark.parametrize("bad", ["a\r\nx: y", "ü", ""])
def test_headers_cannot_be_smuggled(client: Client, bad: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        client.put("a", b"", content_type=bad)
    with pytest.raises(ValueError, match="is not a"):
        client.delete("a", if_match=bad)


def test_list_goes_on_over_pages(client: Client) -> None:
    for number in range(8):
        client.put(f"k{number}", b"x" * number)
    client.put("other", b"")
    assert [entry.key for entry in client.list("k")] == [f"k{number}" for number in range(8)]
    assert [(entry.key, entry.size) for entry in client.list("k", after="k2", limit=4)] == [
        ("k3", 3), ("k4", 4), ("k5", 5), ("k6", 6)
    ]  # fmt: skip
    assert list(client.list("nothing")) == []
    assert client.page("k", limit=2).next == "k1"


def test_documents_of_the_overseer_with_unknown_fields(cluster: FakeCluster, client: Client) -> None:
    document = client.cluster()
    assert document.main is not None
    assert document.members[0].lag_bytes == 0
    assert document.links[0].source == "worker-1"
    assert client.takeovers()[0].evidence == {"probe": {"sent": 1.5}}
    assert client.alerts()[0].advice == "look at it"
    assert client.status() == client.status(cluster.url) == {"role": "main", "epoch": 3, "member": "worker-1"}


def test_token_from_a_file(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\nold\n")
    with Client(cluster.url, token_file=tmp_path / "token") as client:
        client.put("a", b"")
    assert all(headers["authorization"] == "Bearer secret" for _, _, headers in cluster.requests)


def test_write_is_repeated_under_one_key(cluster: FakeCluster, client: Client) -> None:
    cluster.refusals = 3
    client.put("a", b"")
    keys = [headers["idempotency-key"] for method, _, headers in cluster.requests if method == "PUT"]
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_connection_refused_is_told_and_nothing_was_written() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client(servers=url, policy=Policy(deadline=0.2)) as client, pytest.raises(Unavailable) as failure:
            client.put("a", b"")
    assert "connection refused" in str(failure.value)
    assert not failure.value.outcome_unknown


def test_server_that_never_answers_leaves_the_outcome_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        policy = Policy(deadline=0.4, read=0.1)
        with Client(servers=url, policy=policy) as client, pytest.raises(Unavailable) as failure:
            client.put("a", b"")
    assert failure.value.outcome_unknown
    assert failure.value.tries > 1


def test_strange_server(cluster: FakeCluster) -> None:
    with Client(f"{cluster.url}/elsewhere", cluster.url) as client:
        with pytest.raises(NotFound):
            client.cluster()
        client.put("a", b"")  # by the worker, since the overseer is none
    assert issubclass(BadAnswer, Exception)
    assert issubclass(PreconditionFailed, Refused)


def test_without_an_overseer_only_workers_are_asked(cluster: FakeCluster) -> None:
    with Client(servers=cluster.url) as client:
        client.put("a", b"")
        with pytest.raises(ValueError, match="no overseer"):
            client.cluster()
    assert len(cluster.requests) == 1


async def test_async_client_does_the_same(cluster: FakeCluster) -> None:
    async with AsyncClient(cluster.url) as client:
        cluster.refusals = 2
        written = await asyncio.gather(*(client.put(f"k{number}", b"v") for number in range(7)))
        assert all(one.created for one in written)
        assert (await client.get("k3")).value == b"v"
        assert [entry.key async for entry in client.list("k", limit=5)] == [f"k{n}" for n in range(5)]
        await client.delete("k3")
        with pytest.raises(NotFound):
            await client.get("k3")
        assert (await client.cluster()).epoch == 3
        assert (await client.takeovers())[0].why == "failure"
        assert (await client.alerts())[0].id == "a1"
        assert (await client.status(cluster.url))["role"] == "main"
        assert (await client.page()).next == "k2"


async def test_events_are_resumed_after_the_last_one(cluster: FakeCluster) -> None:
    cluster.events = [("1", "cluster", {"epoch": 1}), ("2", "alert", {"id": "a"})]
    troubles: list[str] = []

    def trouble(words: str) -> None:
        troubles.append(words)
        cluster.events.append((str(len(cluster.events) + 1), "cluster", {"epoch": 2}))

    async with asyncio.timeout(20), aclosing(follow((cluster.url,), on_trouble=trouble)) as stream:
        seen = [await anext(stream) for _ in range(4)]
    assert [(event.id, event.name) for event in seen] == [
        ("1", "cluster"), ("2", "alert"), ("3", "cluster"), ("4", "cluster")
    ]  # fmt: skip
    assert len(troubles) == 2
    resumed = [headers.get("last-event-id") for _, path, headers in cluster.requests if path == "/v1/events"]
    assert resumed == [None, "2", "3"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_methods_have_the_parameters_and_the_documentation_of_their_calls(kind: type[Client | AsyncClient]) -> None:
    assert list(inspect.signature(kind.put).parameters) == [
        "self", "key", "value", "content_type", "if_match", "if_none_match", "lease"
    ]  # fmt: skip
    assert kind.put.__name__ == "put"
    assert "durable on return" in str(kind.put.__doc__)
    assert list(inspect.signature(kind("http://127.0.0.1:9").get).parameters) == ["key", "stale", "revision"]


def test_threads_that_use_a_type_first_share_its_decoder() -> None:
    for _ in range(20):
        inner = msgspec.defstruct("Inner", [("number", int)])
        kind = msgspec.defstruct("Outer", [("inner", list[inner]), ("other", inner)])  # type: ignore[valid-type]
        with ThreadPoolExecutor(4) as threads:
            decoders = list(threads.map(decoder_of, [kind] * 8))
        assert len(set(map(id, decoders))) == 1
