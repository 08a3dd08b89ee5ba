"""Tokens that change are in force without a restart, and the secret of the components is lost, found and rotated."""

import base64
import time

import pytest

from tests.e2e.clients import IDLE, container
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

_ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[2:]:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + sys.argv[1]})
    try:
        print(urllib.request.urlopen(request, timeout=2).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
OPEN = ["200"] * 2
_ROTATE = "hanas.dev/rotate-secret"


def _tokens(*tokens: str) -> Resource:
    content = "".join(f"{token}\n" for token in tokens)
    meta = {"name": "clients"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"tokens": content}}


def _asker(cluster: Cluster, kubectl: Kubectl) -> None:
    """Start a pod that can ask."""
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    containers = [container(cluster, "asker", IDLE)]
    spec = {"securityContext": security, "terminationGracePeriodSeconds": 0, "containers": containers}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker"}, "spec": spec})


def _answers(demo: HANas, token: str) -> list[str]:
    """Return what main and overseer answer to who has this token."""
    urls = f"http://{demo.name}-main:3001/v1/kv", f"http://{demo.name}-overseer:4000/v1/main"
    return demo.kubectl("exec", "asker", "--", "python", "-c", _ASK, token, *urls).split()


def _content(demo: HANas) -> list[str]:
    secret = demo.kubectl.get("secret", f"{demo.name}-components")
    return [] if secret is None else base64.b64decode(secret["data"]["secret"]).decode().split("\n")


@pytest.mark.long
def test_tokens_and_the_secret_change_under_running_pods(cluster: Cluster, hanas: Made, namespace: Kubectl) -> None:
    namespace.apply(_tokens("first", "second"))
    _asker(cluster, namespace)
    # Other tests see how pods serve on. Without TLS: a certificate would be enough, and no token be asked for.
    quick = {"HANAS_DRAIN_SECONDS": 0}
    demo = hanas(workers=2, overseer={"replicas": 1}, clientTokenSecret={"name": "clients"}, settings=quick, tls=None)
    restarts = [pod["metadata"]["uid"] for pod in namespace.list("pods", f"hanas.dev/cluster={demo.name}")]
    eventually("both tokens open", lambda: _answers(demo, "first") == _answers(demo, "second") == OPEN)
    namespace.apply(_tokens("first", "third"))
    # A kubelet looks at a pod that changes at once, at others once a minute or two.
    label = f"hanas.dev/cluster={demo.name}"
    began = time.monotonic()
    namespace("annotate", "pods", "--selector", label, f"e2e/looked={began}")
    eventually("the new token opens", lambda: _answers(demo, "third") == OPEN)
    eventually("the old token opens nothing", lambda: _answers(demo, "second") == ["401"] * 2)
    print(f"changed tokens were in force after {time.monotonic() - began:.1f} s")
    assert [pod["metadata"]["uid"] for pod in namespace.list("pods", label)] == restarts

    [old] = _content(demo)
    namespace("delete", "secret", f"{demo.name}-components")
    namespace.patch("hanas", demo.name, {"metadata": {"annotations": {_ROTATE: "e2e"}}})
    epoch = demo.status["epoch"]
    demo.until("the secret is rotated", lambda: demo.status["secret"].get("rotation") == "e2e")
    demo.until("the old secret is gone", lambda: demo.status["secret"]["stage"] == "Done", 240.0)
    [new] = _content(demo)
    assert new != old
    assert "SecretRestored" in [reason for reason, _ in demo.events()]
    print(f"rotated after {time.monotonic() - began:.1f} s")
    demo.until_ready()
    assert _answers(demo, "third") == OPEN
    assert demo.status["epoch"] == epoch + 2, "each of the two restarts hands over once"
