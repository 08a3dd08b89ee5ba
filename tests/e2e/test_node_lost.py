"""The main's node loses its power, or only its network, with the volume still in reach: the worst case for fencing."""

import time

import pytest

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster, Nodes
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import Operator
from tests.e2e.waiting import eventually

MOST_SECONDS = 5.0
"""Until the Service of the main serves again, whatever was lost with the node."""
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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("overseers", [pytest.param(3, marks=pytest.mark.long), 1])
def test_killed_with_an_overseer_and_the_operator(
    cluster: Cluster, operator: Operator, nodes: Nodes, hanas: Made, overseers: int
) -> None:
    """With the only overseer, too: the workers decide then, and tell the other operator."""
    demo = hanas(preset="lan", **{**ONE_A_NODE, "overseer": {"replicas": overseers}})
    safe = _safe(demo.kubectl)
    eventually("an operator on each node but the safe one", lambda: _spread(operator) == set(nodes) - {safe})
    main = _until_with_an_overseer(demo, safe)
    node, epoch = demo.node_of(main), demo.status["epoch"]
    with clients(cluster, demo, through_main=True, node=safe) as running:
        begun = time.time()
        nodes.kill(node)
        try:
            takeover = demo.until_epoch_after(epoch)
            running.until_acknowledged()
            silence = longest_silence([call for call in running.history() if (call.end or 0.0) > begun - 1.0])
            print(f"{silence:.2f} s without an answer through the Service of the main; {takeover['words']}")
            assert silence <= MOST_SECONDS
        finally:
            nodes.start(node)
        eventually("the node is back", lambda: _is_ready(demo.kubectl, node), 180.0)
        demo.until_ready()


def _spread(operator: Operator) -> set[str]:
    """Return the nodes of the operators. One that was on a lost node may be made anew beside the other: it moves."""
    if len(found := operator.nodes()) == 1:
        operator.kubectl("delete", "pod", operator.pods()[0]["metadata"]["name"], "--wait=true", seconds=90)
    return found


def _until_with_an_overseer(demo: HANas, safe: str) -> str:
    """Have the main be on a node with an overseer and without the control plane; return it."""
    for _ in range(12):
        main = demo.until_ready()
        overseers = demo.kubectl.list("pods", "app.kubernetes.io/component=overseer")
        places = {overseer["spec"]["nodeName"]: overseer["metadata"]["name"] for overseer in overseers}
        if demo.node_of(main) in set(places) - {safe}:
            return main
        gone = places[safe] if set(places) == {safe} else demo.pod(main)
        demo.kubectl("delete", "pod", gone, "--wait=true", seconds=90)
    raise AssertionError("the main is never where it must be")


def _is_ready(kubectl: Kubectl, node: str) -> bool:
    found = kubectl.get("node", node) or {}
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"]["conditions"])


@pytest.mark.long
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
