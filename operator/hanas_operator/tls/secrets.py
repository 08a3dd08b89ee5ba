"""The Secrets with certificates: from what is in them, and to what they must hold. Pure functions."""

import base64
from collections.abc import Mapping

from hanas_operator import kinds, names
from hanas_operator.api import Resource
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.tls.issuing import Authority
from hanas_serving import certificates
from hanas_serving.certificates import Pair

CERTIFICATE, KEY, TRUST = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret with a certificate, as cert-manager and Kubernetes name them."""
_FILES = {
    "present": ("ca.crt", "ca.key"),
    "following": ("following.crt", "following.key"),
}
_FORMER = "former.crt"
_TYPE = "kubernetes.io/tls"


def content(actual: Resource | None, key: str) -> bytes:
    """Return what a Secret holds under a key; nothing if it is not there."""
    try:
        return base64.b64decode(((actual or {}).get("data") or {}).get(key, ""))
    except ValueError:
        return b""


def pair(actual: Resource | None, certificate: str = CERTIFICATE, key: str = KEY) -> Pair | None:
    """Return a certificate and its key in a Secret; None if it holds none."""
    found = Pair(content(actual, certificate), content(actual, key))
    try:
        return found if certificates.is_pair(found) else None
    except ValueError:
        return None


def authority(actual: Resource | None) -> Authority | None:
    """Return the authority in a Secret; None if it holds none."""
    present = pair(actual, *_FILES["present"])
    if present is None:
        return None
    return Authority(present, pair(actual, *_FILES["following"]), content(actual, _FORMER))


def of_authority(owner: Owner, authority: Authority) -> Manifest:
    """Return the Secret of the authority, which no pod sees."""
    data = {_FORMER: authority.former}
    for name, pair in (("present", authority.present), ("following", authority.following)):
        data |= zip(_FILES[name], (b"", b"") if pair is None else (pair.certificate, pair.key), strict=True)
    return _secret(owner, names.of(owner.name, names.AUTHORITY), "Opaque", data, "")


def of_leaf(owner: Owner, name: str, leaf: Pair, trust: bytes, renewal: str) -> Manifest:
    """Return the Secret of a certificate. ``renewal``: the text that asked for it; empty: none did."""
    return _secret(owner, name, _TYPE, {CERTIFICATE: leaf.certificate, KEY: leaf.key, TRUST: trust}, renewal)


def _secret(owner: Owner, name: str, kind: str, data: Mapping[str, bytes], renewal: str) -> Manifest:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    result = manifest(owner, kinds.SECRET, name, type=kind, data=encoded)
    result["metadata"]["annotations"] = {names.RENEWAL: renewal} if renewal else {}
    return result
