"""Workers on lost nodes: their pods are removed, so that the StatefulSet makes them anew on other nodes.

The kubelet of a lost node confirms no deletion, so the pod, and with it the worker's name, would stay until the node is
back. Removing the pod does not prove that its process has ended: it may run on, cut off from everything but the volume.
That is safe. Who is the main is decided by the claims in the folder, and a replaced main is fenced by the seals there.
"""

from collections.abc import Iterable
from datetime import datetime

from hanas_operator import kinds, names, pods
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.obstacles import Obstacle
from hanas_operator.obstacles import of as failed
from hanas_operator.pods import Pod


def overdue(of: Iterable[Pod], now: datetime) -> list[Pod]:
    """Return the worker pods on a node whose time to end is over."""
    return [
        pod
        for pod in pods.of(of, names.WORKER)
        if pod.get("spec", {}).get("nodeName")
        and datetime.fromisoformat(pod["metadata"].get("deletionTimestamp", "9999-12-31T00:00:00Z")) <= now
    ]


def is_lost(node: Resource | None) -> bool:
    """Return whether a node is gone, or its kubelet does not report that it is ready."""
    return node is None or pods.condition(node, "Ready").get("status") != "True"


async def replace(api: Api, of: Iterable[Pod], now: datetime) -> list[Obstacle]:
    """Remove the overdue pods whose nodes are lost. Return an obstacle for each that must be removed by a person."""
    obstacles = []
    for pod in overdue(of, now):
        meta, node = pod["metadata"], pod["spec"]["nodeName"]
        try:
            if is_lost(await api.get(kinds.NODE, None, node)):
                await api.delete(kinds.POD, meta["namespace"], meta["name"], meta["uid"], force=True)
        except ApiError as error:
            if not error.lasting:
                obstacles.append(failed(error, f"the pod {meta['name']}"))
                continue
            message = (
                f"{meta['name']} does not end on the node {node}, and the operator may not look whether that is lost: "
                f"{error}; if it is, kubectl delete pod {meta['name']} --force"
            )
            obstacles.append(Obstacle("PodStuck", message))
    return obstacles
