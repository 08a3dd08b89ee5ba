"""From nothing to a cluster by helm, and what stays when it goes."""

from typing import Any

import pytest
import yaml

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import ROOT
from tests.e2e.conftest import Namespaces
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import REPLICAS, Operator
from tests.e2e.waiting import eventually


def example(cluster: Cluster, kubectl: Kubectl, name: str) -> HANas:
    """An example of the manifests, with this cluster's storage class."""
    text = (ROOT / f"manifests/examples/{name}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["spec"]["storage"] = {"size": "64Mi"}
    if cluster.storage_class:
        found["spec"]["storage"]["storageClassName"] = cluster.storage_class
    return HANas(kubectl, found["metadata"]["name"], found["spec"])


@pytest.mark.smoke
def test_the_demo_resource_becomes_a_cluster_that_clients_use(
    cluster: Cluster, operator: Operator, namespace: Kubectl
) -> None:
    demo = example(cluster, namespace, "demo")
    demo.apply()
    main = demo.until_ready()
    with clients(cluster, demo):
        pass
    shown = namespace("get", "hn", "demo").splitlines()[1].split()
    assert shown[0] == "demo"
    assert main in shown
    demo.until("the first main is told", lambda: [reason for reason, _ in demo.events()].count("MainElected") == 1)


def test_the_charts_own_test_writes_reads_and_checks_a_redirect(operator: Operator) -> None:
    said = operator.test()
    assert "Phase:          Succeeded" in said
    assert "ok: a backup redirects" in said


def test_an_upgrade_and_a_new_install_find_what_there_is(
    cluster: Cluster, operator: Operator, namespace: Kubectl
) -> None:
    demo = example(cluster, namespace, "demo")
    demo.apply()
    demo.until_ready()
    folder = demo.status["folderId"]
    with clients(cluster, demo) as running:
        operator.install("operator.logLevel=DEBUG")
        demo.until_ready()

        operator.uninstall()
        try:
            assert namespace.get("crd", "hanases.hanas.dev") is not None, "the CRD stays, and with it every HANas"
            running.until_acknowledged()
        finally:
            operator.install()
        eventually("the operator is back", lambda: len(operator.pods()) == REPLICAS)
        demo.until_ready()
        assert demo.status["folderId"] == folder


def test_a_deleted_resource_leaves_its_data_to_the_next_of_its_name(
    cluster: Cluster, operator: Operator, namespaces: Namespaces
) -> None:
    kubectl = namespaces("data-stays")
    demo = example(cluster, kubectl, "demo")
    demo.apply()
    demo.until_ready()
    folder = demo.status["folderId"]
    with clients(cluster, demo):
        # What the clients wrote is found in the end, by clients of the next resource too: it is the same history.
        demo.delete()
        eventually("its pods are gone", lambda: not kubectl.list("pods", "hanas.dev/cluster=demo"))
        assert kubectl.get("pvc", "demo-data") is not None
        demo.apply()
        demo.until_ready()
        assert demo.status["folderId"] == folder
