"""How far the pods are with the last change of the spec: pure functions."""

from collections.abc import Sequence

from hanas_operator import names
from hanas_operator.api import Resource
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import API_FAILED, Obstacle
from hanas_operator.status import ConditionType, Finding, HANasStatus, Reason

UPDATING, HELD, AWAITS_TURN = "Updating", "UpdateHeld", "AwaitsTurn"
"""Reasons of ``Updated``; the last two while a new operator would change the pods."""
_HELD = {
    HELD: "this operator would change them: updatePolicy: Automatic lets it, and so does another spec.image",
    AWAITS_TURN: "they follow this operator when it is their turn: one HANas after the other",
}
_REASONS = frozenset[str](Reason) | {API_FAILED}
"""The reasons of obstacles that keep a change from being made; others concern single pods."""


def finding(
    owner: Owner,
    paused: bool,
    obstacles: Sequence[Obstacle],
    workers: Resource | None,
    overseers: Resource | None,
    held: str = "",
    *,
    made: bool = False,
) -> Finding:
    """Return whether every object has the content, and every pod the template, that the spec demands.

    A pod that fails later does not undo that. ``workers``, ``overseers``: the StatefulSet and the Deployment; ``held``:
    the reason why the pods do not follow a new operator; ``made``: whether it was so before.
    """
    if paused:
        return "Unknown", "Paused", "changes of the spec are not made while the HANas is paused"
    for obstacle in obstacles:
        if obstacle.reason in _REASONS:
            return "False", obstacle.reason, obstacle.message
    if workers is None or overseers is None:
        return "False", "Waiting", "the pods are not made yet"
    if what := waits(owner, workers, overseers, made=made):
        return "False", UPDATING, "; ".join(what)
    words = f"all pods run as the spec demands, with the image {owner.image}"
    if owner.hibernates:
        words = "no pod runs, as the spec demands"
    if held:
        return "True", held, f"{words}; {_HELD[held]}"
    return "True", "AllUpdated", words


def waits(owner: Owner, workers: Resource, overseers: Resource, *, made: bool = False) -> list[str]:
    """Return which pods are not made of the newest template yet. ``made``: none was before."""
    return [*_workers(owner, workers, made=made), *_overseers(owner, overseers)]


def annotations(workload: Resource) -> dict[str, str]:
    """Return the annotations of the pods that a workload makes."""
    return workload["spec"]["template"]["metadata"].get("annotations") or {}


def image(workload: Resource) -> str:
    """Return the image that the pods of a workload are made with; empty if there is none."""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"]) if workload else ""


def was_made(before: HANasStatus, generation: int) -> bool:
    """Return whether the change of this generation was made already."""
    return any(
        (one.type, one.status, one.observed_generation) == (ConditionType.UPDATED, "True", generation)
        for one in before.conditions
    )


def _workers(owner: Owner, workers: Resource, *, made: bool) -> list[str]:
    status, count = workers.get("status", {}), owner.spec.workers
    # The current revision is that of the first pods. An update is made when the last one is ready.
    later = status.get("currentRevision") != status.get("updateRevision")
    updating = later and not made and status.get("readyReplicas", 0) < count
    return _waits(names.WORKER, workers, count, status.get("updatedReplicas", 0), updating=updating)


def _overseers(owner: Owner, overseers: Resource) -> list[str]:
    count = overseers.get("status", {}).get("updatedReplicas", 0)
    return _waits(names.OVERSEER, overseers, owner.overseers, count, updating=False)


def _waits(component: str, workload: Resource, count: int, updated: int, *, updating: bool) -> list[str]:
    status = workload.get("status", {})
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    if seen and not updating and updated == status.get("replicas", 0) == count:
        return []
    return [f"{updated if seen else 0} of {count} {component}s are updated"]
