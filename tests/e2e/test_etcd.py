"""etcd's API of a HANas: its client writes and watches while the main is killed; turned on and off under load."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import TLS_FILES, clients, container, show_certificate
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

_SCRIPT = Path(__file__).with_name("etcd_in_pod.py")
ON = {"enabled": True}


@dataclass
class EtcdClient:
    """A pod that uses the API, and what it told."""

    kubectl: Kubectl
    pod: str

    def lines(self, what: str) -> list[Resource]:
        # The last line may not be complete yet.
        told = self.kubectl("logs", self.pod).split("\n")[:-1]
        return [line for line in map(json.loads, told) if line["what"] == what]

    def until_written(self, count: int = 20) -> None:
        """Wait until so many more writes are acknowledged."""
        before = len(self.lines("written"))
        eventually("the client of etcd's API goes on", lambda: len(self.lines("written")) >= before + count, 90.0)

    def longest_silence(self) -> float:
        """Return the longest time between two acknowledgements, seconds."""
        return max((later["at"] - earlier["at"] for earlier, later in pairwise(self.lines("written"))), default=0.0)

    def finish(self) -> None:
        """Stop it, and judge what it was told: no write is lost, no event is missed, doubled or out of order."""
        self.kubectl("exec", self.pod, "--", "touch", "/tmp/stop")

        def over() -> bool:
            phase = str((self.kubectl.get("pod", self.pod) or {}).get("status", {}).get("phase"))
            assert phase != "Failed", self.kubectl("logs", self.pod, "--tail", "20")
            return phase == "Succeeded"

        eventually("the client of etcd's API ends", over, 90.0)
        written, events, there = (
            [(line["revision"], line["key"]) for line in self.lines(what)] for what in ("written", "event", "there")
        )
        assert events == sorted(events)
        assert len({revision for revision, _ in events}) == len(events), "an event came twice"
        assert set(written) <= set(events), "an event was missed"
        kept = {key: revision for revision, key in there}
        assert all(kept[key] >= revision for revision, key in written), "an acknowledged write was lost"


@contextmanager
def etcd_client(cluster: Cluster, demo: HANas) -> Iterator[EtcdClient]:
    """Run a client of the Service of etcd's API, until everything that it was told is judged to be in order."""
    scheme = demo.scheme
    own: dict[str, Any] = {
        "env": TLS_FILES if scheme == "https" else [],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    running = container(cluster, "etcd", _SCRIPT.read_text(encoding="utf-8"), **own)
    running["command"].append(f"{scheme}://{demo.name}-etcd:2379")
    spec: Resource = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [running],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if scheme == "https":
        show_certificate(demo, spec)
    name = f"{demo.name}-etcd-client"
    demo.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    client = EtcdClient(demo.kubectl, name)
    eventually("the client of etcd's API writes", lambda: client.lines("written"))
    yield client
    client.finish()
    demo.kubectl("delete", "pod", name, "--wait=true")


@pytest.mark.parametrize("tls", [None, {"mode": "Managed"}], ids=["plain", "tls"])
def test_a_takeover_is_a_pause_for_its_clients(
    cluster: Cluster, hanas: Made, signals: Hands, tls: Resource | None
) -> None:
    demo = hanas(preset="lan", etcd=ON, **({} if tls is None else {"tls": tls}))
    assert demo.status["etcd"]["service"].endswith(f"://{demo.name}-etcd.{demo.kubectl.namespace}.svc:2379")
    assert len(demo.status["etcd"]["endpoints"]) == 3
    with etcd_client(cluster, demo) as client:
        for _ in range(2):
            main, epoch = demo.status["main"], demo.status["epoch"]
            signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
            demo.until_epoch_after(epoch)
            client.until_written()
            demo.until_ready()
        print(f"killed twice; {client.longest_silence():.2f} s without an answer")
        # What one API writes the other reads.
        main = demo.status["main"]
        assert demo.worker(main, "/v1/kv/e2e/etcd/000001").strip() == "1"
        told = demo.worker(main, "/metrics")
        (puts,) = [line for line in told.splitlines() if line.startswith('hanas_etcd_requests_total{method="KV/Put"}')]
        assert float(puts.split()[-1]) > 0


@pytest.mark.timeout(900)
def test_it_is_turned_on_and_off_by_rolling_updates(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    service = f"{demo.name}-etcd"
    assert demo.kubectl.get("service", service) is None
    with clients(cluster, demo) as running:
        epoch = demo.status["epoch"]
        demo.apply(etcd=ON)
        _until_updated(demo)
        with etcd_client(cluster, demo) as client:
            client.until_written()
        demo.apply(etcd={"enabled": False})
        _until_updated(demo)
        assert demo.kubectl.get("service", service) is None
        assert "etcd" not in demo.status
        running.until_acknowledged()
        history = [each["why"] for each in demo.takeovers() if each["epoch"] > epoch]
        assert history == ["hand-over", "hand-over"]


def _until_updated(demo: HANas) -> None:
    demo.until("all pods follow", lambda: demo.is_observed() and demo.condition("Updated")[0] == "True", 300.0)
    demo.until_ready()
