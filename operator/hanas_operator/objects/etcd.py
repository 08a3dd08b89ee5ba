"""etcd's API of a HANas: what its workers are told of it, and where clients reach it."""

from msgspec import UNSET, UnsetType

from hanas_operator import names
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.status import EtcdStatus


def environment(owner: Owner) -> list[Manifest]:
    """Return the variables of a worker; none where it is not spoken."""
    if owner.etcd_port is None:
        return []
    return [
        {"name": "HANAS_ETCD_PORT", "value": str(owner.etcd_port)},
        {"name": "HANAS_ETCD_URL", "value": _url(owner, owner.host_of("$(POD_NAME)"))},
    ]


def endpoints(owner: Owner) -> EtcdStatus | UnsetType:
    """Return where clients in the cluster reach it."""
    if owner.etcd_port is None:
        return UNSET
    pods = (names.of(owner.name, member) for member in owner.members)
    return EtcdStatus(
        service=_url(owner, f"{names.of(owner.name, names.ETCD)}.{owner.namespace}.svc"),
        endpoints=tuple(_url(owner, owner.host_of(pod)) for pod in pods),
    )


def _url(owner: Owner, host: str) -> str:
    return f"{owner.scheme}://{host}:{owner.etcd_port}"
