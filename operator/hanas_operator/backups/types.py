"""``spec`` and ``status`` of HANasBackup and HANasScheduledBackup as types; `hanas_operator.crd` makes the schemas."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from hanas_operator import rules
from hanas_operator.places import Target
from hanas_operator.spec import Duration, SpecType, checked
from hanas_operator.status import TIME, StatusType
from hanas_operator.texts import Name

DEFAULT_KEEP = 7
Series = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Phase(StrEnum):
    """How far a backup is."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"


class Method(StrEnum):
    """How a backup is made."""

    ARCHIVE = "Archive"
    VOLUME_SNAPSHOT = "VolumeSnapshot"


ENDS = frozenset({Phase.COMPLETED, Phase.FAILED})
"""A backup in one of these phases stays as it is."""


class BackupContent(SpecType, frozen=True, kw_only=True):
    """What is backed up, and where to."""

    hanas: Annotated[Name, Meta(description="Name of the HANas, in the same namespace.")]
    target: Annotated[
        Target | UnsetType, checked("Where the archive goes; default: backupTarget of the HANas.", *rules.TARGET)
    ] = UNSET
    method: Annotated[
        Method,
        Meta(description="'Archive': a file with all keys; 'VolumeSnapshot': the storage driver's, of the volume."),
    ] = Method.ARCHIVE
    volume_snapshot_class_name: Annotated[
        Name | UnsetType, Meta(description="Name of the VolumeSnapshotClass; default: the default one of the driver.")
    ] = UNSET
    timeout: Annotated[Duration, checked("A backup that takes longer has failed.", *rules.DURATION)] = "6h"


class BackupSpec(BackupContent, frozen=True, kw_only=True):
    """One backup of a HANas."""

    series: Annotated[
        Series | UnsetType,
        Meta(description="What its file's name has in common with others, before the date; default: the own name."),
    ] = UNSET
    keep: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | UnsetType,
        Meta(description="How many archives of the series are kept, this one included; default: all."),
    ] = UNSET


class BackupStatus(StatusType, frozen=True, kw_only=True):
    """What became of a backup."""

    phase: Annotated[Phase, Meta(description="Pending, Running, Completed or Failed.")] = Phase.PENDING
    message: Annotated[str, Meta(description="What it waits for, or why it failed and what to do.")] = ""
    file: Annotated[str, Meta(description="Name of the archive.")] = ""
    target: Annotated[Target | UnsetType, Meta(description="Where the archive lies.")] = UNSET
    snapshot: Annotated[str, Meta(description="Name of the VolumeSnapshot.")] = ""
    sub_path: Annotated[str, Meta(description="The folder of the HANas in the volume of the VolumeSnapshot.")] = ""
    size: Annotated[int, Meta(description="Size of the archive, or of a volume for the VolumeSnapshot, bytes.")] = 0
    keys: Annotated[int, Meta(description="Number of keys.")] = 0
    revision: Annotated[int, Meta(description="The last write that it holds.")] = 0
    checksum: Annotated[str, Meta(description="xxh3-128 of the archive without its last line.")] = ""
    folder_id: Annotated[str, Meta(description="Id of the folder that was backed up.")] = ""
    started_at: Annotated[str | UnsetType, Meta(description="When it began.", extra_json_schema=TIME)] = UNSET
    finished_at: Annotated[str | UnsetType, Meta(description="When it ended.", extra_json_schema=TIME)] = UNSET


class ScheduleSpec(SpecType, frozen=True, kw_only=True):
    """Backups of a HANas, again and again."""

    schedule: Annotated[
        str, Meta(min_length=1, max_length=100, description="When, as in cron: minute hour day month weekday.")
    ]
    time_zone: Annotated[str, Meta(max_length=64, description="Time zone of the schedule, such as Europe/Berlin.")] = (
        "UTC"
    )
    suspend: Annotated[bool, Meta(description="Whether to make no more backups.")] = False
    keep: Annotated[int, Meta(ge=1, le=1000, description="How many backups are kept: older ones are deleted.")] = (
        DEFAULT_KEEP
    )
    backup: Annotated[BackupContent, checked("What is backed up, and where to.", *rules.METHOD)]


class ScheduleStatus(StatusType, frozen=True, kw_only=True):
    """What became of a schedule."""

    message: Annotated[str, Meta(description="What keeps it from making backups, and what to do.")] = ""
    last_backup: Annotated[str, Meta(description="Name of the latest HANasBackup.")] = ""
    last_phase: Annotated[str, Meta(description="Phase of the latest HANasBackup.")] = ""
    last_scheduled_at: Annotated[
        str | UnsetType, Meta(description="The last time of the schedule.", extra_json_schema=TIME)
    ] = UNSET
    last_completed_at: Annotated[
        str | UnsetType, Meta(description="When the latest complete backup ended.", extra_json_schema=TIME)
    ] = UNSET
    next_at: Annotated[str | UnsetType, Meta(description="The next time of the schedule.", extra_json_schema=TIME)] = (
        UNSET
    )
