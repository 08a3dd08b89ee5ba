"""The names of a HANas: objects, labels, annotations, ports, members."""

from typing import Any

FIELD_MANAGER = "hanas-operator"
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "hanas-operator"
CLUSTER = "hanas.dev/cluster"
ROLE, MAIN, BACKUP = "hanas.dev/role", "main", "backup"
PAUSED = "hanas.dev/paused"
APPLIED = "hanas.dev/applied"
"""Annotation: a hash of the applied manifest, so that an object is written only when it changes."""
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
WORKER, OVERSEER = "worker", "overseer"
WORKER_PORT, LINK_PORT, OVERSEER_PORT = 3001, 4001, 4000
SELECT_MANAGED = f"{MANAGED_BY}={MANAGER}"


def labels(cluster: str, component: str | None = None) -> dict[str, str]:
    """Return the labels of an object of ``cluster``."""
    common = {
        "app.kubernetes.io/name": "hanas",
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


def claim(cluster: str) -> str:
    """Name of the claim that the operator makes."""
    return f"{cluster}-data"


def secret(cluster: str) -> str:
    """Name of the Secret that the components share."""
    return f"{cluster}-components"


def folder(cluster: str) -> str:
    """Name of the ConfigMap with the folder's id."""
    return f"{cluster}-folder"


def overseer(cluster: str) -> str:
    """Name of the overseers' Deployment, Service, PodDisruptionBudget and NetworkPolicy."""
    return f"{cluster}-overseer"


def worker(cluster: str) -> str:
    """Name of the workers' StatefulSet and PodDisruptionBudget."""
    return f"{cluster}-worker"


def headless(cluster: str) -> str:
    """Name of the headless Service that gives each worker its address."""
    return f"{cluster}-workers"


def main(cluster: str) -> str:
    """Name of the Service of the main."""
    return f"{cluster}-main"


def member(ordinal: int) -> str:
    """Member id of the worker with this ordinal."""
    return f"worker-{ordinal}"


def pod(cluster: str, of: str) -> str:
    """Name of the pod (and of its NetworkPolicy) of the member ``of``."""
    return f"{cluster}-{of}"


def member_of(cluster: str, pod_name: str) -> str:
    """Return the member id of a worker's pod."""
    return pod_name.removeprefix(f"{cluster}-")


def metadata(resource: dict[str, Any]) -> tuple[str, str]:
    """Return (namespace, name) of an object."""
    return resource["metadata"]["namespace"], resource["metadata"]["name"]
