"""The main's node loses its power, or only its network, with the volume still in reach: the worst case for fencing."""

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster, Nodes
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import eventually

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
ONE_A_NODE = {
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "tolerations": [{"key": CONTROL_PLANE, "operator": "Exists"}],
    "overseer": {"replicas": 1},
}
"""One worker on each of the three nodes. One overseer, so that a node without it can be cut off from all of them."""


def _safe(kubectl: Kubectl) -> str:
    """The node of the control plane, which stays."""
    (found,) = [node["metadata"]["name"] for node in kubectl.list("nodes", CONTROL_PLANE)]
    return str(found)


def _until_alone_elsewhere(demo: HANas, safe: str) -> str:
    """Have the main be on a node with neither the control plane nor the overseer; return it."""
    for _ in range(8):
        main = demo.until_ready()
        (overseer,) = demo.kubectl.list("pods", "app.kubernetes.io/component=overseer")
        if demo.node_of(main) not in {safe, overseer["spec"]["nodeName"]}:
            return main
        demo.kubectl("delete", "pod", demo.pod(main), "--wait=true", seconds=90)
    raise AssertionError("the main is always where it must not be")


@pytest.mark.timeout(900)
def test_killed(cluster: Cluster, nodes: Nodes, hanas: Made) -> None:
    demo = hanas(**ONE_A_NODE)
    safe = _safe(demo.kubectl)
    main = _until_alone_elsewhere(demo, safe)
    node, epoch = demo.node_of(main), demo.status["epoch"]
    with clients(cluster, demo, node=safe) as running:
        nodes.kill(node)
        try:
            takeover = demo.until_epoch_after(epoch)
            print(f"node killed: {takeover['words']}")
            demo.until_main_is_not(main)
            running.until_acknowledged()
        finally:
            nodes.start(node)
        eventually("the node is back", lambda: _is_ready(demo.kubectl, node), 180.0)
        demo.until_ready()


@pytest.mark.timeout(900)
def test_cut_off(cluster: Cluster, nodes: Nodes, hanas: Made) -> None:
    demo = hanas(isolationPolicy="StepDown", **ONE_A_NODE)
    safe = _safe(demo.kubectl)
    main = _until_alone_elsewhere(demo, safe)
    node, epoch = demo.node_of(main), demo.status["epoch"]
    with clients(cluster, demo, node=safe) as running:
        nodes.cut_off(node)
        try:
            takeover = demo.until_epoch_after(epoch)
            print(f"node cut off: {takeover['why']}: {takeover['words']}")
            demo.until_main_is_not(main)
            running.until_acknowledged()
        finally:
            nodes.plug_in(node)
        eventually("the node is back", lambda: _is_ready(demo.kubectl, node), 180.0)
        demo.until_ready()


def _is_ready(kubectl: Kubectl, node: str) -> bool:
    found = kubectl.get("node", node) or {}
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"]["conditions"])


@pytest.mark.timeout(900)
def test_its_worker_is_made_anew_on_another_node(cluster: Cluster, nodes: Nodes, hanas: Made) -> None:
    demo = hanas(overseer={"replicas": 1}, tolerations=ONE_A_NODE["tolerations"])
    safe = _safe(demo.kubectl)
    main = _until_alone_elsewhere(demo, safe)
    node, former = demo.node_of(main), (demo.kubectl.get("pod", demo.pod(main)) or {})["metadata"]["uid"]
    with clients(cluster, demo, node=safe) as running:
        nodes.kill(node)
        try:
            demo.until_main_is_not(main)

            def is_elsewhere() -> bool:
                pod = demo.kubectl.get("pod", demo.pod(main)) or {"metadata": {"uid": former}}
                return pod["metadata"]["uid"] != former and pod["spec"].get("nodeName") not in {None, node}

            eventually("the worker is on another node", is_elsewhere, 240.0)
            demo.until("all workers are ready", lambda: demo.status["readyWorkers"] == 3, 120.0)
            running.until_acknowledged()
        finally:
            nodes.start(node)
        eventually("the node is back", lambda: _is_ready(demo.kubectl, node), 180.0)
        demo.until_ready()
