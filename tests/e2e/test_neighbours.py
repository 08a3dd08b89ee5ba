"""Several clusters, in one namespace and in two, and an operator that sees only one namespace."""

import signal

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made, Namespaces
from tests.e2e.hands import Hands
from tests.e2e.operators import Operator
from tests.e2e.waiting import eventually, holds


def test_what_happens_to_one_does_not_touch_the_others(
    cluster: Cluster, hanas: Made, namespaces: Namespaces, signals: Hands
) -> None:
    demo = hanas("demo", workers=2)
    twin = hanas("demo", kubectl=namespaces("twin"), workers=2)
    neighbour = hanas("demo-two", workers=2)
    before = [(each.status["main"], each.status["epoch"], each.status["folderId"]) for each in (neighbour, twin)]
    assert len({demo.status["folderId"], *(folder for *_, folder in before)}) == 3
    with clients(cluster, neighbour), clients(cluster, twin):
        main, epoch = demo.status["main"], demo.status["epoch"]
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
        demo.until_epoch_after(epoch)
        demo.until_ready()
        demo.apply(linkFailures=[{"name": "wire", "source": "worker-0", "target": "worker-1"}])
        demo.until("the failure is seen", lambda: demo.failure("wire")[0] == "Active")
        demo.delete()
        eventually("it is gone", lambda: not demo.kubectl.list("pods", "hanas.dev/cluster=demo"))
        after = [(each.until_ready(), each.status["epoch"], each.status["folderId"]) for each in (neighbour, twin)]
    assert after == before


@pytest.mark.long
def test_a_namespaced_operator_leaves_other_namespaces_alone(
    operator: Operator, hanas: Made, namespaces: Namespaces
) -> None:
    watched, other = namespaces("watched"), namespaces("other")
    try:
        operator.install(f"operator.watchNamespaces={{{watched.namespace}}}", "tests.cluster=none")
        inside = hanas("demo", kubectl=watched, workers=2)
        outside = hanas("demo", kubectl=other, workers=2, wait=False)
        assert inside.status["readyWorkers"] == 2
        account = f"system:serviceaccount:{operator.kubectl.namespace}:hanas-operator"
        assert watched("auth", "can-i", "create", "statefulsets", "--as", account).strip() == "yes"
        with pytest.raises(CommandFailed, match="no"):
            other("auth", "can-i", "create", "statefulsets", "--as", account)
        holds("nothing is made", lambda: not outside.kubectl.list("statefulsets"), 5.0)
    finally:
        operator.install()
    outside.until_ready()


@pytest.mark.long
def test_a_second_operator_for_the_same_namespace_refuses(
    cluster: Cluster, operator: Operator, hanas: Made, namespaces: Namespaces
) -> None:
    demo = hanas("demo", workers=2, updatePolicy="Automatic")
    version = (demo.kubectl.get("statefulset", "demo-worker") or {})["metadata"]["generation"]
    home = namespaces("second")
    # Its image is another one: each would change what the other one made, for ever.
    values = {
        "registry": cluster.registry.rstrip("/"),
        "image.tag": f"{cluster.tag}-next",
        "operator.image.tag": cluster.tag,
        "operator.replicas": "1",
        "operator.watchNamespaces": f"{{{demo.kubectl.namespace}}}",
        "crd.create": "false",
        "rbac.aggregate": "false",
        "tests.cluster": "none",
    }
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    try:
        home.helm("install", "second", "charts/hanas", "--wait", *words)
        demo.until("it says why", lambda: "AnotherOperator" in dict(demo.events()))
        note = dict(demo.events())["AnotherOperator"]
        assert f"the operator {operator.kubectl.namespace}/hanas-operator works in the namespace" in note

        def untouched() -> bool:
            return bool((demo.kubectl.get("statefulset", "demo-worker") or {})["metadata"]["generation"] == version)

        holds("nothing changes", untouched, 10.0)
        with clients(cluster, demo):
            demo.until_ready()
    finally:
        home.helm("uninstall", "second", "--wait")
