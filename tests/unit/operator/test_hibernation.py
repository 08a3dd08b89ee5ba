"""No workers: no pod runs, and the data stays."""

import pytest

from hanas_operator import kinds
from hanas_operator.obstacles import Obstacle
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import FOLDER_ID, KEY, NAMESPACE, condition, failure, owner, settle, status, view
from tests.unit.operator.test_conditions import of, running, world
from tests.unit.operator.waiting import until


def replicas(bench: Bench) -> tuple[int, int]:
    workers = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")
    overseers = bench.server.take(kinds.DEPLOYMENT, NAMESPACE, "demo-overseer")
    return workers["spec"]["replicas"], overseers["spec"]["replicas"]


@pytest.mark.long
async def test_a_cluster_goes_to_sleep_and_wakes_up_with_its_folder(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    claim = bench.server.take(kinds.CLAIM, NAMESPACE, "demo-data")["metadata"]["uid"]
    bench.want(workers=0)
    await bench.reconcile()
    assert replicas(bench) == (0, 0)
    told = condition(bench.server, "Ready")
    assert (told["status"], told["reason"]) == ("False", "Hibernating")
    settle(bench.server)
    await bench.reconcile()
    await until(lambda: bench.followers.latest(KEY)[0] is None)
    assert await bench.reconcile() == 60.0, "nothing is to be done"
    found = status(bench.server)
    assert {one["type"]: (one["status"], one["reason"]) for one in found["conditions"]} == {
        "Ready": ("False", "Hibernated"),
        "Updated": ("True", "AllUpdated"),
        "Degraded": ("False", "AsWanted"),
        "LinkHealthy": ("Unknown", "NoMain"),
        "StorageReady": ("True", "Bound"),
        "PolicyEnforced": ("Unknown", "NotObserved"),
        "Exposed": ("True", "OpenToAll"),
        "Reconciling": ("False", "AllUpdated"),
        "Stalled": ("False", "NotStalled"),
    }
    assert (found["main"], found["folderId"], found["image"]) == ("", FOLDER_ID, "hanas:test")
    assert bench.server.take(kinds.SERVICE, NAMESPACE, "demo-main")
    assert bench.server.take(kinds.CLAIM, NAMESPACE, "demo-data")["metadata"]["uid"] == claim
    bench.want(workers=3)
    await bench.reconcile()
    assert replicas(bench) == (3, 2)
    settle(bench.server)
    await bench.reconcile()
    await bench.hear()
    await bench.reconcile()
    assert condition(bench.server, "Ready")["reason"] == "MainServing"
    assert status(bench.server)["folderId"] == FOLDER_ID


async def test_a_cluster_may_be_made_asleep(bench: Bench) -> None:
    bench.want(workers=0)
    for _ in range(2):
        await bench.reconcile()
        settle(bench.server)
    await bench.reconcile()
    assert condition(bench.server, "Ready")["reason"] == "Hibernated"
    assert bench.server.all(kinds.POD) == []


def test_what_is_wrong_is_told_all_the_same() -> None:
    asleep = owner({"workers": 0}, folder_id=FOLDER_ID)
    seen = world(owner=asleep, pods=running(workers=1))
    words = "3 pods have yet to end; demo-data keeps the data"
    assert of("Ready", seen) == ("False", "Hibernating", words)
    problem = Obstacle("NameTaken", "somebody else's")
    assert of("Ready", world(owner=asleep, pods=(), view=None, problems=(problem,)))[1] == "NameTaken"


async def test_link_failures_of_workers_that_sleep_wait(bench: Bench) -> None:
    bench.want(workers=0, linkFailures=[failure()])
    await bench.reconcile()
    (told,) = status(bench.server)["linkFailures"]
    assert told["state"] == "Pending"
    assert told["message"] == "there is no worker-0 and no worker-1: the cluster hibernates"
