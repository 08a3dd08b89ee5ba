"""What the spec of a HANas leaves open to others: a pure function."""

from hanas_operator.spec import HANasSpec, RightsKey, SecretKey
from hanas_operator.status import Finding
from hanas_operator.tls.types import TlsSpec


def finding(spec: HANasSpec) -> Finding:
    """Return whether anything is open."""
    if isinstance(spec.tls, TlsSpec):
        return "False", "Protected", "all ports speak TLS, and clients need a token or a certificate"
    words = "without tls, whoever is on the way reads and changes what is sent, tokens too"
    if isinstance(spec.client_token_secret, SecretKey) or isinstance(spec.client_rights_secret, RightsKey):
        return "True", "WithoutTls", f"{words}: set spec.tls"
    more = "without tokens or rights of clients, whoever reaches the pods reads and writes all keys"
    return "True", "OpenToAll", f"{words}; {more}: set spec.tls, clientTokenSecret or clientRightsSecret"
