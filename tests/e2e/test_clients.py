"""Who reaches a HANas in a namespace whose tenant denies everything: the spec's clients, and nobody else."""

from tests.e2e.clients import IDLE, container
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made, Namespaces
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import eventually, holds

_DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "default-deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
_ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).status)"
PORTS = {"": 3001, "-main": 3001, "-overseer": 4000}
"""The Services, by the ends of their names."""


def _asker(cluster: Cluster, kubectl: Kubectl) -> None:
    """Start a pod that can ask."""
    containers = [container(cluster, "asker", IDLE)]
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"securityContext": security, "terminationGracePeriodSeconds": 0, "containers": containers}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker"}, "spec": spec})
    kubectl("wait", "pod/asker", "--for=condition=Ready", "--timeout=60s", seconds=70)


def _reached(kubectl: Kubectl, demo: HANas) -> set[str]:
    """Return the Services that answer a pod of this namespace."""
    found = set()
    for end, port in PORTS.items():
        url = f"http://{demo.name}{end}.{demo.kubectl.namespace}.svc:{port}/healthz"
        try:
            if kubectl("exec", "asker", "--", "python", "-c", _ASK, url).strip() == "200":
                found.add(end)
        except CommandFailed:
            continue
    return found


def test_a_tenants_denial_is_not_undone(
    cluster: Cluster, hanas: Made, namespace: Kubectl, namespaces: Namespaces
) -> None:
    namespace.apply(_DENY)
    other, everything = namespaces("other"), set(PORTS)
    for kubectl in (namespace, other):
        _asker(cluster, kubectl)
    demo = hanas(workers=2, clients=None, tls=None)  # who reaches a port, not what is spoken there
    assert "clients" not in demo.spec
    eventually("pods of the namespace are answered", lambda: _reached(namespace, demo) == everything)
    holds("those of another one are not", lambda: not _reached(other, demo), 5.0)

    demo.apply(clients=[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other.namespace}}}])
    eventually("pods of the named namespace are answered", lambda: _reached(other, demo) == everything)
    eventually("those of its own are not", lambda: not _reached(namespace, demo))

    demo.apply(clients=[])
    eventually("nobody is answered", lambda: not _reached(other, demo) and not _reached(namespace, demo))
    demo.until_ready()  # components and operator reach each other
