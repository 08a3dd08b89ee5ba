"""The label that the Service of the main selects: which pod gets it, and giving it.

Several operators give it at once, and each hears of a takeover at another time. So each pod carries the epoch of which
its role is (annotation ``hanas.dev/epoch``), and each write names the version of the pod that was read: the epoch of a
pod only grows, whoever writes and however late. That of the labelled main is the highest one that was heard. The new
main is labelled first, then the last one becomes a backup: two are labelled for as long as one write takes.
"""

import logging
from collections.abc import Iterable

from hanas_operator import kinds, names, pods
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.obstacles import Obstacle
from hanas_operator.pods import Pod
from hanas_operator.queue import Key
from hanas_operator.status import Reason
from hanas_operator.view import ClusterView

MOST_TRIES = 5
"""A write is refused when the pod has changed, as its kubelet changes it too: then all are read again."""
_log = logging.getLogger(__name__)


def changes(workers: Iterable[Pod], view: ClusterView | None, cluster: str) -> list[tuple[Pod, str, int]]:
    """Return the worker pods whose role must change, with the new role and its epoch; the new main comes first.

    Without a serving main nothing changes: the last main keeps the label until another one serves. A main of an older
    epoch than that of a labelled pod is none.
    """
    if view is None or view.main is None or view.serving is None:
        return []
    own = pods.of(workers, names.WORKER)
    labelled = sorted((pod for pod in own if role(pod) == names.MAIN), key=epoch)
    main, since = names.of(cluster, view.serving), view.main.epoch
    if labelled and epoch(labelled[-1]) > since:
        main, since = labelled[-1]["metadata"]["name"], epoch(labelled[-1])
    settled = [pod["metadata"]["name"] for pod in labelled] == [main]  # a later epoch of a main concerns it alone
    roles = [(pod, names.MAIN if pod["metadata"]["name"] == main else names.BACKUP) for pod in own]
    wrong = [
        (pod, new, since)
        for pod, new in roles
        if role(pod) != new or (epoch(pod) < since and (new == names.MAIN or not settled))
    ]
    return sorted(wrong, key=lambda change: (change[1] != names.MAIN, role(change[0]) != names.MAIN))


def leads_to(workers: Iterable[Pod], main: str, cluster: str) -> bool:
    """Return whether the Service of the main leads to a pod of this member, and to no other one."""
    labelled = [pod["metadata"]["name"] for pod in pods.of(workers, names.WORKER) if role(pod) == names.MAIN]
    return labelled == [names.of(cluster, main)]


def role(pod: Pod) -> str | None:
    """Return the role that a pod is labelled with."""
    label: str | None = pod["metadata"].get("labels", {}).get(names.ROLE)
    return label


def epoch(pod: Pod) -> int:
    """Return the epoch of which the role of a pod is; 0 if it says none."""
    text = pod["metadata"].get("annotations", {}).get(names.EPOCH, "")
    return int(text) if text.isascii() and text.isdigit() else 0


async def keep(
    api: Api, key: Key, workers: list[Resource], view: ClusterView | None
) -> tuple[list[Resource], list[Obstacle]]:
    """Label the main as the main and the others as backups. ``workers``: the pods of the cluster.

    Returns the pods as they are then, and the labels that were refused.
    """
    for _ in range(MOST_TRIES):
        refusals: list[Obstacle] = []
        if await _try(api, key, changes(workers, view, key[1]), refusals):
            return workers, refusals
        workers = await read(api, key, cached=False)
    return workers, [Obstacle(Reason.REJECTED, "the pods change faster than their role can be labelled")]


async def read(api: Api, key: Key, *, cached: bool = True) -> list[Resource]:
    """Return the pods of a cluster, of workers and overseers. ``cached``: perhaps not the very newest."""
    labels = names.selected({names.MANAGED_BY: names.MANAGER, names.CLUSTER: key[1]})
    return await api.list(kinds.POD, key[0], labels, cached=cached)


async def _try(api: Api, key: Key, due: Iterable[tuple[Pod, str, int]], refusals: list[Obstacle]) -> bool:
    """Make the changes; return False if a pod is not as it was read. ``refusals``: takes what was refused."""
    for pod, new, since in due:
        meta = pod["metadata"]
        same = {field: meta[field] for field in ("uid", "resourceVersion")}
        patch = {**same, "labels": {names.ROLE: new}, "annotations": {names.EPOCH: str(since)}}
        try:
            pod["metadata"] = (await api.merge(kinds.POD, key[0], meta["name"], {"metadata": patch}))["metadata"]
        except ApiError as error:
            if error.status in {404, 409}:
                return False
            words = f"the pod {meta['name']} cannot be labelled {names.ROLE}={new}: {error}"
            _log.warning("%s/%s: %s", *key, words)
            refusals.append(Obstacle(Reason.REJECTED, words))
            if new == names.MAIN:
                return True  # the last main keeps the label: it redirects
        else:
            _log.info("%s/%s is now labelled %s=%s, epoch %d", key[0], meta["name"], names.ROLE, new, since)
    return True
