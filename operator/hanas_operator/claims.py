"""The claim of a HANas as the API server has it: its state, and whether another HANas uses the same folder."""

from typing import Any

from hanas_operator import kinds, names, storage
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.children import Children
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.status import Reason
from hanas_operator.storage import StorageFinding


async def look(api: Api, owner: Owner, existing: Children) -> StorageFinding:
    """Return the state of the claim. Raises ApiError."""
    claim = existing.get(kinds.CLAIM, owner.claim)
    if isinstance(owner.spec.storage.existing_claim, str):
        claim = await api.get(kinds.CLAIM, owner.namespace, owner.claim)
    unknown, warning = None, ""
    if claim is not None and claim.get("status", {}).get("phase", "Pending") == "Pending":
        unknown = await _unknown_class(api, claim.get("spec", {}).get("storageClassName"))
        warning = await _warning(api, claim)
    return storage.of_claim(owner, claim, unknown_class=unknown, warning=warning)


async def _unknown_class(api: Api, name: str | None) -> str | None:
    """Return ``name`` if no such class exists; None also if it cannot be looked for."""
    if not name:
        return None
    try:
        return name if await api.get(kinds.STORAGE_CLASS, None, name) is None else None
    except ApiError:
        return None


async def _warning(api: Api, claim: Resource) -> str:
    """Return the newest warning about a claim; empty if there is none, or if it cannot be read."""
    selector = f"involvedObject.uid={claim['metadata']['uid']},type=Warning"
    try:
        events = await api.list(kinds.CORE_EVENT, claim["metadata"]["namespace"], fields=selector)
    except ApiError:
        return ""
    newest = max(events, key=_event_time, default={})
    return str(newest.get("message", "")).strip()


def _event_time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", ""))


async def rivals(api: Api, owner: Owner) -> list[Obstacle]:
    """Return an obstacle if an older HANas uses the same folder: the older one keeps it. Raises ApiError."""
    others = await api.list(kinds.HANAS, owner.namespace, cached=True)
    for other in others:
        meta, folder = other["metadata"], _folder(other)
        if (_age(other), meta["uid"]) >= (owner.created, owner.uid) or not _overlap(folder, _own_folder(owner)):
            continue
        words = (
            f"the HANas {meta['name']} is older and uses {_words(folder)} too: two clusters cannot share a folder; "
            "make this HANas anew with another storage.existingClaim or storage.subPath"
        )
        return [Obstacle(Reason.CLAIM_IN_USE, words)]
    return []


def _age(hanas: Resource) -> str:
    return str(hanas["metadata"].get("creationTimestamp", ""))


def _own_folder(owner: Owner) -> tuple[str, str]:
    path = owner.spec.storage.sub_path
    return owner.claim, path if isinstance(path, str) else ""


def _folder(hanas: Resource) -> tuple[str, str]:
    """Return the claim and the folder in it. Not read as types: an unreadable spec has a folder too."""
    given = (hanas.get("spec") or {}).get("storage") or {}
    claim = given.get("existingClaim") or names.of(hanas["metadata"]["name"], names.CLAIM)
    return str(claim), str(given.get("subPath") or "")


def _overlap(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two folders are the same, or one is in the other one."""
    if one[0] != other[0]:
        return False
    short, long = sorted(([part for part in path.split("/") if part] for _, path in (one, other)), key=len)
    return long[: len(short)] == short


def _words(folder: tuple[str, str]) -> str:
    claim, path = folder
    return f"the folder {path} of the claim {claim}" if path else f"the claim {claim}"
