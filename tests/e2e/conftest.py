"""A cluster for the whole run, the operator in it, and for each test a namespace of its own."""

import os
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.e2e import cluster as clusters
from tests.e2e import evidence, hands, operators
from tests.e2e.cluster import Cluster, Nodes
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import Operator

REQUIRED = "HANAS_E2E_REQUIRED"
"""Set: without a cluster the tests fail; otherwise they are skipped, with words."""
TLS = "HANAS_E2E_TLS"
"""Set: every HANas speaks TLS, but for those that a test makes without it."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

Namespaces = Callable[[str], Kubectl]
Made = Callable[..., HANas]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pods take their time."""
    for item in items:
        if "tests/e2e/" in item.nodeid and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes cluster with the images of this tree."""
    try:
        with clusters.found() as cluster:
            yield cluster
    except clusters.NoCluster as missing:
        if os.environ.get(REQUIRED):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Operator]:
    """The operator for all namespaces."""
    operator = operators.of(cluster)
    operator.install()
    yield operator
    if os.environ.get(clusters.KEEP) or cluster.nodes is None:
        operator.uninstall()


@pytest.fixture(scope="session")
def signals(cluster: Cluster) -> Iterator[Hands]:
    """What sends signals to processes of pods."""
    yield hands.put_out(cluster)
    cluster.kubectl("delete", "namespace", hands.NAMESPACE, "--wait=false")


@pytest.fixture
def nodes(cluster: Cluster) -> Nodes:
    """Nodes that may be killed."""
    if cluster.nodes is None:
        pytest.skip("the nodes of KUBECONFIG's cluster are not killed; kind's are: unset KUBECONFIG")
    return cluster.nodes


@pytest.fixture
def namespaces(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespaces]:
    """Makes namespaces under the Pod Security standard `restricted`; they go with all that is in them."""
    made: list[str] = []
    request.node.stash[_NAMESPACES] = (cluster.kubectl, made)

    def new(purpose: str) -> Kubectl:
        name = f"e2e-{purpose}-{os.urandom(3).hex()}"
        cluster.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
        )
        made.append(name)
        return cluster.kubectl.within(name)

    yield new
    for name in made:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(namespaces: Namespaces, request: pytest.FixtureRequest) -> Kubectl:
    """One namespace, called after the test."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    return namespaces(words[:30].strip("-"))


@pytest.fixture
def hanas(cluster: Cluster, operator: Operator, namespace: Kubectl) -> Made:
    """Makes a HANas with these fields in its spec, None for none. It is there and healthy when it is returned."""

    def make(name: str = "demo", *, kubectl: Kubectl = namespace, wait: bool = True, **spec: Any) -> HANas:
        found = HANas(kubectl, name)
        found.apply(**common(cluster) | spec)
        if wait:
            found.until_ready()
        return found

    return make


def common(cluster: Cluster) -> dict[str, Any]:
    """What the spec of every HANas here has."""
    storage: dict[str, Any] = {"size": "64Mi"}
    if cluster.storage_class:
        storage["storageClassName"] = cluster.storage_class
    # Patient timings: on a busy machine the fast ones can take a slow main for a dead one.
    # Not only pods of the namespace: the tests ask overseers through the API server.
    clients: list[dict[str, Any]] = [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]
    tls = {"tls": {"mode": "Managed"}} if os.environ.get(TLS) else {}
    return {"clients": clients, "workers": 3, "preset": "cloud", "storage": storage, "reclaim": "Delete", **tls}


_NAMESPACES = pytest.StashKey[tuple[Kubectl, list[str]]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed leaves its evidence behind."""
    report = yield
    if report.failed and call.when != "teardown" and _NAMESPACES in item.stash:
        kubectl, names = item.stash[_NAMESPACES]
        folder = evidence.gather(item.nodeid.partition("tests/e2e/")[2], kubectl, [*names, operators.NAMESPACE])
        report.sections.append(("evidence", f"logs, events and states are in {folder}"))
    return report
