"""The order in which worker pods follow a new template: backups first and the main last, so that it hands over once.

The StatefulSet would go by ordinals, and every pod that becomes the main on the way hands over again. So it replaces
none by itself (``OnDelete``): the operator deletes one pod at a time, and the next one when the last one is ready.
"""

from collections.abc import Iterable

from hanas_operator import kinds, main_label, names, obstacles, pods
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.pods import Pod
from hanas_operator.view import ClusterView

REVISION = "controller-revision-hash"
"""Label of a pod: the template that it was made of."""


def due(workers: Resource, of: Iterable[Pod], view: ClusterView | None) -> Pod | None:
    """Return the worker pod to replace now, None if there is none, or if another one must be ready first.

    ``workers``: the StatefulSet. A pod that is not ready serves nobody, so it comes before those that are.
    """
    status, own = workers.get("status", {}), pods.of(of, names.WORKER)
    newest = status.get("updateRevision", "")
    if not newest or status.get("observedGeneration", 0) < workers["metadata"].get("generation", 0):
        return None
    if len(own) != workers["spec"]["replicas"] or any("deletionTimestamp" in pod["metadata"] for pod in own):
        return None
    outdated = [pod for pod in own if pod["metadata"]["labels"].get(REVISION) != newest]
    if not all(pods.is_ready(pod) for pod in own if pod not in outdated) or _settles(status):
        return None
    main = None if view is None or view.main is None else view.main.member

    def place(pod: Pod) -> tuple[bool, bool]:
        member = pod["metadata"]["labels"].get(names.POD_INDEX)
        is_main = main_label.role(pod) == names.MAIN if main is None else f"{names.WORKER}-{member}" == main
        return is_main, pods.is_ready(pod)

    return min(reversed(outdated), key=place, default=None)


def _settles(status: Resource) -> bool:
    """Return whether a pod has been ready for a moment only (``minReadySeconds``)."""
    return bool(status.get("availableReplicas", 0) < status.get("readyReplicas", 0))


async def replace(
    api: Api, owner: Owner, workers: Resource | None, of: Iterable[Pod], view: ClusterView | None
) -> list[Obstacle]:
    """Delete the pod that is due, if there is one. Return why it could not be deleted."""
    if workers is None or due(workers, of, view) is None:
        return []
    # What was read may be older than the last deletion: two must never go at once.
    present = await api.get(kinds.STATEFUL_SET, owner.namespace, workers["metadata"]["name"])
    everybody = await main_label.read(api, (owner.namespace, owner.name), cached=False)
    pod = None if present is None else due(present, everybody, view)
    if pod is None:
        return []
    name = pod["metadata"]["name"]
    try:
        await api.delete(kinds.POD, owner.namespace, name, pod["metadata"]["uid"])
    except ApiError as error:
        return [obstacles.of(error, f"the deletion of the pod {name}, which is to follow the new template,")]
    return []
