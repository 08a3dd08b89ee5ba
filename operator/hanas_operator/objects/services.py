"""The Services for clients, and the limits for draining nodes."""

from hanas_operator import names
from hanas_operator.objects.owner import Manifest, Owner, manifest

_PORT = {"name": "http", "port": names.WORKER_PORT, "targetPort": "http", "protocol": "TCP"}


def everyone(owner: Owner) -> Manifest:
    """Return the Service of all ready workers; backups redirect to the main."""
    body = {"selector": names.selector(owner.name, names.WORKER), "ports": [_PORT]}
    return manifest(owner, "v1", "Service", owner.name, {"spec": body})


def main(owner: Owner) -> Manifest:
    """Return the Service of the main.

    It selects by the label alone and ignores readiness, so clients reach a new main before the kubelet's next probe.
    """
    body = {
        "selector": {**names.selector(owner.name, names.WORKER), names.ROLE: names.MAIN},
        "publishNotReadyAddresses": True,
        "ports": [_PORT],
    }
    return manifest(owner, "v1", "Service", names.main(owner.name), {"spec": body})


def budgets(owner: Owner) -> list[Manifest]:
    """Return the PodDisruptionBudgets: a drain evicts one pod of each component at a time, and never stalls."""
    return [
        manifest(
            owner,
            "policy/v1",
            "PodDisruptionBudget",
            name,
            {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.selector(owner.name, component)}}},
            component=component,
        )
        for component, name in (
            (names.WORKER, names.worker(owner.name)),
            (names.OVERSEER, names.overseer(owner.name)),
        )
    ]
