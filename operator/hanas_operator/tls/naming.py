"""The names in the certificates of a HANas: pure functions.

All its pods have one certificate. It has the id of each worker, by which workers accept each other, and the names of
all Services and pods, under which they are called.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from hanas_operator import names
from hanas_operator.fittings import MEMBER, ServiceSpec
from hanas_operator.objects.owner import Owner
from hanas_operator.tls.issuing import Leaf

_HERE = ("localhost", "127.0.0.1", "::1")
_DOMAIN = "cluster.local"
"""Of clusters whose administrator chose no other one; names without it hold everywhere."""


def components(owner: Owner) -> Leaf:
    """Return what the certificate of the pods is for."""
    return Leaf(owner.name, tuple(dict.fromkeys(_names(owner))))


def clients(owner: Owner) -> Leaf:
    """Return what the certificate of clients is for."""
    return Leaf(names.of(owner.name, "client"))


def needed(owner: Owner) -> tuple[str, ...]:
    """Return the names without which the pods do not accept each other, or the operator not them."""
    host = _local(owner, names.of(owner.name, names.OVERSEER))
    return (*owner.members, host, *(f"{names.of(owner.name, member)}.{_pods(owner)}" for member in owner.members))


def _names(owner: Owner) -> Iterator[str]:
    spec, cluster = owner.spec, owner.name
    yield from (*owner.members, *_HERE)
    services = [cluster, names.of(cluster, names.MAIN), names.of(cluster, names.OVERSEER)]
    if owner.etcd_port is not None:
        services.append(names.of(cluster, names.ETCD))
    if isinstance(spec.services.each, ServiceSpec):
        services += [names.of(cluster, member) for member in owner.members]
    for service in services:
        local = _local(owner, service)
        yield from (service, f"{service}.{owner.namespace}", local, f"{local}.{_DOMAIN}")
    yield from (f"*.{_pods(owner)}", f"*.{_pods(owner)}.{_DOMAIN}")
    yield from (host for host in spec.hosts if host != "*")
    if isinstance(spec.advertise_url, str):
        yield from (urlsplit(spec.advertise_url.replace(MEMBER, member)).hostname or "" for member in owner.members)


def _pods(owner: Owner) -> str:
    """Return the domain of the workers' pods."""
    return _local(owner, names.of(owner.name, names.HEADLESS))


def _local(owner: Owner, service: str) -> str:
    return f"{service}.{owner.namespace}.svc"
