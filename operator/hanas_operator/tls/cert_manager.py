"""The Certificate resources by which cert-manager makes the certificates of a HANas: pure functions."""

import ipaddress

from hanas_operator import kinds, names
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.plain import plain
from hanas_operator.tls import naming
from hanas_operator.tls.issuing import Leaf
from hanas_operator.tls.types import IssuerRef


def requests(owner: Owner, issuer: IssuerRef) -> list[Manifest]:
    """Return the Certificates of the pods and of clients."""
    return [
        _request(owner, issuer, names.CERTIFICATES, naming.components(owner), ["server auth", "client auth"]),
        _request(owner, issuer, names.CLIENT_CERTIFICATES, naming.clients(owner), ["client auth"]),
    ]


def _request(owner: Owner, issuer: IssuerRef, part: str, leaf: Leaf, usages: list[str]) -> Manifest:
    addresses = [name for name in leaf.names if _is_address(name)]
    hosts = [name for name in leaf.names if name not in addresses]
    reference = {"kind": issuer.kind, "group": issuer.group, **plain(issuer)}
    name = names.of(owner.name, part)
    spec: Manifest = {
        "secretName": name,
        "commonName": leaf.subject,
        "issuerRef": reference,
        "usages": ["digital signature", *usages],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
    }
    if leaf.names:
        spec |= {"dnsNames": hosts, "ipAddresses": addresses}
    return manifest(owner, kinds.CERTIFICATE, name, spec=spec)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
