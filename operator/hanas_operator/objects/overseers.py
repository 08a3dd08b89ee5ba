"""The overseers: a Deployment, since they keep no state, and their Service."""

from hanas_operator import names
from hanas_operator.objects import pods
from hanas_operator.objects.owner import Manifest, Owner, manifest


def deployment(owner: Owner) -> Manifest:
    """Return the Deployment."""
    body = {
        "replicas": owner.spec.overseer.replicas,
        "selector": {"matchLabels": names.selector(owner.name, names.OVERSEER)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pods.template(
            owner,
            names.OVERSEER,
            "hanas-overseer",
            [{"name": "PORT", "value": str(names.OVERSEER_PORT)}],
            {"http": names.OVERSEER_PORT},
            owner.spec.overseer.resources,
        ),
    }
    return manifest(
        owner, "apps/v1", "Deployment", names.overseer(owner.name), {"spec": body}, component=names.OVERSEER
    )


def service(owner: Owner) -> Manifest:
    """Return the Service."""
    body = {
        "selector": names.selector(owner.name, names.OVERSEER),
        "ports": [{"name": "http", "port": names.OVERSEER_PORT, "targetPort": "http", "protocol": "TCP"}],
    }
    return manifest(owner, "v1", "Service", names.overseer(owner.name), {"spec": body}, component=names.OVERSEER)
