"""Backups by the method VolumeSnapshot: the storage driver makes a snapshot of the whole volume.

A volume at one moment is what a crash of all workers and of the file server leaves behind: every acknowledged write was
synced before. The VolumeSnapshot belongs to its HANasBackup, and is deleted with it.
"""

from datetime import datetime

from msgspec import UNSET, structs

from hanas_operator import durations, kinds, names, quantities
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.backups import records, subjects
from hanas_operator.backups.types import BackupSpec, BackupStatus, Phase
from hanas_operator.objects.owner import Manifest, Owner, reference

_NO_KIND = (
    "this cluster has no VolumeSnapshots (no CustomResourceDefinition volumesnapshots.snapshot.storage.k8s.io): "
    "install them with a storage driver that makes snapshots, or make a HANasBackup with the method Archive"
)


async def advance(api: Api, backup: Resource, spec: BackupSpec, before: BackupStatus, now: str) -> BackupStatus:
    """Take a backup as far as it goes now; return its status. Raises ApiError."""
    namespace, name = names.metadata(backup)
    snapshot = await api.get(kinds.SNAPSHOT, namespace, name)
    if snapshot is not None:
        if backup["metadata"]["uid"] not in {one["uid"] for one in snapshot["metadata"].get("ownerReferences", [])}:
            words = f"a VolumeSnapshot {name} is there already: make another HANasBackup, with another name"
            return records.failed(before, words, now)
        return _followed(snapshot, spec, before, now)
    if before.phase is Phase.RUNNING:
        return records.failed(before, "its VolumeSnapshot is gone: somebody deleted it; make another HANasBackup", now)
    owner = await subjects.read(api, namespace, spec.hanas)
    words = owner if isinstance(owner, str) else subjects.not_started(owner)
    if isinstance(owner, str) or words:
        return structs.replace(before, message=words)
    path = owner.spec.storage.sub_path
    # Before the VolumeSnapshot: whoever finds it knows what is in it.
    planned = BackupStatus(snapshot=name, sub_path=path if isinstance(path, str) else "", folder_id=owner.folder_id)
    await records.write(api, kinds.BACKUP, backup, planned)
    try:
        await api.create(kinds.SNAPSHOT, _manifest(owner, backup, spec))
    except ApiError as error:
        if error.status != 404:
            raise
        return records.failed(before, _NO_KIND, now)
    return structs.replace(planned, phase=Phase.RUNNING, started_at=now)


def _manifest(owner: Owner, backup: Resource, spec: BackupSpec) -> Manifest:
    namespace, name = names.metadata(backup)
    content: Manifest = {"source": {"persistentVolumeClaimName": owner.claim}}
    if isinstance(spec.volume_snapshot_class_name, str):
        content["volumeSnapshotClassName"] = spec.volume_snapshot_class_name
    return {
        "apiVersion": kinds.SNAPSHOT.api_version,
        "kind": kinds.SNAPSHOT.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.APPLICATION: "hanas", names.MANAGED_BY: names.MANAGER},
            "ownerReferences": [reference(kinds.BACKUP, name, backup["metadata"]["uid"])],
        },
        "spec": content,
    }


def _followed(snapshot: Resource, spec: BackupSpec, before: BackupStatus, now: str) -> BackupStatus:
    """Return the status that follows from that of the VolumeSnapshot."""
    if before.started_at is UNSET:
        before = structs.replace(before, started_at=snapshot["metadata"]["creationTimestamp"])
    status = snapshot.get("status") or {}
    if status.get("readyToUse"):
        size = max(0, int(quantities.amount(status.get("restoreSize"))))
        return structs.replace(before, phase=Phase.COMPLETED, message="", size=size, finished_at=now)
    error = (status.get("error") or {}).get("message")
    words = error or ("the storage driver makes it" if status else "no snapshot controller has looked at it yet")
    began = datetime.fromisoformat(str(before.started_at))
    if datetime.fromisoformat(now) >= durations.after(began, spec.timeout):
        return records.failed(before, f"it took longer than its timeout: {words}; then make another HANasBackup", now)
    return structs.replace(before, phase=Phase.RUNNING, message=words)
