"""The HANas that objects are made for, and the part that all of them have in common."""

import hashlib
import json
from typing import Any

from msgspec import Struct

from hanas_operator import names
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.spec import HANasSpec

Manifest = dict[str, Any]


class Owner(Struct, frozen=True, kw_only=True):
    """One HANas, as far as its objects depend on it."""

    name: str
    namespace: str
    uid: str
    spec: HANasSpec
    image: str
    """The image, from the spec or else the operator's own choice."""
    folder_id: str = ""
    """The id of the folder, empty as long as it is not known."""

    @property
    def members(self) -> list[str]:
        """The member ids of all workers."""
        return [names.member(ordinal) for ordinal in range(self.spec.workers)]

    @property
    def claim(self) -> str:
        """Name of the claim that is used."""
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
    """Return an object. ``owned``: it goes when the HANas goes."""
    meta: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": names.labels(owner.name, component),
    }
    if owned:
        meta["ownerReferences"] = [reference(owner)]
    return sealed({"apiVersion": api_version, "kind": kind, "metadata": meta, **body})


def reference(owner: Owner) -> Manifest:
    """Return the reference that makes an object go with its HANas."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid, "controller": True}


def sealed(made: Manifest) -> Manifest:
    """Return the object with the hash of itself as an annotation."""
    text = json.dumps(made, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {**made, "metadata": {**made["metadata"], "annotations": {names.APPLIED: digest}}}
