"""The label that the Service of the main selects: which pod gets it, and giving it."""

import logging
from collections.abc import Iterable

from hanas_operator import kinds, names, pods
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.pods import Pod
from hanas_operator.queue import Key
from hanas_operator.view import ClusterView

_log = logging.getLogger(__name__)


def changes(workers: Iterable[Pod], main: str | None, cluster: str) -> list[tuple[Pod, str]]:
    """Return the worker pods whose role label must change, with the new role; the new main comes first.

    Without a serving main nothing changes: the last main keeps the label until another one serves.
    """
    if main is None:
        return []
    roles = [
        (pod, names.MAIN if names.member_of(cluster, pod["metadata"]["name"]) == main else names.BACKUP)
        for pod in pods.of(workers, names.WORKER)
    ]
    wrong = [(pod, role) for pod, role in roles if pod["metadata"].get("labels", {}).get(names.ROLE) != role]
    return sorted(wrong, key=lambda entry: entry[1] != names.MAIN)


async def keep(api: Api, key: Key, workers: list[Resource], view: ClusterView | None) -> None:
    """Label the main as the main and the others as backups, in the cluster and in ``workers``, their pods."""
    for pod, role in changes(workers, None if view is None else view.serving, key[1]):
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"], "labels": {names.ROLE: role}}}
        try:
            await api.merge(kinds.POD, key[0], meta["name"], patch)
        except ApiError as error:
            if error.status not in {404, 409}:  # another pod of the same name took its place
                raise
        else:
            meta.setdefault("labels", {})[names.ROLE] = role
            _log.info("%s/%s is now labelled %s=%s", key[0], meta["name"], names.ROLE, role)
