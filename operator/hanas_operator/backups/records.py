"""The status of backups and schedules: written when it changed, and how a failure is told."""

from contextlib import suppress

from msgspec import Struct, structs

from hanas_operator.api import Api, Leaving, Resource
from hanas_operator.backups.types import BackupStatus, Phase
from hanas_operator.kinds import ResourceKind
from hanas_operator.plain import plain


def failed(before: BackupStatus, words: str, now: str) -> BackupStatus:
    """Return the status of a backup that has failed, at its end. ``words``: why, and what to do."""
    return structs.replace(before, phase=Phase.FAILED, message=words, finished_at=now)


async def write(api: Api, kind: ResourceKind, resource: Resource, status: Struct) -> None:
    """Write the status if it changed; do nothing if the object is gone. Raises ApiError."""
    content = plain(status)
    if content == resource.get("status"):
        return
    with suppress(Leaving):
        await api.apply_status(kind, resource, content)
