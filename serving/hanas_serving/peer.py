"""Whom the other end of a connection has shown itself to be, by a certificate that was verified."""

from collections.abc import Mapping
from typing import Any

import msgspec

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "userId": "UID",
}


class Peer(msgspec.Struct, frozen=True):
    """The holder of a certificate."""

    subject: str = ""
    """As RFC 4514 writes it, such as ``CN=alice,O=Example``."""
    names: frozenset[str] = frozenset()
    """Host names and addresses. Components have some: the member id is one of them."""

    @property
    def shown(self) -> bool:
        """Whether there is a certificate."""
        return bool(self.subject or self.names)


NOBODY = Peer()
"""Who showed no certificate, where one is asked for."""


def of_certificate(certificate: Mapping[str, Any] | None) -> Peer:
    """Return the holder of what `ssl.SSLObject.getpeercert` returned."""
    if not certificate:
        return NOBODY
    parts = ["+".join(_part(*pair) for pair in reversed(name)) for name in reversed(certificate.get("subject", ()))]
    kinds = {"DNS", "IP Address"}
    names = frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind in kinds)
    return Peer(",".join(parts), names)


def _part(kind: str, value: str) -> str:
    escaped = "".join(f"\\{sign}" if sign in '\\,+"<>;' else sign for sign in value)
    if value.startswith(("#", " ")):
        escaped = f"\\{escaped}"
    if value.endswith(" ") and len(value) > 1:
        escaped = f"{escaped[:-1]}\\ "
    return f"{_SHORT.get(kind, kind)}={escaped}"
