"""Ready tells of a new generation when its change is made; Updated, updatedWorkers and image tell how far it is."""

from typing import Any

import msgspec
import pytest

from hanas_core.members.documents import MainInfo
from hanas_core.members.roles import MainState
from hanas_operator import kinds, names, storage
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import IMAGE, KEY, NAMESPACE, condition, owner, settle, status, view


def ready_generation(bench: Bench) -> tuple[str, int]:
    ready = condition(bench.server, "Ready")
    return ready["status"], ready["observedGeneration"]


async def test_ready_has_the_new_generation_when_every_pod_runs_it(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    assert ready_generation(bench) == ("True", 1)
    assert condition(bench.server, "Updated")["status"] == "True"
    assert (status(bench.server)["updatedWorkers"], status(bench.server)["image"]) == (3, IMAGE)

    bench.want(image="hanas:2")
    await bench.reconcile()
    updated = condition(bench.server, "Updated")
    assert (updated["status"], updated["reason"]) == ("False", "Updating")
    assert "0 of 3 workers are updated" in updated["message"]
    assert ready_generation(bench) == ("True", 1)
    assert status(bench.server)["image"] == "hanas:2"

    settle(bench.server)
    under_way = {"updatedReplicas": 1, "currentRevision": "r1", "updateRevision": "r2"}
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": under_way})
    await bench.reconcile()
    assert status(bench.server)["updatedWorkers"] == 1
    assert "1 of 3 workers are updated" in condition(bench.server, "Updated")["message"]
    # All pods are made anew, but the last one is not ready.
    bench.server.change(
        kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": {"updatedReplicas": 3, "readyReplicas": 2}}
    )
    await bench.reconcile()
    assert ready_generation(bench) == ("True", 1)
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": {"readyReplicas": 3}})
    await bench.reconcile()
    assert ready_generation(bench) == ("True", 2), "though the current revision stays that of the first pods"
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": {"readyReplicas": 1}})
    await bench.reconcile()
    assert condition(bench.server, "Updated")["status"] == "True", "a worker that fails later undoes nothing"

    settle(bench.server)
    await bench.reconcile()
    assert ready_generation(bench) == ("True", 2)
    assert condition(bench.server, "Updated")["reason"] == "AllUpdated"


async def test_a_worker_that_fails_later_undoes_no_update(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": {"readyReplicas": 1}})
    await bench.reconcile()
    assert condition(bench.server, "Updated")["status"] == "True"


@pytest.mark.parametrize("kind", ["poddisruptionbudgets", "statefulsets"])
async def test_a_change_that_is_refused_is_not_made(bench: Bench, kind: str) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.refusals["patch", kind] = (403, "exceeded quota")
    for name in ("demo-worker", "demo-overseer"):
        bench.server.change(kinds.BUDGET, NAMESPACE, name, {"spec": {"maxUnavailable": 2}})
    bench.want(workers=4)
    await bench.reconcile()
    updated = condition(bench.server, "Updated")
    assert (updated["status"], updated["reason"]) == ("False", "Rejected")
    assert ready_generation(bench) == ("True", 1)


async def test_a_paused_change_is_not_made(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(
        kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}, "spec": {"workers": 5}}
    )
    await bench.reconcile()
    assert condition(bench.server, "Updated")["reason"] == "Paused"
    assert ready_generation(bench) == ("True", 1)


async def test_a_worker_that_calls_itself_the_main_is_not_enough(bench: Bench) -> None:
    told = view("worker-1", epoch=7)
    alone = MainInfo("worker-1", "cd" * 16, "", "", 7, MainState.SERVING)
    await bench.overseer.show(msgspec.structs.replace(told, main=alone))
    await bench.start()
    ready = condition(bench.server, "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "MainUnconfirmed")
    assert "worker-1 calls itself the main of epoch 7" in ready["message"]
    await bench.overseer.show(told)
    await bench.hear()
    await bench.reconcile()
    assert condition(bench.server, "Ready")["status"] == "True"


def claim(requested: str, capacity: str | None) -> dict[str, Any]:
    status = {} if capacity is None else {"capacity": {"storage": capacity}}
    return {"spec": {"resources": {"requests": {"storage": requested}}}, "status": status}


@pytest.mark.parametrize(
    ("wanted", "there", "size", "sure"),
    [
        ("1Gi", None, "1Gi", ""),
        ("1Gi", claim("1Gi", None), "1Gi", ""),
        ("2Gi", claim("1Gi", "1Gi"), "2Gi", "1Gi"),
        ("1Gi", claim("20Gi", "20Gi"), "20Gi", "20Gi"),
        ("1Gi", claim("10Gi", "1Gi"), "10Gi", "1Gi"),
        ("2Gi", claim("10Gi", "1Gi"), "2Gi", "1Gi"),
        ("1024Mi", claim("1Gi", "100Gi"), "1024Mi", "1Gi"),
    ],
)
def test_the_size_to_request_and_the_size_that_is_sure(wanted: str, there: Any, size: str, sure: str) -> None:
    assert storage.size(owner({"storage": {"size": wanted}}), there) == size
    assert storage.sure_size(there) == sure


async def test_a_refused_growth_is_taken_back(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.CLAIM, NAMESPACE, "demo-data", {"status": {"capacity": {"storage": "1Gi"}}})
    bench.server.refusals["patch", "persistentvolumeclaims"] = (403, "the class does not support resize")
    bench.want(storage={"size": "10Gi"})
    await bench.reconcile()
    assert "does not support resize" in condition(bench.server, "Degraded")["message"]
    assert status(bench.server)["claimSize"] == "1Gi"
    bench.want(storage={"size": "1Gi"})
    await bench.reconcile()
    assert condition(bench.server, "Degraded")["status"] == "False"


async def test_a_volume_that_somebody_made_larger_is_no_fault(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    larger = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}, "status": {"capacity": {"storage": "5Gi"}}}
    bench.server.change(kinds.CLAIM, NAMESPACE, "demo-data", larger)
    await bench.reconcile()
    there = bench.server.take(kinds.CLAIM, NAMESPACE, "demo-data")
    assert there["spec"]["resources"]["requests"]["storage"] == "5Gi"
