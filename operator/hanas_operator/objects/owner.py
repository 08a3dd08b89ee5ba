"""The HANas that owns the objects, and the common part of their manifests."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hanas_operator import kinds, names
from hanas_operator.kinds import ResourceKind
from hanas_operator.spec import EtcdSpec, HANasSpec
from hanas_operator.tls.types import TlsSpec

Manifest = dict[str, Any]


class Owner(Struct, frozen=True, kw_only=True):
    """One HANas, reduced to the fields that its objects depend on."""

    name: str
    namespace: str
    uid: str
    spec: HANasSpec
    image: str
    """The image of the spec, or else that of the operator."""
    claim_size: str = ""
    """The size that the operator's claim requests; empty: that of the spec."""
    claim_source: str = ""
    """The VolumeSnapshot that the operator's claim is made from; empty: none."""
    operator_namespace: str = ""
    """The namespace of the operator's pods; empty: it runs outside the cluster."""
    rotation: str = ""
    """How far the secret of the components was rotated; empty before the first time."""
    created: str = ""
    """When the HANas was made."""
    folder_id: str = ""
    """The id of the folder, empty until it is known."""

    @property
    def members(self) -> list[str]:
        """The member ids of all workers."""
        return [names.member(ordinal) for ordinal in range(self.spec.workers)]

    @property
    def hibernates(self) -> bool:
        """Whether no pod shall run."""
        return self.spec.workers == 0

    @property
    def overseers(self) -> int:
        """The number of overseers."""
        return 0 if self.hibernates else self.spec.overseer.replicas

    @property
    def tls_secret(self) -> str:
        """Name of the Secret with the certificate of the pods; empty without TLS."""
        tls = self.spec.tls
        if not isinstance(tls, TlsSpec):
            return ""
        return tls.secret_name if isinstance(tls.secret_name, str) else names.of(self.name, names.CERTIFICATES)

    @property
    def scheme(self) -> str:
        """How the URLs of the pods begin."""
        return "https" if self.tls_secret else "http"

    @property
    def etcd_port(self) -> int | None:
        """Where workers speak etcd's API; None: nowhere."""
        etcd = self.spec.etcd
        return etcd.port if isinstance(etcd, EtcdSpec) and etcd.enabled else None

    def host_of(self, pod: str) -> str:
        """Return the name by which others in the cluster reach a worker's pod."""
        return f"{pod}.{names.of(self.name, names.HEADLESS)}.{self.namespace}.svc"

    @property
    def claim(self) -> str:
        """Name of the claim."""
        existing = self.spec.storage.existing_claim
        return existing if isinstance(existing, str) else names.of(self.name, names.CLAIM)


def reference(kind: ResourceKind, name: str, uid: str) -> Manifest:
    """Return the reference to the owner of an object, which is deleted with it."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, "name": name, "uid": uid, "controller": True}


def manifest(
    owner: Owner, kind: ResourceKind, name: str, *, component: str | None = None, owned: bool = True, **content: Any
) -> Manifest:
    """Return a manifest, with its hash as an annotation. ``owned``: the object is deleted with the HANas."""
    meta: Manifest = {"name": name, "namespace": owner.namespace, "labels": names.labels(owner.name, component)}
    if owned:
        meta["ownerReferences"] = [reference(kinds.HANAS, owner.name, owner.uid)]
    return stamped({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **content})


def stamped(manifest: Manifest, annotations: Mapping[str, str] | None = None) -> Manifest:
    """Return a manifest with these annotations, and with one for its hash."""
    meta = {field: value for field, value in manifest["metadata"].items() if field != "annotations"}
    if annotations:
        meta["annotations"] = dict(annotations)
    text = json.dumps({**manifest, "metadata": meta}, sort_keys=True, separators=(",", ":"))
    meta["annotations"] = {**(annotations or {}), names.APPLIED: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return {**manifest, "metadata": meta}
