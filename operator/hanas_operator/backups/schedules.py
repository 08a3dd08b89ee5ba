"""One reconcile of a HANasScheduledBackup: it makes a HANasBackup when one is due, and deletes old ones.

A backup is called after the time that it was due at, so it is made once, whoever makes it. None is made while the one
before has not ended; of those that were missed, only the latest is made.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import UNSET, structs

from hanas_operator import durations, kinds, names
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.backups import records
from hanas_operator.backups.making import LOOK_SECONDS
from hanas_operator.backups.types import ENDS, BackupStatus, Method, Phase, ScheduleSpec, ScheduleStatus
from hanas_operator.crd import API_VERSION, BACKUP
from hanas_operator.plain import plain

_LONGEST_SECONDS = 300.0
"""The clock may be changed: look again after this time, whenever the next backup is due."""


async def reconcile(api: Api, schedule: Resource) -> float | None:
    """Make and delete what is due. Return the seconds until the next time; None: when it changes. Raises ApiError."""
    before, now = statuses.read(schedule, ScheduleStatus), datetime.now(UTC)
    try:
        spec = msgspec.convert(schedule["spec"], ScheduleSpec)
        zone = ZoneInfo(spec.time_zone)
        CronSim(spec.schedule, now)
    except msgspec.ValidationError as error:
        return await _refuse(api, schedule, before, f"the spec cannot be used: {error}")
    except (ZoneInfoNotFoundError, ValueError):
        return await _refuse(api, schedule, before, "timeZone is none: give one such as Europe/Berlin")
    except CronSimError as error:
        words = f"schedule is none ({error}): give minute, hour, day, month and weekday, such as '0 3 * * *'"
        return await _refuse(api, schedule, before, words)
    made = await _made(api, schedule)
    last = _last(schedule, before)
    due = _latest(spec.schedule, zone, now)
    message = ""
    running = next((one for one in made if _state(one).phase not in ENDS), None)
    if not spec.suspend and due is not None and due > last:
        if running is None:
            made = [await _make(api, schedule, spec, due), *made]
            last = due
        else:
            message = f"a backup is due and waits for the one before, {running['metadata']['name']}"
    if running is None:
        await _prune(api, made, spec.keep)
    following = _following(spec.schedule, zone, now)
    next_at = UNSET if spec.suspend or following is None else durations.written(following)
    if following is None:
        message = "the schedule never comes again: give another one"
    states = [_state(one) for one in made]
    latest = states[0] if states else None
    completed = [state for state in states if state.phase is Phase.COMPLETED]
    after = structs.replace(
        before,
        message=message,
        last_backup=made[0]["metadata"]["name"] if made else before.last_backup,
        last_phase=before.last_phase if latest is None else latest.phase.value,
        last_scheduled_at=durations.written(last) if made or before.last_scheduled_at is not UNSET else UNSET,
        last_completed_at=completed[0].finished_at if completed else before.last_completed_at,
        next_at=next_at,
    )
    await records.write(api, kinds.SCHEDULED_BACKUP, schedule, after)
    if latest is not None and latest.phase not in ENDS:
        return LOOK_SECONDS
    if spec.suspend or following is None:
        return None
    return min(_LONGEST_SECONDS, max(0.1, (following - datetime.now(UTC)).total_seconds()))


async def _refuse(api: Api, schedule: Resource, before: ScheduleStatus, words: str) -> float | None:
    after = structs.replace(before, message=words, next_at=UNSET)
    await records.write(api, kinds.SCHEDULED_BACKUP, schedule, after)
    return None


def _last(schedule: Resource, before: ScheduleStatus) -> datetime:
    """Return the time that is done: of the latest backup, or when the schedule was made."""
    done = before.last_scheduled_at
    return datetime.fromisoformat(done if isinstance(done, str) else schedule["metadata"]["creationTimestamp"])


def _latest(schedule: str, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return the latest time that is over."""
    until = now.astimezone(zone) + timedelta(minutes=1)  # the iterator leaves out where it begins
    past = CronSim(schedule, until.replace(second=0, microsecond=0), reverse=True)
    return next((time.astimezone(UTC) for time in past if time <= now), None)


def _following(schedule: str, zone: ZoneInfo, now: datetime) -> datetime | None:
    return next((time.astimezone(UTC) for time in CronSim(schedule, now.astimezone(zone))), None)


async def _made(api: Api, schedule: Resource) -> list[Resource]:
    """Return the backups of a schedule, the latest first."""
    namespace, name = names.metadata(schedule)
    found = await api.list(kinds.BACKUP, namespace, names.selected({names.SCHEDULE: name}))
    return sorted(found, key=lambda one: str(one["metadata"]["name"]), reverse=True)


async def _make(api: Api, schedule: Resource, spec: ScheduleSpec, due: datetime) -> Resource:
    namespace, name = names.metadata(schedule)
    # A VolumeSnapshot goes with its HANasBackup; an archive stays, and the next Job of its series removes it.
    series = {"series": name, "keep": spec.keep} if spec.backup.method is Method.ARCHIVE else {}
    backup = {
        "apiVersion": API_VERSION,
        "kind": BACKUP,
        "metadata": {
            "name": f"{name}-{due:%Y%m%d%H%M}",
            "namespace": namespace,
            "labels": {names.SCHEDULE: name},
        },
        "spec": plain(spec.backup) | series,
    }
    try:
        return await api.create(kinds.BACKUP, backup)
    except ApiError as error:
        if error.status != 409:
            raise
        return backup


async def _prune(api: Api, made: Sequence[Resource], keep: int) -> None:
    """Delete all that are older than the latest ``keep`` that were completed. The Job of each deletes archives."""
    kept = 0
    for backup in made:
        if kept >= keep:
            meta = backup["metadata"]
            await api.delete(kinds.BACKUP, meta["namespace"], meta["name"], meta["uid"])
        kept += _state(backup).phase is Phase.COMPLETED


def _state(backup: Resource) -> BackupStatus:
    return statuses.read(backup, BackupStatus)
