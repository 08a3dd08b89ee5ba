"""The objects of one HANas in the cluster: read, compare with the desired ones, apply, prune.

The operator changes only objects of this HANas. Labels and the uid of the owner identify them; labels alone identify
the claim, which may outlive its HANas.
"""

import asyncio
from collections.abc import Iterable

from hanas_operator import drift, kinds, names, obstacles
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.crd import KIND
from hanas_operator.kinds import ResourceKind
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.obstacles import Obstacle
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
        self.pods = [pod for pod in pods if not self._is_former(pod)]
        self.has_former = len(self.pods) < len(pods)
        """Whether there are pods of a deleted HANas of the same name still; they are not in ``pods``."""

    def _is_former(self, pod: Resource) -> bool:
        """Return whether a pod is older than both the HANas and the workload, which may have been adopted."""
        component = pod["metadata"]["labels"].get("app.kubernetes.io/component", "")
        kind = kinds.STATEFUL_SET if component == names.WORKER else kinds.DEPLOYMENT
        workload = self.get(kind, names.of(self._owner.name, component))
        since = [self._owner.created, *([] if workload is None else [workload["metadata"]["creationTimestamp"]])]
        return bool(pod["metadata"]["creationTimestamp"] < min(since))

    def get(self, kind: ResourceKind, name: str) -> Resource | None:
        """Return the object of this name if it belongs to the HANas, else None."""
        resource = self._objects.get((kind.kind, name))
        return resource if resource is not None and is_own(self._owner, resource) else None

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
        try:
            return await self._apply_to(kind, manifest, actual)
        except ApiError as error:
            return obstacles.of(error, f"the {kind.kind} {name}")

    async def _apply_to(self, kind: ResourceKind, manifest: Manifest, actual: Resource | None) -> Obstacle | None:
        name = manifest["metadata"]["name"]
        if actual is None or not is_own(self._owner, actual):  # the watch may be late: an orphan loses its owner
            actual = await self._api.get(kind, self._owner.namespace, name)
        if actual is not None:
            if not is_own(self._owner, actual):
                return Obstacle(
                    Reason.NAME_TAKEN,
                    f"the {kind.kind} {name} exists already and does not belong to this HANas: it is left unchanged; "
                    "rename it, or give the HANas another name",
                )
            if "deletionTimestamp" in actual["metadata"] or drift.contains(actual, manifest):
                return None
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": actual["metadata"]["uid"]}}
            if patch := drift.removals(actual, manifest):
                patch = {**patch, "metadata": {"uid": actual["metadata"]["uid"]}}
                await self._api.merge(kind, self._owner.namespace, name, patch)
        self._objects[kind.kind, name] = await self._api.apply(kind, manifest)
        return None

    async def prune(self, kind: ResourceKind, manifests: Iterable[Manifest]) -> list[Obstacle]:
        """Delete the HANas' objects of a kind that are not in ``manifests``. Return what could not be deleted."""
        problems: list[Obstacle] = []
        manifest_names = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == kind.kind}
        for (object_kind, name), resource in list(self._objects.items()):
            if object_kind == kind.kind and name not in manifest_names and is_own(self._owner, resource):
                try:
                    await self._api.delete(kind, self._owner.namespace, name, resource["metadata"]["uid"])
                except ApiError as error:
                    problems.append(obstacles.of(error, f"the deletion of the {kind.kind} {name}"))
                else:
                    del self._objects[object_kind, name]
        return problems


async def read(api: Api, owner: Owner, pods: list[Resource]) -> Children:
    """Return the existing objects of ``owner``, which has these pods. Raises ApiError."""
    labels = names.selected({names.CLUSTER: owner.name, names.MANAGED_BY: names.MANAGER})
    lists = await asyncio.gather(*(api.list(kind, owner.namespace, labels, cached=True) for kind in kinds.APPLIED))
    objects = {
        # The items of a list do not name their kind.
        (kind.kind, resource["metadata"]["name"]): {**resource, "apiVersion": kind.api_version, "kind": kind.kind}
        for kind, resources in zip(kinds.APPLIED, lists, strict=True)
        for resource in resources
    }
    return Children(api, owner, objects, pods)


def is_own(owner: Owner, resource: Resource) -> bool:
    """Return whether an object is one of ``owner``.

    One with its labels and without an owner was orphaned or restored, and is adopted; so is a claim that was retained.
    """
    labels = resource["metadata"].get("labels", {})
    if labels.get(names.CLUSTER) != owner.name or labels.get(names.MANAGED_BY) != names.MANAGER:
        return False
    references = resource["metadata"].get("ownerReferences", [])
    others = [each for each in references if each.get("controller") or each.get("kind", KIND) == KIND]
    return not others or any(each["uid"] == owner.uid for each in others)
