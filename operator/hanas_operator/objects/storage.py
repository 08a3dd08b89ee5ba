"""The volume: a claim that all nodes may write to, and the id of its folder."""

from hanas_operator import names
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.spec import Reclaim

ACCESS_MODE = "ReadWriteMany"


def claim(owner: Owner) -> Manifest | None:
    """Return the PersistentVolumeClaim, None if the HANas names an existing one."""
    storage = owner.spec.storage
    if isinstance(storage.existing_claim, str):
        return None
    body: Manifest = {"accessModes": [ACCESS_MODE], "resources": {"requests": {"storage": storage.size}}}
    if isinstance(storage.storage_class_name, str):
        body["storageClassName"] = storage.storage_class_name
    return manifest(
        owner,
        "v1",
        "PersistentVolumeClaim",
        names.claim(owner.name),
        {"spec": body},
        owned=owner.spec.reclaim is Reclaim.DELETE,
    )


def folder(owner: Owner) -> Manifest | None:
    """Return the ConfigMap with the folder's id, None until it is known.

    Pods refer to it as optional: the first ones start without it, and its creation restarts none of them.
    """
    if not owner.folder_id:
        return None
    return manifest(owner, "v1", "ConfigMap", names.folder(owner.name), {"data": {"folderId": owner.folder_id}})
