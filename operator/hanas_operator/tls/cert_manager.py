"""The Certificate resources by which cert-manager makes the certificates of a HANas: pure functions."""

import ipaddress

from hanas_operator import kinds, names
from hanas_operator.api import Resource
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.plain import plain
from hanas_operator.pods import condition
from hanas_operator.tls import naming
from hanas_operator.tls.issuing import Leaf
from hanas_operator.tls.types import IssuerRef

CERTIFICATE_NAME = "cert-manager.io/certificate-name"
"""Annotation of a Secret: the Certificate that cert-manager made it for."""


def made_for(secret: Resource) -> str:
    """Return the name of the Certificate that cert-manager made a Secret for; empty: another one made it."""
    return str((secret["metadata"].get("annotations") or {}).get(CERTIFICATE_NAME, ""))


def trouble(request: Resource) -> str:
    """Return why the Secret of a Certificate is not as its spec asks for; empty: it is."""
    ready, generation = condition(request, "Ready"), request["metadata"].get("generation")
    if not ready or ready.get("observedGeneration", generation) != generation:
        return "it has not answered yet"
    return "" if ready["status"] == "True" else str(ready.get("message") or "it does not say why")


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
        "secretTemplate": {"labels": names.labels(owner.name)},
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
