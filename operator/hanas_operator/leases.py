"""Leases (coordination.k8s.io/v1): who holds one, and writes that fail when another one wrote meanwhile."""

from datetime import UTC, datetime

from hanas_operator import durations, kinds
from hanas_operator.api import Api, Resource


def holder(lease: Resource) -> str:
    """Return who holds a Lease, empty if nobody does."""
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def held(identity: str, seconds: int) -> Resource:
    """Return the spec of a Lease that ``identity`` renews now, for ``seconds``."""
    now = durations.precisely(datetime.now(UTC))
    return {"holderIdentity": identity, "leaseDurationSeconds": seconds, "renewTime": now}


async def create(api: Api, namespace: str, name: str, spec: Resource) -> Resource:
    """Make a Lease and return it. Raises ApiError 409 if there is one."""
    meta = {"name": name, "namespace": namespace}
    kind = {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.kind}
    return await api.create(kinds.LEASE, {**kind, "metadata": meta, "spec": spec})


async def renew(api: Api, namespace: str, name: str, read: Resource, spec: Resource) -> Resource:
    """Change a Lease as it was ``read`` and return it. Raises ApiError 409 if it has changed since."""
    version = {"resourceVersion": read["metadata"]["resourceVersion"]}
    return await api.merge(kinds.LEASE, namespace, name, {"metadata": version, "spec": spec})
