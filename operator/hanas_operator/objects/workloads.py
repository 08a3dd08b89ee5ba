"""The objects that make pods: a Deployment of overseers, which keep no state, and a StatefulSet of workers.

The member id of a worker is ``worker-N``, where N is the pod's ordinal in the label ``apps.kubernetes.io/pod-index``
(Kubernetes 1.28). All workers start at once. An update replaces one after the other, the main last, which hands over
then.
"""

from hanas_operator import kinds, names
from hanas_operator.fittings import MEMBER
from hanas_operator.objects import etcd, pods
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_serving.settings import Backups


def workloads(owner: Owner) -> list[Manifest]:
    """Return the Deployment and the StatefulSet."""
    return [_overseers(owner), _workers(owner)]


def _overseers(owner: Owner) -> Manifest:
    environment = [{"name": "PORT", "value": str(names.OVERSEER_PORT)}]
    ports, resources = {"http": names.OVERSEER_PORT}, owner.spec.overseer.resources
    spec = {
        "replicas": owner.overseers,
        "selector": {"matchLabels": names.selector(owner.name, names.OVERSEER)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pods.template(owner, names.OVERSEER, "hanas-overseer", environment, ports, resources),
    }
    return manifest(owner, kinds.DEPLOYMENT, names.of(owner.name, names.OVERSEER), component=names.OVERSEER, spec=spec)


def _workers(owner: Owner) -> Manifest:
    ports = {"http": names.WORKER_PORT, "link": names.LINK_PORT}
    if owner.etcd_port is not None:
        ports[names.ETCD] = owner.etcd_port
    spec = {
        "replicas": owner.spec.workers,
        "serviceName": names.of(owner.name, names.HEADLESS),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": names.selector(owner.name, names.WORKER)},
        "updateStrategy": {"type": "OnDelete"},  # hanas_operator.replacing
        "minReadySeconds": 2,
        "template": pods.template(
            owner, names.WORKER, "hanas-worker", _environment(owner), ports, owner.spec.resources
        ),
    }
    return manifest(owner, kinds.STATEFUL_SET, names.of(owner.name, names.WORKER), component=names.WORKER, spec=spec)


def _environment(owner: Owner) -> list[Manifest]:
    host = owner.host_of("$(POD_NAME)")
    advertised = f"{owner.scheme}://{host}:{names.WORKER_PORT}"
    if isinstance(owner.spec.advertise_url, str):
        advertised = owner.spec.advertise_url.replace(MEMBER, "$(WORKER_ID)")
    overseer = f"{owner.scheme}://{names.of(owner.name, names.OVERSEER)}.{owner.namespace}.svc:{names.OVERSEER_PORT}"
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{names.POD_INDEX}']"}}},
        {"name": "WORKER_ID", "value": "worker-$(POD_INDEX)"},
        {"name": "PORT", "value": str(names.WORKER_PORT)},
        {"name": "LINK_PORT", "value": str(names.LINK_PORT)},
        {"name": "ADVERTISE_URL", "value": advertised},
        {"name": "LINK_URL", "value": f"{owner.scheme}://{host}:{names.LINK_PORT}"},
        {"name": "OVERSEER_IP", "value": overseer},
        {"name": "HANAS_ISOLATION_POLICY", "value": owner.spec.isolation_policy.value},
        *_backups(owner.spec.backups),
        *etcd.environment(owner),
    ]


def _backups(backups: Backups) -> list[Manifest]:
    """Return the variable, unless it is the default: no pod of an older operator is replaced for its sake."""
    return [] if backups is Backups.REDIRECT else [{"name": "HANAS_BACKUPS", "value": backups.value}]
