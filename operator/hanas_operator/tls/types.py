"""`spec.tls` as types."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_operator.texts import Name


class TlsMode(StrEnum):
    """Where the certificates come from."""

    MANAGED = "Managed"
    SECRET_REFS = "SecretRefs"
    CERT_MANAGER = "CertManager"


class _Type(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The msgspec settings of these types."""


class IssuerRef(_Type, frozen=True, kw_only=True):
    """An issuer of cert-manager."""

    name: Annotated[Name, Meta(description="Its name.")]
    kind: Annotated[str, Meta(min_length=1, max_length=63, description="Issuer or ClusterIssuer.")] = "Issuer"
    group: Annotated[Name, Meta(description="Its API group.")] = "cert-manager.io"


class TlsSpec(_Type, frozen=True, kw_only=True):
    """TLS on all ports, with certificates by which components recognise each other."""

    mode: Annotated[
        TlsMode,
        Meta(
            description="'Managed': the operator makes and renews the certificates; 'SecretRefs': they are in a Secret "
            "of yours; 'CertManager': an issuer of cert-manager makes them."
        ),
    ]
    secret_name: Annotated[
        Name | UnsetType,
        Meta(description="SecretRefs: name of a Secret with tls.crt, tls.key, and the authorities in ca.crt."),
    ] = UNSET
    issuer_ref: Annotated[IssuerRef | UnsetType, Meta(description="CertManager: who signs.")] = UNSET
