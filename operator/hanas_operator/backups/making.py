"""One reconcile of a HANasBackup: a Job makes the archive, and the status tells what became of it.

A backup is made once. Its end is in its status, and nothing is done any more then. Deleting it deletes its Job, and
leaves the archive: there is no finalizer.
"""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, structs

from hanas_operator import durations, kinds, names
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.backups import jobs
from hanas_operator.backups.types import ENDS, BackupSpec, BackupStatus, Phase
from hanas_operator.kinds import ResourceKind
from hanas_operator.objects.owner import Owner, reference
from hanas_operator.places import Target
from hanas_operator.plain import plain
from hanas_operator.status import HANasStatus

LOOK_SECONDS = 2.0
"""The time between two looks at a backup that has not ended."""


class _Subject(Struct, frozen=True):
    """What is backed up, and where to."""

    owner: Owner
    target: Target


async def reconcile(api: Api, backup: Resource) -> float | None:
    """Take a backup as far as it goes now. Return the seconds until the next time, None at its end. Raises ApiError."""
    before = statuses.read(backup, BackupStatus)
    if before.phase in ENDS:
        return None
    now = durations.written(datetime.now(UTC))
    try:
        after = await _next(api, backup, before, now)
    except ApiError as error:
        if not error.lasting:
            raise
        after = _failed(before, f"the API server refused it: {error}", now)
    await write_status(api, kinds.BACKUP, backup, after)
    return None if after.phase in ENDS else LOOK_SECONDS


async def _next(api: Api, backup: Resource, before: BackupStatus, now: str) -> BackupStatus:
    namespace, name = names.metadata(backup)
    try:
        spec = msgspec.convert(backup["spec"], BackupSpec)
    except msgspec.ValidationError as error:
        return _failed(before, f"the spec cannot be used: {error}", now)
    job_name = f"{name}-backup"
    job = await api.get(kinds.JOB, namespace, job_name)
    if job is not None:
        return await _running(api, job, before, now)
    if before.phase is Phase.RUNNING:
        return _failed(before, "its Job is gone: somebody deleted it; make another HANasBackup", now)
    subject = await _subject(api, namespace, spec)
    if isinstance(subject, str):
        return structs.replace(before, message=subject)
    series = spec.series if isinstance(spec.series, str) else name
    made = datetime.fromisoformat(backup["metadata"]["creationTimestamp"]).astimezone(UTC)
    file = f"{spec.hanas}.{series}-{made:%Y%m%d%H%M%S}.hanas"
    keep = spec.keep if isinstance(spec.keep, int) else 0
    manifest = jobs.backup(
        subject.owner,
        job_name,
        reference(kinds.BACKUP, name, backup["metadata"]["uid"]),
        subject.target,
        file,
        keep,
        spec.timeout,
    )
    # Before the Job: whoever finds it knows what it makes.
    planned = BackupStatus(file=file, target=subject.target)
    await write_status(api, kinds.BACKUP, backup, planned)
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
        return _failed(before, f"{jobs.last_words(outcome.words)}; then make another HANasBackup", now)
    report = jobs.read_report(outcome.words)
    if report is None:
        return _failed(before, "its Job ended well without a report, whose image is of another release", now)
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


async def _subject(api: Api, namespace: str, spec: BackupSpec) -> _Subject | str:
    """Return what to back up, or what to wait for."""
    hanas = await api.get(kinds.HANAS, namespace, spec.hanas)
    if hanas is None:
        return f"waits: there is no HANas {spec.hanas} in this namespace"
    try:
        wanted = specs.read(hanas.get("spec") or {})
    except msgspec.ValidationError as error:
        return f"waits: the spec of the HANas {spec.hanas} cannot be used: {error}"
    target = spec.target if isinstance(spec.target, Target) else wanted.backup_target
    if not isinstance(target, Target):
        return f"waits: it names no target, and neither does the HANas {spec.hanas}: set its backupTarget"
    status = statuses.read(hanas, HANasStatus)
    if not status.image or not status.folder_id:
        return f"waits: the HANas {spec.hanas} has not started yet"
    owner = Owner(
        name=spec.hanas,
        namespace=namespace,
        uid=hanas["metadata"]["uid"],
        spec=wanted,
        image=status.image,
        folder_id=status.folder_id,
    )
    return _Subject(owner, target)


def _failed(before: BackupStatus, words: str, now: str) -> BackupStatus:
    return structs.replace(before, phase=Phase.FAILED, message=words, finished_at=now)


async def write_status(api: Api, kind: ResourceKind, resource: Resource, status: Struct) -> None:
    """Write the status if it changed; do nothing if the object is gone. Raises ApiError."""
    content = plain(status)
    if content == resource.get("status"):
        return
    with suppress(Leaving):
        await api.apply_status(kind, resource, content)
