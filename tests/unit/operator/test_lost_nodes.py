"""Workers on lost nodes are made anew elsewhere; those that only take their time to end are left alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanas_operator import durations, kinds, names
from hanas_operator.objects import pods
from hanas_operator.plain import plain
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, condition, owner, view

POD = (kinds.POD, NAMESPACE, "demo-worker-1")
LOST = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
WELL = {"conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}]}


async def leave(bench: Bench, *, ended: float, pod: str = "demo-worker-1") -> None:
    """Delete a pod, whose time to end is over since ``ended`` seconds; its kubelet does not confirm it."""
    await bench.overseer.show(view())
    await bench.start()
    when = durations.written(datetime.now(UTC) - timedelta(seconds=ended))
    gone: dict[str, Any] = {"metadata": {"deletionTimestamp": when}, "spec": {"nodeName": "n1"}}
    bench.server.change(kinds.POD, NAMESPACE, pod, gone)


@pytest.mark.parametrize("node", [LOST, {"conditions": [{"type": "Ready", "status": "False"}]}, {}, None])
async def test_a_worker_on_a_lost_node_is_removed_so_that_another_is_made(bench: Bench, node: Any) -> None:
    await leave(bench, ended=2)
    if node is not None:
        bench.server.put(kinds.NODE, "", "n1", status=node)
    await bench.reconcile()
    assert bench.server.find(*POD) is None
    assert [call.name for call in bench.server.writes() if call.verb == "delete"] == ["demo-worker-1"]
    assert bench.server.bodies["delete", "pods"]["gracePeriodSeconds"] == 0


@pytest.mark.parametrize(
    ("ended", "pod", "status"),
    [(2, "demo-worker-1", WELL), (-30, "demo-worker-1", LOST), (2, "demo-overseer-0", LOST)],
)
async def test_a_pod_that_may_end_by_itself_is_left_alone(bench: Bench, ended: float, pod: str, status: Any) -> None:
    await leave(bench, ended=ended, pod=pod)
    bench.server.put(kinds.NODE, "", "n1", status=status)
    await bench.reconcile()
    assert bench.server.find(kinds.POD, NAMESPACE, pod) is not None


async def test_nothing_is_removed_of_a_paused_cluster(bench: Bench) -> None:
    await leave(bench, ended=2)
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    await bench.reconcile()
    assert bench.server.find(*POD) is not None


async def test_an_operator_that_may_not_look_at_nodes_says_what_a_person_must_do(bench: Bench) -> None:
    await leave(bench, ended=2)
    bench.server.refusals["get", "nodes"] = (403, "nodes is forbidden")
    await bench.reconcile()
    assert bench.server.find(*POD) is not None
    degraded = condition(bench.server, "Degraded")
    assert degraded["reason"] == "PodStuck"
    assert "kubectl delete pod demo-worker-1 --force" in degraded["message"]


@pytest.mark.parametrize(("component", "seconds"), [(names.WORKER, 60), (names.OVERSEER, 10)])
def test_pods_leave_a_lost_node_soon_unless_the_spec_says_when(component: str, seconds: int) -> None:
    def tolerated(of: dict[str, Any]) -> dict[str, int]:
        given = owner(of)
        made = pods.template(given, component, "x", [], {}, given.spec.resources)["spec"]["tolerations"]
        return {each["key"]: each.get("tolerationSeconds") for each in plain(made)}

    keys = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert tolerated({}) == dict.fromkeys(keys, seconds)
    patient = {"key": keys[1], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 900}
    assert tolerated({"tolerations": [patient]}) == {keys[0]: seconds, keys[1]: 900}
