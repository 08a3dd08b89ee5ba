"""A new HANas is restored from a backup before its first worker starts.

From an archive, a Job fills the folder, which must be empty. The folder's id comes from the uid of the HANas, so the
Job may be repeated: what it did for this HANas it recognises, and anything else it leaves as it is. From a
VolumeSnapshot, the claim is made of it, and a Job adopts the folder that is in there.
"""

import hashlib

from msgspec import Struct

from hanas_operator import kinds, names, storage
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.backups import jobs
from hanas_operator.backups.types import BackupStatus, Phase
from hanas_operator.objects.owner import Manifest, Owner, reference
from hanas_operator.obstacles import Obstacle
from hanas_operator.places import BackupSource, Bootstrap, Target
from hanas_operator.status import Reason

_RESTORE = "restore"


class Archive(Struct, frozen=True):
    """A file with all keys, and where it lies."""

    target: Target
    file: str


class Snapshot(Struct, frozen=True):
    """A VolumeSnapshot. ``sub_path``: the folder of the HANas in it; None: it is not known."""

    name: str
    sub_path: str | None


Source = Archive | Snapshot


def folder_id(uid: str) -> str:
    """Return the id that the folder of the HANas with this uid gets."""
    return hashlib.sha256(f"restored for {uid}".encode()).hexdigest()[:32]


async def source(api: Api, owner: Owner) -> Source | Obstacle | None:
    """Return what the folder of a HANas without one is restored from, or what it waits for; None: it begins empty.

    Raises ApiError.
    """
    if not isinstance(owner.spec.bootstrap, Bootstrap) or owner.folder_id:
        return None
    return await _source(api, owner, owner.spec.bootstrap.from_backup)


async def restore(api: Api, owner: Owner, source: Source | Obstacle | None) -> list[Obstacle]:
    """Restore the folder of a HANas that has no workers yet; return what must be waited for. Raises ApiError."""
    if source is None:
        return []
    name = names.of(owner.name, _RESTORE)
    job = await api.get(kinds.JOB, owner.namespace, name)
    if job is None:
        manifest = source if isinstance(source, Obstacle) else _job(owner, name, source)
        if isinstance(manifest, Obstacle):
            return [manifest]
        try:
            await api.create(kinds.JOB, manifest)
        except ApiError as error:
            if not error.lasting:
                raise
            return [Obstacle(Reason.RESTORE_FAILED, f"the Job {name} was refused: {error}")]
        return [Obstacle(Reason.RESTORING, f"the Job {name} fills the folder; the workers start when it has ended")]
    if owner.uid not in {one["uid"] for one in job["metadata"].get("ownerReferences", [])}:
        return [Obstacle(Reason.RESTORING, f"a Job {name} of another HANas is still there; that of this one waits")]
    outcome = await jobs.outcome(api, job)
    if outcome is None:
        words = await jobs.told(api, owner.namespace, name)
        more = f": {words}" if words else ""
        return [Obstacle(Reason.RESTORING, f"the Job {name} fills the folder{more}")]
    if outcome.succeeded:
        return []
    words = (
        f"the folder was not restored, and no worker starts: {jobs.last_words(outcome.words)}; then delete the Job "
        f"{name}, and it is tried again"
    )
    return [Obstacle(Reason.RESTORE_FAILED, words)]


def _job(owner: Owner, name: str, source: Source) -> Manifest | Obstacle:
    """Return the Job that restores the folder, or why there can be none."""
    own = reference(kinds.HANAS, owner.name, owner.uid)
    if isinstance(source, Archive):
        return jobs.restore(owner, name, own, source.target, source.file, folder_id(owner.uid))
    if owner.claim_source != source.name:
        words = (
            f"the claim {owner.claim} is not made from the VolumeSnapshot {source.name}: a HANas that is restored from "
            "one needs a claim that the operator makes; take storage.existingClaim away, or choose another name"
        )
        return Obstacle(Reason.RESTORE_FAILED, words)
    path = owner.spec.storage.sub_path
    if source.sub_path not in {None, path if isinstance(path, str) else ""}:
        words = f"make this HANas anew with storage.subPath {source.sub_path or 'unset'}: the data lies there"
        return Obstacle(Reason.RESTORE_FAILED, f"{words} in the VolumeSnapshot {source.name}")
    return jobs.adopt(owner, name, own)


async def _source(api: Api, owner: Owner, source: BackupSource) -> Source | Obstacle:
    if isinstance(source.target, Target) and isinstance(source.file, str):
        return Archive(source.target, source.file)
    if isinstance(source.volume_snapshot, str):
        return Snapshot(source.volume_snapshot, None)
    backup = await api.get(kinds.BACKUP, owner.namespace, str(source.backup))
    if backup is None:
        words = f"waits: there is no HANasBackup {source.backup} in this namespace"
        return Obstacle(Reason.RESTORING, f"{words}; give target and file, if there is the archive alone")
    status = statuses.read(backup, BackupStatus)
    if status.phase is Phase.FAILED:
        words = f"the HANasBackup {source.backup} has failed: make this HANas anew with another one"
        return Obstacle(Reason.RESTORE_FAILED, words)
    if status.phase is Phase.COMPLETED and status.snapshot:
        return Snapshot(status.snapshot, status.sub_path)
    if status.phase is Phase.COMPLETED and isinstance(status.target, Target):
        return Archive(status.target, status.file)
    return Obstacle(Reason.RESTORING, f"waits for the HANasBackup {source.backup}")


def claim_source(owner: Owner, claim: Resource | None, source: Source | Obstacle | None) -> str:
    """Return the VolumeSnapshot that the operator's claim was made from, or is to be made from; empty: none."""
    if isinstance(owner.spec.storage.existing_claim, str):
        return ""
    if claim is not None:
        return storage.snapshot(claim)
    return source.name if isinstance(source, Snapshot) else ""
