"""Whether the volume can be used: what the claim, its class and the overseer tell. Pure functions.

A volume that is missing, not shared or not the one that it was is an error to be told, never a new cluster.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from hanas_core.members.verdicts import Verdict
from hanas_operator.objects.owner import Owner
from hanas_operator.objects.storage import ACCESS_MODE
from hanas_operator.status import AlertStatus
from hanas_operator.view import ClusterView

Claim = dict[str, Any]
REFUSED = "the communication folder cannot be used"
"""How overseers and workers begin their last words when the folder is not the one that it should be."""


class Finding(Struct, frozen=True):
    """What is the matter with the volume."""

    status: str
    """``True``, ``False`` or ``Unknown``, as in a condition."""
    reason: str
    message: str
    blocks: bool = False
    """No pods are to be made for it."""


def of_claim(owner: Owner, claim: Claim | None, *, unknown_class: str | None, told: str) -> Finding:
    """Return what the claim tells. ``unknown_class``: its class, if there is none; ``told``: the newest warning."""
    name = owner.claim
    if claim is None:
        if isinstance(owner.spec.storage.existing_claim, str):
            return Finding(
                "False",
                "ClaimMissing",
                f"there is no PersistentVolumeClaim {name} in the namespace {owner.namespace}: make it, with access "
                f"mode {ACCESS_MODE}; the workers are started then",
                blocks=True,
            )
        return Finding("Unknown", "ClaimPending", f"the PersistentVolumeClaim {name} is being made")
    spec, status = claim.get("spec", {}), claim.get("status", {})
    if "deletionTimestamp" in claim["metadata"]:
        return Finding(
            "False",
            "ClaimTerminating",
            f"the PersistentVolumeClaim {name} is being deleted; it stays only as long as pods use it. Save the data "
            "with 'hanas export' now",
        )
    modes = status.get("accessModes") or spec.get("accessModes") or []
    if ACCESS_MODE not in modes:
        return Finding(
            "False",
            "ClaimNotShared",
            f"the PersistentVolumeClaim {name} has the access mode {', '.join(modes) or 'none'}; workers on several "
            f"nodes need {ACCESS_MODE}",
            blocks=True,
        )
    phase = status.get("phase", "Pending")
    if phase == "Bound":
        return Finding("True", "Bound", f"the PersistentVolumeClaim {name} is bound to {spec.get('volumeName', '?')}")
    if phase == "Lost":
        return Finding(
            "False",
            "ClaimLost",
            f"the volume behind the PersistentVolumeClaim {name} is gone: restore it from a backup",
        )
    return _pending(name, "storageClassName" in spec, unknown_class, told)


def _pending(name: str, has_class: bool, unknown_class: str | None, told: str) -> Finding:
    if unknown_class is not None:
        return Finding(
            "False",
            "ClassUnknown",
            f"there is no StorageClass {unknown_class}: 'kubectl get storageclass' lists those that there are; make "
            "this one, or the HANas anew with another one",
        )
    if told:
        return Finding("False", "ProvisioningFailed", f"the PersistentVolumeClaim {name} is pending: {told}")
    hint = "" if has_class else "; there is no default StorageClass: name one that can do ReadWriteMany"
    return Finding("Unknown", "ClaimPending", f"the PersistentVolumeClaim {name} waits for its volume{hint}")


def of_folder(
    found: Finding,
    folder_id: str,
    view: ClusterView | None,
    alerts: Iterable[AlertStatus],
    pod_troubles: Iterable[str],
) -> Finding:
    """Return ``found``, or what speaks against the folder on a volume that is there."""
    if found.status != "True":
        return found
    if folder_id and view is not None and view.folder_id and view.folder_id != folder_id:
        return Finding(
            "False",
            "ForeignFolder",
            f"the volume holds the folder {view.folder_id}, but this cluster's is {folder_id}: mount the right volume; "
            "nothing is written to this one",
        )
    refused = next((trouble for trouble in pod_troubles if REFUSED in trouble), None)
    if refused is not None:
        return Finding("False", "FolderRefused", refused)
    told = {alert.kind: alert for alert in alerts}
    for kind in (Verdict.FOLDER_UNAVAILABLE, Verdict.FOLDER_FULL):
        if kind in told:
            return Finding("False", kind.value, f"{told[kind].message}; {told[kind].advice}")
    return found
