"""Where backups lie, and what a new HANas is restored from."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_operator import rules
from hanas_operator.texts import File, Name, SubPath


class _Type(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The msgspec settings of these types."""


class ClaimTarget(_Type, frozen=True, kw_only=True):
    """A volume of the namespace."""

    name: Annotated[Name, Meta(description="Name of the claim.")]
    sub_path: Annotated[SubPath | UnsetType, Meta(description="Folder in the volume; default: its root.")] = UNSET


class S3Target(_Type, frozen=True, kw_only=True):
    """A bucket that speaks S3."""

    bucket: Annotated[
        str, Meta(min_length=3, max_length=63, pattern=r"^[a-z0-9][-.a-z0-9]*[a-z0-9]$", description="Its name.")
    ]
    prefix: Annotated[
        SubPath | UnsetType, Meta(description="Folder in the bucket; below it, one for each namespace.")
    ] = UNSET
    endpoint: Annotated[
        Annotated[str, Meta(max_length=512, pattern=r"^https?://[^/?#]+$")] | UnsetType,
        Meta(description="URL of the service, such as http://minio.storage:9000; default: that of AWS."),
    ] = UNSET
    region: Annotated[str, Meta(min_length=1, max_length=63, description="Region of the bucket.")] = "us-east-1"
    credentials: Annotated[
        Name, Meta(description="Name of the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    ]


class Target(_Type, frozen=True, kw_only=True):
    """A place for archives."""

    claim: Annotated[ClaimTarget | UnsetType, Meta(description="A claim for a volume, in the same namespace.")] = UNSET
    s3: Annotated[S3Target | UnsetType, Meta(description="A bucket that speaks S3.")] = UNSET


class BackupSource(_Type, frozen=True, kw_only=True):
    """An archive."""

    backup: Annotated[Name | UnsetType, Meta(description="Name of a HANasBackup of this namespace.")] = UNSET
    target: Annotated[
        Target | UnsetType,
        Meta(
            description="Where the archive lies, if no HANasBackup tells.",
            extra_json_schema={"x-kubernetes-validations": rules.rendered(rules.TARGET)},
        ),
    ] = UNSET
    file: Annotated[File | UnsetType, Meta(description="Its name there.")] = UNSET
    volume_snapshot: Annotated[
        Name | UnsetType, Meta(description="Name of a VolumeSnapshot of a HANas' volume, in place of an archive.")
    ] = UNSET


class Bootstrap(_Type, frozen=True, kw_only=True):
    """What a new HANas begins with."""

    from_backup: Annotated[
        BackupSource,
        Meta(
            description="Restored before the first worker starts, into an empty folder; without effect later.",
            extra_json_schema={"x-kubernetes-validations": rules.rendered(rules.SOURCE)},
        ),
    ]
