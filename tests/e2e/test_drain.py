"""Nodes that are drained: workers that are not ready do not keep them from it, and a ready one goes at a time."""

import json
import signal

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.waiting import eventually


def _is_ready(demo: HANas, member: str) -> bool:
    conditions = (demo.kubectl.get("pod", demo.pod(member)) or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _evict(demo: HANas, member: str) -> None:
    """Ask as `kubectl drain` does. Raises CommandFailed."""
    path = f"/api/v1/namespaces/{demo.kubectl.namespace}/pods/{demo.pod(member)}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": demo.pod(member)}}
    demo.kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))


def test_workers_that_are_not_ready_can_be_evicted(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas()
    main = demo.status["main"]
    backups = sorted({"worker-0", "worker-1", "worker-2"} - {main})
    uids = {member: (demo.kubectl.get("pod", demo.pod(member)) or {})["metadata"]["uid"] for member in backups}
    with clients(cluster, demo) as running:
        for member in backups:
            signals.signal(demo.kubectl, demo.pod(member), signal.SIGSTOP)
        eventually("no backup is ready", lambda: not any(_is_ready(demo, member) for member in backups))
        for member in backups:
            _evict(demo, member)
        with pytest.raises(CommandFailed, match="disruption budget"):
            _evict(demo, main)
        for member in backups:
            signals.signal(demo.kubectl, demo.pod(member), signal.SIGCONT)
        demo.until_ready()
        running.until_acknowledged()
    for member in backups:
        assert (demo.kubectl.get("pod", demo.pod(member)) or {})["metadata"]["uid"] != uids[member]
