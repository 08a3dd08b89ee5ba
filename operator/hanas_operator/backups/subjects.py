"""The HANas that is backed up, as it runs now."""

import msgspec

from hanas_operator import kinds
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api
from hanas_operator.objects.owner import Owner
from hanas_operator.status import HANasStatus


async def read(api: Api, namespace: str, name: str) -> Owner | str:
    """Return the HANas of this name, or what to wait for. Raises ApiError."""
    hanas = await api.get(kinds.HANAS, namespace, name)
    if hanas is None:
        return f"waits: there is no HANas {name} in this namespace"
    try:
        spec = specs.read(hanas.get("spec") or {})
    except msgspec.ValidationError as error:
        return f"waits: the spec of the HANas {name} cannot be used: {error}"
    status = statuses.read(hanas, HANasStatus)
    return Owner(
        name=name,
        namespace=namespace,
        uid=hanas["metadata"]["uid"],
        spec=spec,
        image=status.image,
        folder_id=status.folder_id,
    )


def not_started(owner: Owner) -> str:
    """Return what to wait for, if the HANas has no folder yet; else an empty text."""
    return "" if owner.image and owner.folder_id else f"waits: the HANas {owner.name} has not started yet"
