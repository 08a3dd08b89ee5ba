"""A new HANas is restored from an archive before its first worker starts.

A Job fills the folder, which must be empty. The folder's id comes from the uid of the HANas, so the Job may be
repeated: what it did for this HANas it recognises, and anything else it leaves as it is.
"""

import hashlib

from hanas_operator import kinds, names
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError
from hanas_operator.backups import jobs
from hanas_operator.backups.types import BackupStatus, Phase
from hanas_operator.objects.owner import Owner, reference
from hanas_operator.obstacles import Obstacle
from hanas_operator.places import BackupSource, Bootstrap, Target
from hanas_operator.status import Reason

_RESTORE = "restore"


def folder_id(uid: str) -> str:
    """Return the id that the folder of the HANas with this uid gets."""
    return hashlib.sha256(f"restored for {uid}".encode()).hexdigest()[:32]


async def restore(api: Api, owner: Owner) -> list[Obstacle]:
    """Restore the folder of a HANas that has no workers yet; return what must be waited for. Raises ApiError."""
    if not isinstance(owner.spec.bootstrap, Bootstrap) or owner.folder_id:
        return []
    source = await _source(api, owner, owner.spec.bootstrap.from_backup)
    name = names.of(owner.name, _RESTORE)
    job = await api.get(kinds.JOB, owner.namespace, name)
    if job is None:
        if isinstance(source, Obstacle):
            return [source]
        own = reference(kinds.HANAS, owner.name, owner.uid)
        manifest = jobs.restore(owner, name, own, *source, folder_id(owner.uid))
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


async def _source(api: Api, owner: Owner, source: BackupSource) -> tuple[Target, str] | Obstacle:
    """Return where the archive lies, and its name."""
    if isinstance(source.target, Target) and isinstance(source.file, str):
        return source.target, source.file
    backup = await api.get(kinds.BACKUP, owner.namespace, str(source.backup))
    if backup is None:
        words = f"waits: there is no HANasBackup {source.backup} in this namespace"
        return Obstacle(Reason.RESTORING, f"{words}; give target and file, if there is the archive alone")
    status = statuses.read(backup, BackupStatus)
    if status.phase is Phase.FAILED:
        words = f"the HANasBackup {source.backup} has failed: make this HANas anew with another one"
        return Obstacle(Reason.RESTORE_FAILED, words)
    if status.phase is not Phase.COMPLETED or not isinstance(status.target, Target):
        return Obstacle(Reason.RESTORING, f"waits for the HANasBackup {source.backup}")
    return status.target, status.file
