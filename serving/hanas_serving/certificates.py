"""Certificates: an authority, what it signs for components and clients, and what a certificate says.

Without files and without a clock: times are passed in. P-256 throughout: a handshake costs a fraction of RSA's.
"""

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hanas_serving.facts import Facts

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
_EARLIER = timedelta(minutes=5)
"""A certificate is valid from so long before it is made: clocks differ."""
_MOST_NAME = 64
"""Characters of a common name (RFC 5280)."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def authority(name: str, now: datetime, days: float = AUTHORITY_DAYS) -> Pair:
    """Return a new authority, which signs its own certificate. ``now``: with a time zone."""
    key = ec.generate_private_key(ec.SECP256R1())
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(_subject(name), _subject(name), key.public_key(), now, days)
    builder = builder.add_extension(constraints, critical=True).add_extension(_usage(signs=True), critical=True)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def component(signer: Pair, name: str, hosts: Iterable[str], now: datetime, days: float = LEAF_DAYS) -> Pair:
    """Return a certificate for a component: ``name`` is its member id, or what it is; it listens and connects.

    ``hosts``: the names and addresses at which others reach it.
    """
    names = x509.SubjectAlternativeName([_general(host) for host in dict.fromkeys((name, *hosts))])
    return _leaf(signer, name, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), names, now, days)


def client(signer: Pair, name: str, now: datetime, days: float = LEAF_DAYS) -> Pair:
    """Return a certificate for a client. It has no host names, so it is none of a component."""
    return _leaf(signer, name, (ExtendedKeyUsageOID.CLIENT_AUTH,), None, now, days)


def facts(certificate: bytes) -> Facts:
    """Return what the first certificate in PEM says. Raises ValueError if there is none."""
    read = x509.load_pem_x509_certificate(certificate)
    names: tuple[str, ...] = ()
    try:
        alternatives = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        addresses = map(str, alternatives.get_values_for_type(x509.IPAddress))
        names = (*alternatives.get_values_for_type(x509.DNSName), *addresses)
    return Facts(read.subject.rfc4514_string(), names, read.not_valid_before_utc, read.not_valid_after_utc)


def is_signed(certificate: bytes, signer: bytes) -> bool:
    """Return whether one certificate was signed by the key of another one, both PEM."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(signer))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_for_components(certificate: bytes) -> bool:
    """Return whether a certificate is for those who listen and connect. Raises ValueError."""
    read = x509.load_pem_x509_certificate(certificate)
    try:
        purposes = set(read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:  # for everything
        return True
    return {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= purposes


def is_pair(pair: Pair) -> bool:
    """Return whether the key is that of the certificate, and not encrypted. Raises ValueError without a certificate."""
    public = x509.load_pem_x509_certificate(pair.certificate).public_key()
    try:
        return serialization.load_pem_private_key(pair.key, None).public_key() == public
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        return False


def _leaf(
    signer: Pair,
    name: str,
    purposes: Iterable[x509.ObjectIdentifier],
    names: x509.SubjectAlternativeName | None,
    now: datetime,
    days: float,
) -> Pair:
    issuer = x509.load_pem_x509_certificate(signer.certificate)
    signing = serialization.load_pem_private_key(signer.key, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey), "an authority has a key on a curve"
    key = ec.generate_private_key(ec.SECP256R1())
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = _builder(_subject(name), issuer.subject, key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(known, critical=False)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(signing, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: float
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _EARLIER).not_valid_after(now + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _subject(name: str) -> x509.Name:
    """Return a name of its own for each certificate that is made."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_MOST_NAME])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), secret)
