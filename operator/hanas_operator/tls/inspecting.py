"""Whether the pods can use the certificates in a Secret that others make: a pure function."""

from collections.abc import Iterable
from datetime import datetime

from hanas_operator.api import Resource
from hanas_operator.tls import secrets
from hanas_serving import certificates
from hanas_serving.certificates import Pair

_MOST_NAMES = 5
"""Names that are missing, in one message."""


def trouble(actual: Resource, names: Iterable[str], now: datetime) -> str:
    """Return what is wrong with the certificate in a Secret; empty if nothing is. ``names``: what it must have."""
    missing = [key for key in (secrets.CERTIFICATE, secrets.KEY, secrets.TRUST) if not secrets.content(actual, key)]
    if missing:
        return f"it has no {', '.join(missing)}"
    found = Pair(secrets.content(actual, secrets.CERTIFICATE), secrets.content(actual, secrets.KEY))
    try:
        if not certificates.is_pair(found):
            return f"{secrets.KEY} is not the key of {secrets.CERTIFICATE}, or is encrypted"
        facts = certificates.facts(found.certificate)
    except ValueError:
        return f"{secrets.CERTIFICATE} holds no certificate (PEM)"
    try:
        certificates.facts(secrets.content(actual, secrets.TRUST))
    except ValueError:
        return f"{secrets.TRUST} holds no certificate (PEM)"
    if not facts.begins <= now < facts.ends:
        return f"its certificate is valid from {facts.begins:%Y-%m-%d %H:%M} to {facts.ends:%Y-%m-%d %H:%M} UTC"
    if not certificates.is_for_components(found.certificate):
        return "its certificate must be for servers and for clients (extended key usage)"
    absent = [name for name in names if not _has(facts.names, name)]
    if absent:
        more = f" and {len(absent) - _MOST_NAMES} more" if len(absent) > _MOST_NAMES else ""
        return f"its certificate lacks the names {', '.join(absent[:_MOST_NAMES])}{more}"
    return ""


def _has(names: tuple[str, ...], name: str) -> bool:
    """Return whether a name is among those of a certificate, also by a wildcard for its first part."""
    _, dot, domain = name.partition(".")
    return name in names or (bool(dot) and f"*.{domain}" in names)
