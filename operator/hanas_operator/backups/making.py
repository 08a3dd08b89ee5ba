"""One reconcile of a HANasBackup: it is made by its method, and the status tells what became of it.

A backup is made once. Its end is in its status, and nothing is done any more then. There is no finalizer.
"""

from datetime import UTC, datetime

import msgspec

from hanas_operator import durations, kinds
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.backups import archives, records, snapshots
from hanas_operator.backups.types import ENDS, BackupSpec, BackupStatus, Method

LOOK_SECONDS = 2.0
"""The time between two looks at a backup that has not ended."""
_ADVANCE = {Method.ARCHIVE: archives.advance, Method.VOLUME_SNAPSHOT: snapshots.advance}


async def reconcile(api: Api, backup: Resource) -> float | None:
    """Take a backup as far as it goes now. Return the seconds until the next time, None at its end. Raises ApiError."""
    before = statuses.read(backup, BackupStatus)
    if before.phase in ENDS:
        return None
    now = durations.written(datetime.now(UTC))
    try:
        spec = msgspec.convert(backup["spec"], BackupSpec)
        after = await _ADVANCE[spec.method](api, backup, spec, before, now)
    except msgspec.ValidationError as error:
        after = records.failed(before, f"the spec cannot be used: {error}", now)
    except ApiError as error:
        if not error.lasting:
            raise
        after = records.failed(before, f"the API server refused it: {error}", now)
    await records.write(api, kinds.BACKUP, backup, after)
    return None if after.phase in ENDS else LOOK_SECONDS
