"""The workers: a StatefulSet, since a member keeps its id, and the headless Service with an address for each.

The member id is ``worker-N``, where N is the pod's ordinal in the label ``apps.kubernetes.io/pod-index`` (Kubernetes
1.28). All workers start at once, and an update replaces one after the other, the last one first; a worker hands over on
SIGTERM.
"""

from hanas_operator import names
from hanas_operator.objects import pods
from hanas_operator.objects.owner import Manifest, Owner, manifest


def stateful_set(owner: Owner) -> Manifest:
    """Return the StatefulSet."""
    body = {
        "replicas": owner.spec.workers,
        "serviceName": names.headless(owner.name),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": names.selector(owner.name, names.WORKER)},
        "updateStrategy": {"type": "RollingUpdate"},
        "minReadySeconds": 2,
        "template": pods.template(
            owner,
            names.WORKER,
            "hanas-worker",
            _environment(owner),
            {"http": names.WORKER_PORT, "link": names.LINK_PORT},
            owner.spec.resources,
        ),
    }
    return manifest(owner, "apps/v1", "StatefulSet", names.worker(owner.name), {"spec": body}, component=names.WORKER)


def headless(owner: Owner) -> Manifest:
    """Return the headless Service. It includes workers that are not ready: their peers must reach them."""
    body = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": names.selector(owner.name, names.WORKER),
        "ports": [
            {"name": "http", "port": names.WORKER_PORT, "targetPort": "http", "protocol": "TCP"},
            {"name": "link", "port": names.LINK_PORT, "targetPort": "link", "protocol": "TCP"},
        ],
    }
    return manifest(owner, "v1", "Service", names.headless(owner.name), {"spec": body}, component=names.WORKER)


def _environment(owner: Owner) -> list[Manifest]:
    host = f"$(POD_NAME).{names.headless(owner.name)}.{owner.namespace}.svc"
    overseer = f"http://{names.overseer(owner.name)}.{owner.namespace}.svc:{names.OVERSEER_PORT}"
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{names.POD_INDEX}']"}}},
        {"name": "WORKER_ID", "value": "worker-$(POD_INDEX)"},
        {"name": "PORT", "value": str(names.WORKER_PORT)},
        {"name": "LINK_PORT", "value": str(names.LINK_PORT)},
        {"name": "ADVERTISE_URL", "value": f"http://{host}:{names.WORKER_PORT}"},
        {"name": "LINK_URL", "value": f"http://{host}:{names.LINK_PORT}"},
        {"name": "OVERSEER_IP", "value": overseer},
        {"name": "HANAS_ISOLATION_POLICY", "value": owner.spec.isolation_policy.value},
    ]
