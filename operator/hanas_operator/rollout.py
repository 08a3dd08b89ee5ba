"""Whether pods follow a new operator: its image, and the pod templates that it makes.

A new operator changes no pods by itself. A HANas stays with the image in use, and its workloads with the template that
an earlier version made, until its spec changes or has ``updatePolicy: Automatic``. Those follow one after the other: a
release that does not work stops at the first one.
"""

import asyncio
import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from hanas_core import release
from hanas_operator import drift, kinds, names, progress, report
from hanas_operator.api import Api, Resource
from hanas_operator.children import Children
from hanas_operator.objects.owner import Manifest, Owner, stamped
from hanas_operator.queue import Key
from hanas_operator.spec import UpdatePolicy
from hanas_operator.status import ConditionType, HANasStatus

_OTHER_FIELDS = frozenset(
    {
        "workers",
        "storage",
        "linkFailures",
        "reclaim",
        "clients",
        "services",
        "updatePolicy",
        "bootstrap",
        "backupTarget",
    }
)
"""The fields of the spec that pod templates do not depend on; a claim never changes."""
_NO_INPUTS = frozenset({"uid", "created", "operator_namespace", "folder_id", "claim_size", "claim_source"})
"""The fields of the owner that pod templates do not depend on."""


class Choice(Struct, frozen=True):
    """What the pods of one HANas are made with."""

    image: str
    held: str = ""
    """The reason why they do not follow the operator; empty: they do, or there is nothing to follow."""


class Rollouts:
    """Chooses for each HANas. One at a time follows a new operator by itself."""

    def __init__(self, api: Api, image: str, namespaces: tuple[str, ...]) -> None:
        """``image``: the operator's choice for its pods; ``namespaces``: those that it works in, empty for all."""
        self._api = api
        self._image = image
        self._namespaces = namespaces
        self._turn: Key | None = None
        self._lock = asyncio.Lock()

    async def choose(self, owner: Owner, existing: Children, before: HANasStatus, *, paused: bool) -> Choice:
        """Return the image to use, and whether to keep the templates. Raises ApiError."""
        key = (owner.namespace, owner.name)
        present = [workload for workload in report.workloads(owner, existing) if workload is not None]
        automatic = owner.spec.update_policy is UpdatePolicy.AUTOMATIC and not paused
        if not automatic:
            self.end(key)
        named = owner.spec.image if isinstance(owner.spec.image, str) else ""
        in_use = before.image or (progress.image(present[0]) if present else "")
        if not in_use:
            return Choice(named or self._image)
        versions = {workload["metadata"].get("annotations", {}).get(names.RENDERED_BY) for workload in present}
        if (named or in_use == self._image or not self._image) and versions <= {release.installed()}:
            return Choice(named or in_use)
        # One that has begun goes on, also if the operator that began it could not write the status.
        begun = any(progress.image(workload) == self._image != in_use for workload in present)
        if automatic and (begun or await self._take_turn(key)):
            return Choice(named or self._image)
        return Choice(named or in_use, progress.AWAITS_TURN if automatic else progress.HELD)

    async def _take_turn(self, key: Key) -> bool:
        async with self._lock:
            if self._turn is not None:
                return self._turn == key
            for namespace in self._namespaces or (None,):
                for other in await self._api.list(kinds.HANAS, namespace):
                    if names.metadata(other) != key and _is_updating(other):
                        return False
            self._turn = key
            return True

    def end(self, key: Key) -> None:
        """Let the next one follow: this one is done, or follows no more."""
        if self._turn == key:
            self._turn = None


def _is_updating(hanas: Resource) -> bool:
    """Return whether a HANas that follows operators is being updated."""
    if (hanas.get("spec") or {}).get("updatePolicy") != UpdatePolicy.AUTOMATIC:
        return False
    conditions = hanas.get("status", {}).get("conditions", [])
    return any(one["type"] == ConditionType.UPDATED and one["reason"] == progress.UPDATING for one in conditions)


def dressed(owner: Owner, existing: Children, manifest: Manifest, *, held: bool) -> Manifest:
    """Return the manifest of a workload, annotated with what its template was made of and by which version.

    ``held``: with the template that is there, unless the spec has changed since it was made.
    """
    actual, inputs = existing.get(kinds.BY_NAME[manifest["kind"]], manifest["metadata"]["name"]), _inputs(owner)
    version = release.installed()
    if held and actual is not None:
        annotations = actual["metadata"].get("annotations", {})
        if annotations.get(names.INPUTS, inputs) == inputs and progress.image(actual) == owner.image:
            manifest = {**manifest, "spec": {**manifest["spec"], "template": actual["spec"]["template"]}}
            version = annotations.get(names.RENDERED_BY, "")
            result = stamped(manifest, {names.INPUTS: inputs, names.RENDERED_BY: version})
            return _unless_same(actual, result)
    return stamped(manifest, {names.INPUTS: inputs, names.RENDERED_BY: version})


def _unless_same(actual: Resource, manifest: Manifest) -> Manifest:
    """Return ``manifest``, with the hash that is there if nothing differs but that: then nothing is written."""
    meta = manifest["metadata"]
    there = actual["metadata"].get("annotations", {}).get(names.APPLIED, "")
    same = {**manifest, "metadata": {**meta, "annotations": {**meta["annotations"], names.APPLIED: there}}}
    return same if drift.contains(actual, same) else manifest


def _inputs(owner: Owner) -> str:
    """Return a hash of the fields that pod templates depend on."""
    inputs: dict[str, Any] = msgspec.to_builtins(owner)
    spec = {field: value for field, value in inputs["spec"].items() if field not in _OTHER_FIELDS}
    spec["overseer"] = {field: value for field, value in spec.get("overseer", {}).items() if field != "replicas"}
    # Without what is empty: a field that a later version adds changes nothing as long as nobody sets it.
    inputs = {field: value for field, value in inputs.items() if value and field not in _NO_INPUTS} | {"spec": spec}
    return hashlib.sha256(msgspec.json.encode(inputs, order="deterministic")).hexdigest()[:16]
