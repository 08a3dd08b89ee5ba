"""Whether the volume is usable, from its claim, its class and the overseer: pure functions.

A volume that is missing, not shared or exchanged is reported as an error, and never becomes a new cluster.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from hanas_core.members.verdicts import Verdict
from hanas_operator import kinds
from hanas_operator.objects.owner import Owner
from hanas_operator.objects.storage import ACCESS_MODE
from hanas_operator.quantities import amount
from hanas_operator.status import AlertStatus, ConditionStatus
from hanas_operator.view import ClusterView

Claim = dict[str, Any]
REFUSED = "the communication folder cannot be used"
"""The beginning of the last log line of an overseer or worker that refuses its folder."""


class StorageFinding(Struct, frozen=True):
    """The state of the volume."""

    status: ConditionStatus
    reason: str
    message: str
    blocks: bool = False
    """Whether the operator makes no pods yet."""


def size(owner: Owner, claim: Claim | None) -> str:
    """Return the size to request: a request cannot shrink, but for a growth that has not happened yet."""
    wanted, requested, actual = owner.spec.storage.size, _requested(claim), _capacity(claim)
    if amount(wanted) >= amount(requested) or (actual and amount(wanted) > amount(actual)):
        return wanted
    return requested


def sure_size(claim: Claim | None) -> str:
    """Return a size that the volume surely has; empty if the claim is not bound."""
    return min(_requested(claim), _capacity(claim), key=amount)


def snapshot(claim: Claim) -> str:
    """Return the name of the VolumeSnapshot that a claim was made from; empty if it was made from none."""
    source = claim["spec"].get("dataSource") or {}
    return str(source["name"]) if source.get("kind") == kinds.SNAPSHOT.kind else ""


def _requested(claim: Claim | None) -> str:
    return str((claim or {}).get("spec", {}).get("resources", {}).get("requests", {}).get("storage", ""))


def _capacity(claim: Claim | None) -> str:
    return str((claim or {}).get("status", {}).get("capacity", {}).get("storage", ""))


def of_claim(owner: Owner, claim: Claim | None, *, unknown_class: str | None, warning: str) -> StorageFinding:
    """Return the state of a claim. ``unknown_class``: the name of a missing class; ``warning``: the newest."""
    name = f"the PersistentVolumeClaim {owner.claim}"
    if claim is None:
        if not isinstance(owner.spec.storage.existing_claim, str):
            return StorageFinding("Unknown", "ClaimPending", f"{name} is being made")
        words = (
            f"there is no PersistentVolumeClaim {owner.claim} in the namespace {owner.namespace}: make it, with access "
            f"mode {ACCESS_MODE}; the workers are started then"
        )
        return StorageFinding("False", "ClaimMissing", words, blocks=True)
    spec, status = claim.get("spec", {}), claim.get("status", {})
    if "deletionTimestamp" in claim["metadata"]:
        words = f"{name} is being deleted; it stays only as long as pods use it. Save the data with 'hanas export' now"
        return StorageFinding("False", "ClaimTerminating", words)
    modes = status.get("accessModes") or spec.get("accessModes") or []
    if ACCESS_MODE not in modes:
        words = f"{name} has the access mode {', '.join(modes) or 'none'}; workers on several nodes need {ACCESS_MODE}"
        return StorageFinding("False", "ClaimNotShared", words, blocks=True)
    phase = status.get("phase", "Pending")
    if phase == "Bound":
        return StorageFinding("True", "Bound", f"{name} is bound to {spec.get('volumeName', '?')}")
    if phase == "Lost":
        return StorageFinding("False", "ClaimLost", f"the volume behind {name} is gone: restore it from a backup")
    return _pending(name, "storageClassName" in spec, unknown_class, warning)


def _pending(name: str, has_class: bool, unknown_class: str | None, warning: str) -> StorageFinding:
    if unknown_class is not None:
        words = (
            f"there is no StorageClass {unknown_class}: 'kubectl get storageclass' lists the existing ones; make "
            "this one, or a new HANas with another one"
        )
        return StorageFinding("False", "ClassUnknown", words)
    if warning:
        return StorageFinding("False", "ProvisioningFailed", f"{name} is pending: {warning}")
    hint = "" if has_class else "; there is no default StorageClass: name one that can do ReadWriteMany"
    return StorageFinding("Unknown", "ClaimPending", f"{name} waits for its volume{hint}")


def of_folder(
    volume: StorageFinding,
    folder_id: str,
    view: ClusterView | None,
    alerts: Iterable[AlertStatus],
    pod_troubles: Iterable[str],
) -> StorageFinding:
    """Return ``volume``, or the problem of the folder on a usable volume."""
    if volume.status != "True":
        return volume
    if folder_id and view is not None and view.folder_id and view.folder_id != folder_id:
        words = (
            f"the volume holds the folder {view.folder_id}, but this cluster's is {folder_id}: mount the right volume; "
            "nothing is written to this one"
        )
        return StorageFinding("False", "ForeignFolder", words)
    refused = next((trouble for trouble in pod_troubles if REFUSED in trouble), None)
    if refused is not None:
        return StorageFinding("False", "FolderRefused", refused)
    by_kind = {alert.kind: alert for alert in alerts}
    for kind in (Verdict.FOLDER_UNAVAILABLE, Verdict.FOLDER_FULL):
        if kind in by_kind:
            return StorageFinding("False", kind.value, f"{by_kind[kind].message}; {by_kind[kind].advice}")
    return volume
