"""From an earlier version of chart, operator and image to these, under load: nothing is lost, and nothing is forced."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e import before, operators
from tests.e2e.backups import KEYS, content
from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.etcd_calls import EtcdCalls, Key, encoded
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import RELEASE, REPLICAS, Operator
from tests.e2e.waiting import eventually, holds

EVERYBODY = [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]
"""Clients outside of the namespace, as this test is one: to be named, which the earlier version did not ask for."""
_PUT = """
import json, sys, urllib.request
for key, value in json.load(sys.stdin).items():
    request = urllib.request.Request("http://localhost:3001/v1/kv/" + key, bytes.fromhex(value), method="PUT")
    urllib.request.urlopen(request, timeout=20)
"""
pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(900)]


@pytest.fixture
def former(cluster: Cluster) -> Iterator[Operator]:
    """The operator of the earlier version, alone."""
    operator = operators.of(cluster)
    present = RELEASE in operator.kubectl.helm("list", "--short").split()
    if present:
        operator.uninstall()
    with before.chart(cluster) as chart:
        operator.install(chart=chart, suffix=before.SUFFIX)
        yield operator
    if present:
        operator.install()
    else:
        operator.uninstall()


def _pods(demo: HANas) -> dict[str, str]:
    """The images by the pods' uids."""
    pods = demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")
    return {pod["metadata"]["uid"]: pod["spec"]["containers"][0]["image"] for pod in pods}


def _revision(demo: HANas, member: str) -> int:
    """That of the store, 0 while the folder has the format of the earlier version."""
    history = json.loads(demo.worker(member, "/v1/status"))["history"]
    return 0 if history is None else int(history["revision"])


def _spec(cluster: Cluster) -> dict[str, object]:
    """A spec that the earlier version understands, too."""
    storage = {"size": "64Mi"} | ({"storageClassName": cluster.storage_class} if cluster.storage_class else {})
    return {"workers": 3, "preset": "cloud", "storage": storage, "reclaim": "Delete"}


def test_nothing_is_lost_from_the_earlier_version_to_this_one(
    cluster: Cluster, former: Operator, namespace: Kubectl
) -> None:
    demo = HANas(namespace, "demo", _spec(cluster))
    demo.apply()
    demo.until_ready()
    _put_by_hand(demo, KEYS)
    epoch, folder, pods = demo.status["epoch"], demo.status["folderId"], _pods(demo)
    image = cluster.image("hanas")
    assert set(pods.values()) == {f"{image}{before.SUFFIX}"}
    with clients(cluster, demo) as running:
        former.install()
        eventually("the new operators run", lambda: former.nodes() and len(former.pods()) == REPLICAS)
        demo.until("the new operator looked at it", lambda: demo.condition("Updated")[1] == "UpdateHeld")
        demo.until_ready()
        holds("no pod is replaced for a new operator", lambda: _pods(demo) == pods, 5.0)
        assert demo.status["epoch"] == epoch, "no takeover either"
        running.until_acknowledged()
        demo.apply(image=image, clients=EVERYBODY, etcd={"enabled": True})
        demo.until("every pod runs this version", lambda: set(_pods(demo).values()) == {image}, 300.0)
        demo.until("the update is done", lambda: demo.condition("Updated")[:2] == ("True", "AllUpdated"))
        main = demo.until_ready()
        demo.until("the folder has revisions", lambda: _revision(demo, main) > 0)
        assert demo.overseer("/v1/main")["main"] is not None, "the new overseers read it"
        running.until_acknowledged()
        history = [each for each in demo.takeovers() if each["epoch"] > epoch]
        print(f"{len(history)} hand-overs; longest time without an answer {longest_silence(running.history()):.2f} s")
        assert [each["why"] for each in history] == ["hand-over"] * len(history)
        assert 1 <= len(history) <= 3
    assert demo.status["folderId"] == folder
    assert content(demo, "k/") == KEYS
    _old_keys_have_revisions_that_outlive_all_pods(demo)
    demo.delete()


def _put_by_hand(demo: HANas, keys: dict[str, bytes]) -> None:
    """Write keys at the main: the images of earlier versions have no client."""
    words = ("exec", "-i", demo.pod(demo.status["main"]), "--", "python", "-c", _PUT)
    demo.kubectl(*words, given=json.dumps({key: value.hex() for key, value in keys.items()}))


def _old_keys_have_revisions_that_outlive_all_pods(demo: HANas) -> None:
    """Use transactions, leases, watches and history on keys of the earlier version, and again after a restart."""
    etcd = EtcdCalls(demo)
    old = etcd.below("k/")
    assert {key: each.value for key, each in old.items()} == KEYS
    assert all(0 < each.create <= each.mod for each in old.values())
    assert len({each.mod for each in old.values()}) == len(old), "each write has a revision of its own"
    begun = etcd.revision()
    changed, leased = old["k/000"], old["k/001"]
    assert etcd.put_if("k/000", changed.mod, "first")
    assert not etcd.put_if("k/000", changed.mod, "second"), "it has another revision now"
    lease = etcd.call("lease/grant", TTL="3600")["ID"]
    assert etcd.put_if("k/001", leased.mod, "leased", lease)
    now = etcd.below("k/")
    assert now["k/000"] == Key(b"first", changed.create, begun + 1)
    assert etcd.events("k/000", begun + 1, 1) == [("PUT", "first")]

    there = _pods(demo)
    demo.kubectl("delete", "pods", "--selector", f"hanas.dev/cluster={demo.name}", "--wait=false")
    demo.until("other pods run", lambda: not set(there) & set(_pods(demo)))
    demo.until_ready()
    assert etcd.below("k/") == now
    assert etcd.below("k/", begun) == old, "and what was there before"
    assert etcd.events("k/000", begun + 1, 1) == [("PUT", "first")]
    left = etcd.call("lease/timetolive", ID=lease, keys=True)
    assert 0 < int(left["TTL"]) <= 3600
    assert left["keys"] == [encoded("k/001")]
    etcd.call("lease/revoke", ID=lease)
    assert etcd.events("k/001", begun + 1, 2) == [("PUT", "leased"), ("DELETE", "")]
    assert etcd.below("k/") == {key: each for key, each in now.items() if key != "k/001"}
    assert etcd.revision() > begun


def test_clients_elsewhere_that_are_named_before_the_upgrade_stay_admitted(
    cluster: Cluster, former: Operator, namespace: Kubectl
) -> None:
    """As docs/kubernetes.md has it, "From 0.1.0"."""
    demo = HANas(namespace, "demo", {**_spec(cluster), "workers": 1})
    demo.apply()
    demo.until_ready()
    chart = ("template", RELEASE, operators.CHART, "--show-only", "templates/crd.yaml", "--kube-version", "1.29")
    former.kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", given=former.kubectl.helm(*chart))
    namespace.patch("hanas", "demo", {"spec": {"clients": EVERYBODY}})
    demo.until("the earlier operator passes over it", demo.is_observed)
    former.install()
    demo.until("the new operator looked at it", lambda: demo.condition("Updated")[1] == "UpdateHeld")
    holds("the overseer is reached from outside", lambda: demo.overseer("/v1/main")["main"] is not None, 5.0)
    demo.delete()
