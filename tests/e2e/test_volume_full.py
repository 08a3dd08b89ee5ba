"""The volume fills up: writes are refused and nothing else happens, until room is made by deleting."""

from collections.abc import Iterator

import pytest

from tests.e2e.clients import Clients, clients
from tests.e2e.cluster import Cluster, Nodes
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import eventually, holds

SIZE_MIB = 384
"""For log segments of 32 MiB: every worker has one prepared, and the main leaves the room of two."""
_FILL = """
import asyncio, sys
from hanas_client import AsyncClient
from hanas_client.errors import Refused
async def fill():
    async with AsyncClient((sys.argv[1],), ()) as client:
        for number in range(1000):
            try:
                await client.put(f"fill/{number}", bytes(4 << 20))
            except Refused as error:
                return print(number, error.status, error)
asyncio.run(fill())
"""
_EMPTY = """
import asyncio, sys
from hanas_client import AsyncClient
async def empty():
    async with AsyncClient((sys.argv[1],), ()) as client:
        for number in range(int(sys.argv[2])):
            await client.delete(f"fill/{number}")
asyncio.run(empty())
"""


@pytest.fixture
def claim(nodes: Nodes, namespace: Kubectl) -> Iterator[str]:
    """A claim on a small volume."""
    with nodes.small_volume(SIZE_MIB) as point:
        name = f"small-{namespace.namespace}"
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        namespace.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    **common,
                    "capacity": {"storage": f"{SIZE_MIB}Mi"},
                    "hostPath": {"path": point, "type": "Directory"},
                    "claimRef": {"name": "small", "namespace": namespace.namespace},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "small", "namespace": namespace.namespace},
                "spec": {**common, "volumeName": name, "resources": {"requests": {"storage": f"{SIZE_MIB}Mi"}}},
            },
        )
        yield "small"
        namespace("delete", "hanas", "--all", "--wait=true")
        # Not the pod of the clients: it holds no volume, and outlives a test that failed, with its history.
        eventually("no pod holds the volume", lambda: not namespace.list("pods", "hanas.dev/cluster"))
        namespace("delete", "pvc/small", f"pv/{name}", "--wait=true")


def _run(demo: HANas, running: Clients, script: str, *arguments: str) -> str:
    overseer = f"{demo.scheme}://{demo.name}-overseer:4000"
    words = ("exec", running.pod, "--", "python", "-c", script, overseer, *arguments)
    return running.kubectl(*words, seconds=240.0)


@pytest.mark.timeout(900)
def test_writes_are_refused_until_there_is_room_again(cluster: Cluster, hanas: Made, claim: str) -> None:
    demo = hanas(storage={"existingClaim": claim}, reclaim="Retain")
    main = demo.status["main"]
    with clients(cluster, demo) as running:
        filled, status = _run(demo, running, _FILL).split()[:2]
        print(f"full after {filled} values of 4 MiB")
        assert (int(filled) > 10, status) == (True, "507")
        demo.until(
            "the volume is told to be full", lambda: demo.condition("StorageReady")[:2] == ("False", "FolderFull")
        )
        assert "make room on the volume" in demo.condition("StorageReady")[2]
        alert = eventually("the main tells it", lambda: demo.alerts().get(("FolderFull", main)))
        assert alert["severity"] == "critical"
        demo.until("an Event tells it", lambda: "FolderFull" in dict(demo.events()))
        full_at = demo.status["epoch"]
        holds("nobody takes over", lambda: demo.status["epoch"] == full_at, 10.0)

        _run(demo, running, _EMPTY, filled)
        demo.until_ready()
        running.until_acknowledged()
        # The overseer clears it with its next look, which the resource may be ahead of.
        demo.until("the alert is cleared", lambda: not demo.alerts())
    assert demo.status["main"] == main, "compaction begins epochs, but nobody took over"
    assert {takeover["why"] for takeover in demo.takeovers()} <= {"first", "compaction"}
