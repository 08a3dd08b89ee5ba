"""Keys, claims and HANasBackup resources for the tests of backups."""

import base64
import json
from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

KEYS = {f"k/{number:03}": f"value {number}".encode() * (1 + number % 50) for number in range(200)}
API_VERSION = "hanas.dev/v1alpha1"


def archive(keys: dict[str, bytes]) -> str:
    lines: list[Resource] = [{"hanas": 1}]
    lines += [{"key": key, "value": base64.b64encode(value).decode()} for key, value in keys.items()]
    lines.append({"keys": len(keys), "bytes": sum(map(len, keys.values()))})
    return "".join(json.dumps(line) + "\n" for line in lines)


def put(hanas: HANas, keys: dict[str, bytes]) -> None:
    """Write keys. An import may be repeated, and is: on a busy machine a connection can take longer than it waits."""
    words = ("exec", "-i", hanas.pod("worker-0"), "--", "hanas", "import")
    eventually("keys are imported", lambda: (hanas.kubectl(*words, given=archive(keys)),), 120.0)


def content(hanas: HANas, prefix: str = "") -> dict[str, bytes]:
    """All values whose keys begin with ``prefix``. An export is repeated, too."""
    words = ("exec", hanas.pod("worker-0"), "--", "hanas", "export")
    told = eventually("keys are exported", lambda: hanas.kubectl(*words), 120.0)
    lines = [json.loads(line) for line in told.splitlines() if line.startswith('{"key"')]
    values = {line["key"]: base64.b64decode(line["value"]) for line in lines if "value" in line}
    return {key: value for key, value in values.items() if key.startswith(prefix)}


def claim(cluster: Cluster, kubectl: Kubectl, name: str) -> None:
    spec: Resource = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "64Mi"}}}
    if cluster.storage_class:
        spec["storageClassName"] = cluster.storage_class
    manifest = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    kubectl.apply(manifest)


def back_up(kubectl: Kubectl, name: str, **spec: Any) -> Resource:
    """Make a HANasBackup of the HANas ``demo``; return its status at its end."""
    metadata = {"name": name, "namespace": kubectl.namespace}
    kubectl.apply(
        {"apiVersion": API_VERSION, "kind": "HANasBackup", "metadata": metadata, "spec": {"hanas": "demo", **spec}}
    )

    def ended() -> Resource | None:
        status: Resource = (kubectl.get("hanasbackup", name) or {}).get("status", {})
        return status if status.get("phase") in {"Completed", "Failed"} else None

    return eventually(f"the backup {name} ends", ended, 150.0)
