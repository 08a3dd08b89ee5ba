"""A backup to a claim, and a new HANas that is restored from it: compared key by key."""

import base64
import json

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

KEYS = {f"k/{number:03}": f"value {number}".encode() * (1 + number % 50) for number in range(200)}


def archive(keys: dict[str, bytes]) -> str:
    lines: list[Resource] = [{"hanas": 1}]
    lines += [{"key": key, "value": base64.b64encode(value).decode()} for key, value in keys.items()]
    lines.append({"keys": len(keys), "bytes": sum(map(len, keys.values()))})
    return "".join(json.dumps(line) + "\n" for line in lines)


def put(hanas: HANas, keys: dict[str, bytes]) -> None:
    hanas.kubectl("exec", "-i", hanas.pod("worker-0"), "--", "hanas", "import", given=archive(keys))


def content(hanas: HANas) -> dict[str, bytes]:
    told = hanas.kubectl("exec", hanas.pod("worker-0"), "--", "hanas", "export")
    lines = [json.loads(line) for line in told.splitlines() if line.startswith('{"key"')]
    return {line["key"]: base64.b64decode(line["value"]) for line in lines if "value" in line}


def claim(cluster: Cluster, kubectl: Kubectl, name: str) -> None:
    spec: Resource = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "64Mi"}}}
    if cluster.storage_class:
        spec["storageClassName"] = cluster.storage_class
    manifest = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    kubectl.apply(manifest)


def test_a_new_hanas_is_restored_from_a_backup_on_a_claim(cluster: Cluster, hanas: Made) -> None:
    target = {"claim": {"name": "archives", "subPath": "shop"}}
    demo = hanas(workers=2, backupTarget=target)
    claim(cluster, demo.kubectl, "archives")
    put(demo, KEYS)
    metadata = {"name": "first", "namespace": demo.kubectl.namespace}
    demo.kubectl.apply(
        {"apiVersion": "hanas.dev/v1alpha1", "kind": "HANasBackup", "metadata": metadata, "spec": {"hanas": "demo"}}
    )

    def status() -> Resource:
        return dict((demo.kubectl.get("hanasbackup", "first") or {}).get("status", {}))

    eventually("the backup ends", lambda: status().get("phase") in {"Completed", "Failed"}, 90.0)
    told = status()
    assert told["phase"] == "Completed", told
    assert (told["keys"], told["folderId"], told["target"]) == (len(KEYS), demo.status["folderId"], target)
    assert told["size"] > sum(map(len, KEYS.values()))
    assert told["revision"] >= len(KEYS)
    put(demo, {"later": b"not in the backup"})
    copy = hanas("copy", workers=2, bootstrap={"fromBackup": {"backup": "first"}})
    assert content(copy) == KEYS
    assert content(demo) == {**KEYS, "later": b"not in the backup"}
    assert copy.status["folderId"] != demo.status["folderId"]
