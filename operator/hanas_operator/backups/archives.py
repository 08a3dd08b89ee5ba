"""Backups by the method Archive: a Job makes a file with all keys."""

from datetime import UTC, datetime

from msgspec import UNSET, structs

from hanas_operator import kinds, names
from hanas_operator.api import Api, Resource
from hanas_operator.backups import jobs, records, subjects
from hanas_operator.backups.types import BackupSpec, BackupStatus, Phase
from hanas_operator.objects.owner import reference
from hanas_operator.places import Target


async def advance(api: Api, backup: Resource, spec: BackupSpec, before: BackupStatus, now: str) -> BackupStatus:
    """Take a backup as far as it goes now; return its status. Raises ApiError."""
    namespace, name = names.metadata(backup)
    job_name = f"{name}-backup"
    job = await api.get(kinds.JOB, namespace, job_name)
    if job is not None:
        return await _running(api, job, before, now)
    if before.phase is Phase.RUNNING:
        return records.failed(before, "its Job is gone: somebody deleted it; make another HANasBackup", now)
    owner = await subjects.read(api, namespace, spec.hanas)
    if isinstance(owner, str):
        return structs.replace(before, message=owner)
    target = spec.target if isinstance(spec.target, Target) else owner.spec.backup_target
    if not isinstance(target, Target):
        words = f"waits: it names no target, and neither does the HANas {spec.hanas}: set its backupTarget"
        return structs.replace(before, message=words)
    if words := subjects.not_started(owner):
        return structs.replace(before, message=words)
    series = spec.series if isinstance(spec.series, str) else name
    made = datetime.fromisoformat(backup["metadata"]["creationTimestamp"]).astimezone(UTC)
    file = f"{spec.hanas}.{series}-{made:%Y%m%d%H%M%S}.hanas"
    keep = spec.keep if isinstance(spec.keep, int) else 0
    own = reference(kinds.BACKUP, name, backup["metadata"]["uid"])
    manifest = jobs.backup(owner, job_name, own, target, file, keep, spec.timeout)
    # Before the Job: whoever finds it knows what it makes.
    planned = BackupStatus(file=file, target=target)
    await records.write(api, kinds.BACKUP, backup, planned)
    await api.create(kinds.JOB, manifest)
    return structs.replace(planned, phase=Phase.RUNNING, started_at=now)


async def _running(api: Api, job: Resource, before: BackupStatus, now: str) -> BackupStatus:
    if before.started_at is UNSET:
        before = structs.replace(before, started_at=job["metadata"]["creationTimestamp"])
    outcome = await jobs.outcome(api, job)
    if outcome is None:
        waits = await jobs.told(api, *names.metadata(job))
        return structs.replace(before, phase=Phase.RUNNING, message=waits)
    if not outcome.succeeded:
        return records.failed(before, f"{jobs.last_words(outcome.words)}; then make another HANasBackup", now)
    report = jobs.read_report(outcome.words)
    if report is None:
        words = "its Job ended well without a report, whose image is of another release"
        return records.failed(before, words, now)
    return structs.replace(
        before,
        phase=Phase.COMPLETED,
        message="",
        size=report.size,
        keys=report.keys,
        revision=report.revision,
        checksum=report.checksum,
        folder_id=report.folder_id,
        finished_at=now,
    )
