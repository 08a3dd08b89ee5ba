"""The names of a HANas: objects, labels, annotations, ports, members."""

from typing import Any

from hanas_core.members.roles import Role

FIELD_MANAGER = "hanas-operator"
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "hanas-operator"
APPLICATION, NAMESPACE = "app.kubernetes.io/name", "kubernetes.io/metadata.name"
CLUSTER = "hanas.dev/cluster"
ROLE, MAIN, BACKUP = "hanas.dev/role", Role.MAIN.value, Role.BACKUP.value
EPOCH = "hanas.dev/epoch"
"""Annotation of a pod: the epoch of which its role is."""
PAUSED = "hanas.dev/paused"
SWITCHOVER = "hanas.dev/switchover"
"""Annotation of a HANas: the worker that shall be the main."""
APPLIED = "hanas.dev/applied"
"""Annotation: a hash of the applied manifest, so that an object is written only when it changes."""
INPUTS, RENDERED_BY = "hanas.dev/inputs", "hanas.dev/rendered-by"
"""Annotations of a workload: a hash of what its pod template was made of, and the version of the operator that made
it."""
ROTATE, ROTATION = "hanas.dev/rotate-secret", "hanas.dev/rotation"
"""Annotations: of a HANas, another text in it asks for another secret of the components; of the Secret and of pods, how
far that is."""
TLS = "hanas.dev/tls"
"""Annotation of pods that speak TLS: the name of the Secret with their certificate."""
RENEW, RENEWAL = "hanas.dev/renew-certificates", "hanas.dev/renewal"
"""Annotations: of a HANas, another text in it asks for another authority and new certificates; of a Secret with a
certificate, the text that was the last one."""
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
BACKUP_OF, SCHEDULE = "hanas.dev/backup", "hanas.dev/schedule"
"""Labels: the Job of a pod that backs up or restores; the HANasScheduledBackup that made a HANasBackup."""
WORKER, OVERSEER = "worker", "overseer"
"""The components, and the parts of the names of their workloads, budgets, and the overseers' Service and policy."""
CLAIM, SECRET, FOLDER, HEADLESS = "data", "components", "folder", "workers"
"""The parts of the names of the operator's claim, the components' Secret, the ConfigMap with the folder's id, and the
Service with an address for each worker; that of the main's Service is MAIN."""
AUTHORITY, CERTIFICATES, CLIENT_CERTIFICATES = "ca", "tls", "client-tls"
"""... and of the Secrets with the authority, the certificate of the pods, and one for clients."""
ETCD = "etcd"
"""... and of the Service of etcd's API, whose port has this name, too."""
WORKER_PORT, LINK_PORT, OVERSEER_PORT = 3001, 4001, 4000
SELECT_MANAGED = f"{MANAGED_BY}={MANAGER}"


def labels(cluster: str, component: str | None = None) -> dict[str, str]:
    """Return the labels of an object of ``cluster``."""
    common = {
        APPLICATION: "hanas",
        "app.kubernetes.io/instance": cluster,
        MANAGED_BY: MANAGER,
        CLUSTER: cluster,
    }
    return common if component is None else {**common, "app.kubernetes.io/component": component}


def selector(cluster: str, component: str) -> dict[str, str]:
    """Return the labels that select the pods of a component; they never change."""
    return {CLUSTER: cluster, "app.kubernetes.io/component": component}


def selected(labels: dict[str, str]) -> str:
    """Return a label selector as one string."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def of(cluster: str, part: str) -> str:
    """Return the name of an object of ``cluster``. ``part``: what it is, or the member id of a pod or its policy."""
    return f"{cluster}-{part}"


def member(ordinal: int) -> str:
    """Member id of the worker with this ordinal."""
    return f"worker-{ordinal}"


def member_of(cluster: str, pod_name: str) -> str:
    """Return the member id of a worker's pod."""
    return pod_name.removeprefix(f"{cluster}-")


def metadata(resource: dict[str, Any]) -> tuple[str, str]:
    """Return (namespace, name) of an object."""
    return resource["metadata"]["namespace"], resource["metadata"]["name"]
