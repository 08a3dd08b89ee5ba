"""The objects of one HANas as they are in the cluster: seen, compared with what is wanted, applied, pruned.

Nothing is ever touched that was not made for this very HANas: an object counts as its own by its labels and by the uid
of its owner; only the claim, which may outlive its HANas, counts by its labels alone.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from hanas_operator import kinds, names
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.conditions import Problem
from hanas_operator.kinds import Kind
from hanas_operator.objects.owner import Manifest, Owner

Found = dict[tuple[str, str], Resource]


class Children:
    """What there is, by kind and name."""

    def __init__(self, api: Api, namespace: str, cluster: str, uid: str, found: Found, pods: list[Resource]) -> None:
        """Hold what `see` found."""
        self._api = api
        self._namespace = namespace
        self._cluster = cluster
        self._uid = uid
        self._found = found
        self.pods = pods

    def get(self, kind: Kind, name: str) -> Resource | None:
        """Return one's own object of this name, None if there is none."""
        found = self._found.get((kind.kind, name))
        return found if found is not None and self._is_own(kind, found) else None

    def _is_own(self, kind: Kind, found: Resource) -> bool:
        references = found["metadata"].get("ownerReferences", [])
        if kind is kinds.CLAIM and not references:
            return True
        return any(reference["uid"] == self._uid for reference in references)

    async def apply(self, wanted: Iterable[Manifest]) -> list[Problem]:
        """Make every object as it is wanted, one after the other. Returns what could not be done for good."""
        problems: list[Problem] = []
        for made in wanted:
            problem = await self._one(kinds.BY_NAME[made["kind"]], made)
            if problem is not None:
                problems.append(problem)
        return problems

    async def _one(self, kind: Kind, made: Manifest) -> Problem | None:
        name = made["metadata"]["name"]
        there = self._found.get((kind.kind, name))
        if there is None:
            there = await self._api.get(kind, self._namespace, name)
        if there is not None:
            labels = there["metadata"].get("labels", {})
            labelled = labels.get(names.CLUSTER) == self._cluster and labels.get(names.MANAGED_BY) == names.MANAGER
            if not labelled or not self._is_own(kind, there):
                return Problem(
                    "NameTaken",
                    f"the {kind.kind} {name} is there already and was not made for this HANas: it is left alone; "
                    "rename it, or give the HANas another name",
                )
            if "deletionTimestamp" in there["metadata"] or contains(there, made):
                return None
            made = {**made, "metadata": {**made["metadata"], "uid": there["metadata"]["uid"]}}
        try:
            self._found[kind.kind, name] = await self._api.apply(kind, made)
        except ApiError as error:
            if not error.lasting:
                raise
            return Problem("Rejected", f"the {kind.kind} {name} was refused: {error}")
        return None

    async def prune(self, kind: Kind, wanted: Iterable[Manifest]) -> None:
        """Delete one's own objects of a kind that are not wanted any more."""
        kept = {made["metadata"]["name"] for made in wanted if made["kind"] == kind.kind}
        for (found_kind, name), found in list(self._found.items()):
            if found_kind == kind.kind and name not in kept and self._is_own(kind, found):
                await self._api.delete(kind, self._namespace, name, found["metadata"]["uid"])
                del self._found[found_kind, name]


async def see(api: Api, owner: Owner) -> Children:
    """Return what there is of the objects of ``owner``. Raises ApiError."""
    labels = names.selected({names.CLUSTER: owner.name, names.MANAGED_BY: names.MANAGER})
    lists = await asyncio.gather(*(api.list(kind, owner.namespace, labels) for kind in (*kinds.APPLIED, kinds.POD)))
    found = {
        # The items of a list do not say of which kind they are.
        (kind.kind, resource["metadata"]["name"]): {**resource, "apiVersion": kind.api_version, "kind": kind.kind}
        for kind, resources in zip(kinds.APPLIED, lists, strict=False)
        for resource in resources
    }
    return Children(api, owner.namespace, owner.name, owner.uid, found, lists[-1])


def contains(there: Any, wanted: Any) -> bool:
    """Tell whether all of ``wanted`` is so in ``there``, which may hold more: defaults, other people's fields."""
    match wanted:
        case dict():
            return isinstance(there, dict) and all(
                contains(there[key], value) if key in there else value in ({}, [], "") for key, value in wanted.items()
            )
        case list():
            return (
                isinstance(there, list)
                and len(there) == len(wanted)
                and all(contains(one, other) for one, other in zip(there, wanted, strict=True))
            )
        case _:
            return there == wanted or (type(there) is not type(wanted) and str(there) == str(wanted))
