"""`kubectl hanas` on a cluster: what it shows, and what it changes."""

import json
import sys

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import run
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas


def said(demo: HANas, *words: str) -> str:
    line = (sys.executable, "-m", "hanas_client.kubectl.program", *words, "--namespace", demo.kubectl.namespace)
    return run(*line, environment=demo.kubectl.environment, seconds=90.0)


def _observed(demo: HANas) -> list[str]:
    return [one.get("status", {}).get("observed", "") for one in demo.kubectl.list("hanaslinkfailures")]


def test_the_plugin_shows_cuts_heals_and_switches_over(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    main = demo.status["main"]
    backup = min({"worker-0", "worker-1", "worker-2"} - {main})
    told = json.loads(said(demo, "status", "--json"))
    assert told["cluster"]["main"]["member"] == told["hanas"]["status"]["main"] == main
    assert f"main {main} (serving)" in said(demo, "status")
    assert "was the first to claim" in said(demo, "takeovers", "--cluster", "demo")
    with clients(cluster, demo) as running:
        said(demo, "cut", main, backup, "--for", "10m")
        demo.until("the workers see it", lambda: _observed(demo) == ["LinkFailed"], 60.0)
        said(demo, "heal", backup, main)
        assert _observed(demo) == []
        demo.until_ready()
        assert said(demo, "switchover", backup) == f"{backup} is the main of demo now, after {main}\n"
        running.until_acknowledged()
    demo.until_ready()
    assert demo.status["main"] == backup


def test_a_resource_that_no_operator_has_seen_is_not_done(cluster: Cluster, hanas: Made) -> None:
    manifest = {"apiVersion": "hanas.dev/v1alpha1", "kind": "HANas", "metadata": {"name": "fresh"}, "spec": {}}
    made = cluster.kubectl("create", "--dry-run=server", "--output=json", "--filename=-", given=json.dumps(manifest))
    assert json.loads(made)["status"]["observedGeneration"] == -1
