"""The HANas that owns the objects, and the common part of their manifests."""

import hashlib
import json
from typing import Any

from msgspec import Struct

from hanas_operator import names
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.spec import HANasSpec

Manifest = dict[str, Any]


class Owner(Struct, frozen=True, kw_only=True):
    """One HANas, reduced to the fields that its objects depend on."""

    name: str
    namespace: str
    uid: str
    spec: HANasSpec
    image: str
    """The image of the spec, or else that of the operator."""
    folder_id: str = ""
    """The id of the folder, empty until it is known."""

    @property
    def members(self) -> list[str]:
        """The member ids of all workers."""
        return [names.member(ordinal) for ordinal in range(self.spec.workers)]

    @property
    def claim(self) -> str:
        """Name of the claim."""
        existing = self.spec.storage.existing_claim
        return existing if isinstance(existing, str) else names.claim(self.name)


def manifest(
    owner: Owner,
    api_version: str,
    kind: str,
    name: str,
    body: Manifest,
    *,
    component: str | None = None,
    owned: bool = True,
) -> Manifest:
    """Return a manifest. ``owned``: the object is deleted with the HANas."""
    meta: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": names.labels(owner.name, component),
    }
    if owned:
        meta["ownerReferences"] = [reference(owner)]
    return sealed({"apiVersion": api_version, "kind": kind, "metadata": meta, **body})


def reference(owner: Owner) -> Manifest:
    """Return the reference by which an object is deleted with its HANas."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid, "controller": True}


def sealed(content: Manifest) -> Manifest:
    """Return the manifest with its hash as an annotation."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {**content, "metadata": {**content["metadata"], "annotations": {names.APPLIED: digest}}}
