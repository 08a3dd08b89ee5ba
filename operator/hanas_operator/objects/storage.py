"""The volume: a claim that all nodes may write to, and the id of its folder."""

from hanas_operator import kinds, names
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.spec import Reclaim

ACCESS_MODE = "ReadWriteMany"


def volume(owner: Owner) -> list[Manifest]:
    """Return the claim, unless the HANas names an existing one, and a ConfigMap with the folder's id, once known.

    Pods refer to the ConfigMap as optional: the first ones start without it, and its creation restarts none of them.
    """
    storage = owner.spec.storage
    manifests: list[Manifest] = []
    if not isinstance(storage.existing_claim, str):
        spec: Manifest = {
            "accessModes": [ACCESS_MODE],
            "resources": {"requests": {"storage": owner.claim_size or storage.size}},
        }
        if isinstance(storage.storage_class_name, str):
            spec["storageClassName"] = storage.storage_class_name
        if owner.claim_source:
            group = kinds.SNAPSHOT.group
            spec["dataSource"] = {"apiGroup": group, "kind": kinds.SNAPSHOT.kind, "name": owner.claim_source}
        owned = owner.spec.reclaim is Reclaim.DELETE
        manifests.append(manifest(owner, kinds.CLAIM, owner.claim, owned=owned, spec=spec))
    if owner.folder_id:
        data = {"folderId": owner.folder_id}
        manifests.append(manifest(owner, kinds.CONFIG_MAP, names.of(owner.name, names.FOLDER), data=data))
    return manifests
