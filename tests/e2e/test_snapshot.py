"""A backup by a VolumeSnapshot, and a HANas that is restored from it. The storage driver is played by the test.

There is a volume at one moment: all processes of the HANas stand still while it is copied. They do not know of it; they
had synced what they acknowledged, and nothing else is owed to them.
"""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.backups import API_VERSION, KEYS, claim, content, put
from tests.e2e.clients import RESTRICTED, clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import ROOT
from tests.e2e.conftest import Made, common
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

DEFINITION = ROOT / "tests/e2e/volumesnapshots.yaml"
CLASS = "e2e-from-snapshots"
"""A class whose volumes nobody makes but the test."""
COPY = "cp --recursive --preserve=links --sparse=always /from/. /to/"


@pytest.fixture
def kinds(cluster: Cluster) -> Iterator[None]:
    """The definition of VolumeSnapshots, and a class."""
    made: Resource = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    cluster.kubectl.apply(made)
    cluster.kubectl("apply", "--server-side", "--filename", str(DEFINITION))
    name = "volumesnapshots.snapshot.storage.k8s.io"
    cluster.kubectl("wait", f"crd/{name}", "--for=condition=Established", "--timeout=30s")
    yield
    cluster.kubectl("delete", "storageclass", CLASS)
    cluster.kubectl("delete", "crd", name, "--wait=false")


def copy(cluster: Cluster, hands: Hands, demo: HANas) -> None:
    """Copy the volume of a HANas that stands still into the claim ``frozen``."""
    kubectl = demo.kubectl
    pods = [pod["metadata"]["name"] for pod in kubectl.list("pods", f"hanas.dev/cluster={demo.name}")]
    volumes = {"from": f"{demo.name}-data", "to": "frozen"}
    container = {
        "name": "copy",
        "image": cluster.image("hanas"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; " + COPY],
        "securityContext": RESTRICTED,
        "volumeMounts": [
            *({"name": name, "mountPath": f"/{name}"} for name in volumes),
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    spec: Resource = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 65532},
        "containers": [container],
        "volumes": [
            *({"name": name, "persistentVolumeClaim": {"claimName": each}} for name, each in volumes.items()),
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "copy"}, "spec": spec})
    kubectl("wait", "pod/copy", "--for=condition=Ready", "--timeout=60s", seconds=70.0)
    try:
        for pod in pods:
            hands.signal(kubectl, pod, signal.SIGSTOP)
        kubectl("exec", "copy", "--", "touch", "/tmp/go")

        def done() -> bool:
            phase = str((kubectl.get("pod", "copy") or {}).get("status", {}).get("phase"))
            assert phase != "Failed", kubectl("logs", "copy")
            return phase == "Succeeded"

        eventually("the volume is copied", done, 90.0)
    finally:
        for pod in pods:
            hands.signal(kubectl, pod, signal.SIGCONT)


def volume_from_snapshot(kubectl: Kubectl, name: str) -> None:
    """Give a claim the copy as its volume."""
    frozen = kubectl.get("persistentvolumeclaim", "frozen")
    assert frozen is not None
    volume = kubectl.get("persistentvolume", frozen["spec"]["volumeName"])
    assert volume is not None
    places = {"hostPath", "local", "nodeAffinity", "nfs", "csi"}
    spec = {field: value for field, value in volume["spec"].items() if field in places}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{kubectl.namespace}-{name}"},
            "spec": {
                **spec,
                "accessModes": ["ReadWriteMany"],
                "capacity": volume["spec"]["capacity"],
                "storageClassName": CLASS,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": kubectl.namespace, "name": name},
            },
        }
    )


@pytest.mark.long
@pytest.mark.usefixtures("kinds")
def test_a_hanas_is_restored_from_a_snapshot_of_the_volume(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas(workers=2)
    kubectl = demo.kubectl
    claim(cluster, kubectl, "frozen")
    put(demo, KEYS)
    metadata = {"name": "snap", "namespace": kubectl.namespace}
    spec = {"hanas": "demo", "method": "VolumeSnapshot"}
    with clients(cluster, demo) as running:
        kubectl.apply({"apiVersion": API_VERSION, "kind": "HANasBackup", "metadata": metadata, "spec": spec})
        made = eventually("the operator makes it", lambda: kubectl.get("volumesnapshot", "snap"), 30.0)
        assert made["spec"]["source"] == {"persistentVolumeClaimName": "demo-data"}
        put(demo, {"k/last": b"acknowledged before"})
        copy(cluster, signals, demo)
        running.until_acknowledged()
        state = {"status": {"readyToUse": True, "restoreSize": "64Mi"}}
        words = ("--subresource=status", "--type=merge", "--patch", json.dumps(state))
        kubectl("patch", "volumesnapshot", "snap", *words)
        kubectl("wait", "hanasbackup/snap", "--for=jsonpath={.status.phase}=Completed", "--timeout=30s")
    demo.until_ready()
    put(demo, {"k/later": b"not in it"})
    storage = {**common(cluster)["storage"], "storageClassName": CLASS}
    restored = hanas("copy", workers=2, storage=storage, bootstrap={"fromBackup": {"backup": "snap"}}, wait=False)
    source = eventually("the claim is made", lambda: kubectl.get("persistentvolumeclaim", "copy-data"), 30.0)
    assert source["spec"]["dataSource"]["name"] == "snap"
    volume_from_snapshot(kubectl, "copy-data")
    restored.until_ready()
    assert content(restored, "k/") == {**KEYS, "k/last": b"acknowledged before"}
    assert restored.status["folderId"] != demo.status["folderId"]
    assert content(demo, "k/").keys() == {*KEYS, "k/last", "k/later"}
    restored.delete()
    kubectl("delete", "persistentvolume", f"{kubectl.namespace}-copy-data", "--wait=false")
