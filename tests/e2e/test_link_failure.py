"""Links cut by the resource: the main is alive, everybody says so, and nobody takes over."""

import json

import pytest

from tests.e2e.clients import IDLE, clients, container
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually, holds

_SERVE = "import http.server as h; h.HTTPServer(('', 8080), h.BaseHTTPRequestHandler).serve_forever()"
_CALL = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 2).close()"


def _pod(cluster: Cluster, name: str, script: str) -> Resource:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container(cluster, "python", script)],
        },
    }


@pytest.mark.smoke
def test_a_canary_shows_that_the_cluster_enforces_policies(cluster: Cluster, namespace: Kubectl) -> None:
    namespace.apply(_pod(cluster, "canary", _SERVE), _pod(cluster, "caller", IDLE))
    namespace("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", seconds=70)
    address = (namespace.get("pod", "canary") or {})["status"]["podIP"]

    def reached() -> bool:
        try:
            namespace("exec", "caller", "--", "python", "-c", _CALL, address)
        except CommandFailed:
            return False
        return True

    eventually("the canary answers", reached)
    namespace.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "nobody"},
            "spec": {"podSelector": {"matchLabels": {"app": "canary"}}, "policyTypes": ["Ingress"]},
        }
    )
    eventually("the canary is cut off", lambda: not reached())


@pytest.mark.smoke
@pytest.mark.parametrize("direction", ["to", "both"])
def test_a_cut_link_of_the_main_is_seen_and_nothing_else_happens(cluster: Cluster, hanas: Made, direction: str) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    target, other = sorted({"worker-0", "worker-1", "worker-2"} - {main})
    with clients(cluster, demo) as running:
        demo.apply(
            linkFailures=[{"name": "wire", "source": main, "target": target, "direction": direction, "duration": "30s"}]
        )
        demo.until("the failure is seen", lambda: demo.failure("wire") == ("Active", "LinkFailed"), 60.0)
        demo.until("the links are told", lambda: demo.condition("LinkHealthy")[0] == "False", 60.0)
        told = demo.condition("LinkHealthy")[2]
        assert f"{main} -> {target}" in told
        assert f"{main} -> {other}" not in told
        assert demo.condition("PolicyEnforced")[:2] == ("True", "Observed")
        alert = eventually("the alert", lambda: demo.alerts().get(("LinkFailed", main)))
        assert alert["member"] == target
        assert "not urgent" in alert["message"] + alert["advice"]

        running.until_acknowledged()
        demo.until("it heals by itself", lambda: demo.failure("wire") == ("Healed", "LinkFailed"), 90.0)
        demo.until_ready()
        demo.until("the alert is cleared", lambda: not demo.alerts(), 60.0)
        assert (demo.status["main"], demo.status["epoch"]) == (main, epoch), "nobody took over"
    reasons = {"LinkCut", "LinkFailed", "LinkHealed", "LinkRestored"}
    demo.until("Events tell it", lambda: reasons <= {reason for reason, _ in demo.events()})


def test_a_failure_without_an_end_lasts_until_it_is_removed(hanas: Made) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    backups = sorted({"worker-0", "worker-1", "worker-2"} - {main})
    demo.apply(linkFailures=[{"name": f"wire-{backup[-1]}", "source": backup, "target": main} for backup in backups])
    for backup in backups:
        demo.until("it is seen", lambda: demo.failure(f"wire-{backup[-1]}") == ("Active", "LinkFailed"), 60.0)  # noqa: B023
    holds("no takeover with every link of the main cut", lambda: demo.status["epoch"] == epoch, 10.0)
    demo.apply(linkFailures=[])
    demo.until_ready()
    assert (demo.status["main"], demo.status["epoch"]) == (main, epoch)


@pytest.mark.long
def test_a_cluster_where_policies_have_no_effect_is_told(hanas: Made) -> None:
    demo = hanas()
    main = demo.status["main"]
    # Policies only add up: one that admits everything makes cuts ineffective, as a plugin does that ignores them.
    demo.kubectl.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "everything-goes"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
        }
    )
    backup = min({"worker-0", "worker-1", "worker-2"} - {main})
    demo.apply(linkFailures=[{"name": "wire", "source": main, "target": backup}])
    demo.until("it says so", lambda: demo.condition("PolicyEnforced")[:2] == ("False", "NotEnforced"), 120.0)
    assert demo.failure("wire") == ("Active", "Healthy")
    message = demo.condition("PolicyEnforced")[2]
    assert "another NetworkPolicy" in message, message
    assert json.dumps(demo.events()).count("NotEnforced") == 1
