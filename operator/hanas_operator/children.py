"""The objects of one HANas in the cluster: read, compare with the desired ones, apply, prune.

The operator changes only objects of this HANas. Labels and the uid of the owner identify them; labels alone identify
the claim, which may outlive its HANas.
"""

import asyncio
from collections.abc import Iterable

from hanas_operator import drift, kinds, names
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.conditions import Obstacle
from hanas_operator.kinds import ResourceKind
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.status import Reason

Objects = dict[tuple[str, str], Resource]
"""Objects by kind and name."""


class Children:
    """The existing objects of one HANas."""

    def __init__(self, api: Api, owner: Owner, objects: Objects, pods: list[Resource]) -> None:
        """``objects``, ``pods``: the result of `read`."""
        self._api = api
        self._owner = owner
        self._objects = objects
        self.pods = pods

    def get(self, kind: ResourceKind, name: str) -> Resource | None:
        """Return the object of this name if it belongs to the HANas, else None."""
        resource = self._objects.get((kind.kind, name))
        return resource if resource is not None and self._is_own(kind, resource) else None

    def _is_own(self, kind: ResourceKind, resource: Resource) -> bool:
        references = resource["metadata"].get("ownerReferences", [])
        if kind is kinds.CLAIM and not references:
            return True
        return any(reference["uid"] == self._owner.uid for reference in references)

    async def apply(self, manifests: Iterable[Manifest]) -> list[Obstacle]:
        """Apply the manifests in order. Return the obstacles that a person must remove."""
        problems: list[Obstacle] = []
        for manifest in manifests:
            problem = await self._apply(kinds.BY_NAME[manifest["kind"]], manifest)
            if problem is not None:
                problems.append(problem)
        return problems

    async def _apply(self, kind: ResourceKind, manifest: Manifest) -> Obstacle | None:
        name = manifest["metadata"]["name"]
        actual = self._objects.get((kind.kind, name))
        if actual is None:
            actual = await self._api.get(kind, self._owner.namespace, name)
        if actual is not None:
            labels = actual["metadata"].get("labels", {})
            labelled = labels.get(names.CLUSTER) == self._owner.name and labels.get(names.MANAGED_BY) == names.MANAGER
            if not labelled or not self._is_own(kind, actual):
                return Obstacle(
                    Reason.NAME_TAKEN,
                    f"the {kind.kind} {name} exists already and does not belong to this HANas: it is left unchanged; "
                    "rename it, or give the HANas another name",
                )
            if "deletionTimestamp" in actual["metadata"] or drift.contains(actual, manifest):
                return None
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": actual["metadata"]["uid"]}}
        try:
            if actual is not None and (patch := drift.removals(actual, manifest)):
                patch = {**patch, "metadata": {"uid": actual["metadata"]["uid"]}}
                await self._api.merge(kind, self._owner.namespace, name, patch)
            self._objects[kind.kind, name] = await self._api.apply(kind, manifest)
        except ApiError as error:
            if not error.lasting:
                raise
            return Obstacle(Reason.REJECTED, f"the {kind.kind} {name} was refused: {error}")
        return None

    async def prune(self, kind: ResourceKind, manifests: Iterable[Manifest]) -> None:
        """Delete the HANas' objects of a kind that are not in ``manifests``."""
        manifest_names = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == kind.kind}
        for (object_kind, name), resource in list(self._objects.items()):
            if object_kind == kind.kind and name not in manifest_names and self._is_own(kind, resource):
                await self._api.delete(kind, self._owner.namespace, name, resource["metadata"]["uid"])
                del self._objects[object_kind, name]


async def read(api: Api, owner: Owner) -> Children:
    """Return the existing objects of ``owner``. Raises ApiError."""
    labels = names.selected({names.CLUSTER: owner.name, names.MANAGED_BY: names.MANAGER})
    lists = await asyncio.gather(*(api.list(kind, owner.namespace, labels) for kind in (*kinds.APPLIED, kinds.POD)))
    objects = {
        # The items of a list do not name their kind.
        (kind.kind, resource["metadata"]["name"]): {**resource, "apiVersion": kind.api_version, "kind": kind.kind}
        for kind, resources in zip(kinds.APPLIED, lists, strict=False)
        for resource in resources
    }
    return Children(api, owner, objects, lists[-1])
