"""Settings, variables, sidecars, accounts and Services of a HANas, as a real API server takes them."""

import pytest

from tests.e2e.clients import IDLE, clients, container
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made, common
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import Operator

_NODE_PORT = {"type": "NodePort"}


def test_a_cluster_with_everything(cluster: Cluster, hanas: Made, namespace: Kubectl) -> None:
    namespace("create", "serviceaccount", "shop")
    sidecar = container(cluster, "logs", IDLE, volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}])
    demo = hanas(
        workers=2,
        settings={"HANAS_VALUE_BYTES": 65536, "HANAS_COMPACT_SHARE": "0.3"},
        env=[{"name": "TZ", "value": "UTC"}],
        sidecars=[sidecar],
        volumes=[{"name": "scratch", "emptyDir": {}}],
        serviceAccountName="shop",
        resources={"limits": {"memory": "256Mi"}},
        services={"main": _NODE_PORT, "each": {**_NODE_PORT, "annotations": {"who": "{member}"}}},
    )
    with clients(cluster, demo) as running:
        found = demo.kubectl("exec", demo.pod("worker-1"), "--container", "worker", "--", "env")
        assert {"HANAS_VALUE_BYTES=65536", "HANAS_COMPACT_SHARE=0.3", "TZ=UTC"} <= set(found.split())
        pod = demo.kubectl.get("pod", demo.pod("worker-1")) or {}
        assert [each["name"] for each in pod["spec"]["containers"]] == ["worker", "logs"]
        assert pod["spec"]["serviceAccountName"] == "shop"
        service = demo.kubectl.get("service", f"{demo.name}-worker-1") or {}
        assert service["metadata"]["annotations"]["who"] == "worker-1"
        demo.until("the ports are told", lambda: len(demo.status.get("addresses", [])) == 3)
        demo.apply(services=None)
        demo.until("they go", lambda: not demo.status.get("addresses"))
        demo.until("so does the Service", lambda: demo.kubectl.get("service", f"{demo.name}-worker-1") is None)
        assert (demo.kubectl.get("service", f"{demo.name}-main") or {})["spec"]["type"] == "ClusterIP"
        running.until_acknowledged()
    demo.until_ready()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"settings": {"HANAS_VALUE_BITES": 1}}, "settings of docs/operations.md"),
        ({"settings": {"HANAS_PRESET": "lan"}}, "settings of docs/operations.md"),
        ({"env": [{"name": "PORT", "value": "1"}]}, "the operator sets this variable"),
        ({"clients": [{}]}, "or ipBlock alone"),
        ({"advertiseUrl": "http://example.com"}, "advertiseUrl"),
        ({"sidecars": [{"image": "a"}]}, "name"),
    ],
)
def test_refused_by_the_api_server(operator: Operator, namespace: Kubectl, spec: dict[str, object], words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        HANas(namespace, "wrong", spec).apply()


def test_ids_left_to_the_cluster_and_a_sidecar_that_is_refused_are_told(
    cluster: Cluster, operator: Operator, namespace: Kubectl
) -> None:
    identity, sidecar = {"assignedBy": "Cluster"}, {"name": "broken", "volumeMounts": [{"name": "nowhere"}]}
    demo = HANas(namespace, "demo", {**common(cluster), "podSecurityContext": identity, "sidecars": [sidecar]})
    demo.apply()
    demo.until("the refusal is told", lambda: demo.condition("Degraded")[1] == "Rejected")
    demo.apply(sidecars=None)
    demo.until("workers are made", lambda: bool(demo.kubectl.list("statefulsets")))
    context = demo.kubectl.list("statefulsets")[0]["spec"]["template"]["spec"]["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
