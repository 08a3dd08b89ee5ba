"""What is put right in objects that others changed, and what is left."""

from typing import Any

import pytest

from hanas_operator import drift, kinds, names
from hanas_operator.kinds import ResourceKind
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import FOLDER_ID, NAMESPACE, view

CONTAINER = ("spec", "template", "spec", "containers", 0)


def at(resource: Any, *path: str | int) -> Any:
    for step in path:
        resource = resource[step]
    return resource


@pytest.mark.parametrize(
    ("kind", "name", "path", "extra"),
    [
        (kinds.SERVICE, "demo-main", ("spec", "selector"), {"app": "nobody"}),
        (kinds.SERVICE, "demo-overseer", ("spec", "selector"), {"app": "nobody"}),
        (kinds.CONFIG_MAP, "demo-folder", ("data",), {"more": "x"}),
        (kinds.POLICY, "demo-worker-0", ("spec", "podSelector", "matchLabels"), {"app": "nobody"}),
        (kinds.POLICY, "demo-worker-0", ("spec", "podSelector"), {"matchExpressions": [{"key": "a"}]}),
        (kinds.BUDGET, "demo-worker", ("spec", "selector", "matchLabels"), {"app": "nobody"}),
        (kinds.STATEFUL_SET, "demo-worker", ("spec", "template", "metadata", "labels"), {names.ROLE: "main"}),
        (kinds.STATEFUL_SET, "demo-worker", ("spec", "template", "spec", "nodeSelector"), {"disk": "none"}),
        (kinds.STATEFUL_SET, "demo-worker", (*CONTAINER, "resources", "requests"), {"memory": "900Gi", "gpu": "1"}),
        (kinds.DEPLOYMENT, "demo-overseer", (*CONTAINER, "resources", "limits"), {"cpu": "1m"}),
    ],
)
async def test_more_entries_in_maps_are_taken_away(
    bench: Bench, kind: ResourceKind, name: str, path: tuple[str | int, ...], extra: dict[str, Any]
) -> None:
    limits = {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    await bench.overseer.show(view())
    await bench.start(nodeSelector={"disk": "fast"}, resources=limits, overseer={"resources": limits})
    resource = bench.server.take(kind, NAMESPACE, name)
    before = dict(at(resource, *path))
    at(resource, *path).update(extra)
    await bench.reconcile()
    assert at(bench.server.take(kind, NAMESPACE, name), *path) == before
    count = len(bench.server.writes())
    await bench.reconcile()
    assert bench.server.writes()[count:] == []


async def test_another_container_or_port_is_taken_away(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    pod = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["template"]["spec"]
    service = bench.server.take(kinds.SERVICE, NAMESPACE, "demo-main")
    pod["containers"].append({"name": "theirs"})
    service["spec"]["ports"].append({"port": 1})
    await bench.reconcile()
    pod = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == ["worker"]
    assert len(bench.server.take(kinds.SERVICE, NAMESPACE, "demo-main")["spec"]["ports"]) == 1


async def test_what_the_api_server_and_people_add_is_left(bench: Bench) -> None:
    """Defaults, the same amounts in other words, other owners, labels and annotations."""
    await bench.overseer.show(view())
    await bench.start(resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": 2}})
    assert bench.server.take(kinds.CONFIG_MAP, NAMESPACE, "demo-folder")["data"] == {"folderId": FOLDER_ID}
    workers = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")
    at(workers, *CONTAINER)["resources"] = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}
    at(workers, *CONTAINER)["terminationMessagePath"] = "/dev/termination-log"
    workers["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    workers["metadata"]["labels"]["team"] = "shop"
    workers["metadata"]["ownerReferences"].append({"uid": "another", "kind": "App", "name": "a"})
    count = len(bench.server.writes())
    await bench.reconcile()
    assert bench.server.writes()[count:] == []


@pytest.mark.parametrize(
    ("actual", "desired", "same"),
    [
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1000m"}}, True),
        ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}, True),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}}, True),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1G"}}, False),
        ({"requests": {"memory": "much"}}, {"requests": {"memory": "more"}}, False),
        ({"labels": {"a": "1"}}, {"labels": {"a": "1000m"}}, False),
        ({"port": "80"}, {"port": 80}, True),
        ({}, {"a": {}, "b": [], "c": ""}, True),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": 1}, {"a": {"b": 1}}, False),
        ({"a": 1}, {"a": [1]}, False),
    ],
)
def test_what_is_the_same(actual: Any, desired: Any, same: bool) -> None:
    assert drift.contains(actual, desired) is same
