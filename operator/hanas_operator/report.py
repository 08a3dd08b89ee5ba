"""What one reconcile leaves behind: the status, and the time of the next one. Pure functions."""

from msgspec import UNSET, structs

from hanas_operator import addresses, conditions, cut_requests, kinds, names, progress, storage
from hanas_operator.api import Resource
from hanas_operator.children import Children
from hanas_operator.conditions import World
from hanas_operator.failures import Evaluation
from hanas_operator.objects import etcd
from hanas_operator.objects.owner import Owner
from hanas_operator.status import ConditionType, HANasStatus, StatusCondition, SwitchoverState, SwitchoverStatus

RESYNC_SECONDS, UNSETTLED_SECONDS = 60.0, 5.0
"""The time between two reconciles without a change, and the time while the cluster is not in its desired state."""

_SETTLED = {ConditionType.READY: "True", ConditionType.UPDATED: "True"}


def describe(world: World, existing: Children, before: HANasStatus) -> HANasStatus:
    """Return the status."""
    owner, view = world.owner, world.view
    workers, overseers = (workload or {} for workload in workloads(owner, existing))
    epoch = before.epoch if view is None else max(view.epoch, before.epoch)
    main = before.main if view is None or view.main is None else view.main.member
    if owner.hibernates:
        main = ""
    return HANasStatus(
        observed_generation=world.generation,
        main=main,
        epoch=epoch,
        workers=workers.get("status", {}).get("replicas", 0),
        ready_workers=workers.get("status", {}).get("readyReplicas", 0),
        updated_workers=workers.get("status", {}).get("updatedReplicas", 0),
        ready_overseers=overseers.get("status", {}).get("readyReplicas", 0),
        selector=names.selected(names.selector(owner.name, names.WORKER)),
        folder_id=owner.folder_id,
        claim=owner.claim,
        claim_size=storage.sure_size(existing.get(kinds.CLAIM, owner.claim)) or UNSET,
        secret=world.secret,
        tls=world.tls,
        image=before.image if world.paused else progress.image(workers) or before.image,
        addresses=addresses.of(owner, existing),
        etcd=etcd.endpoints(owner),
        alerts=world.alerts,
        link_failures=cut_requests.without(world.failures),
        switchover=before.switchover,
        conditions=conditions.all_of(world, before.conditions),
    )


def refused(before: HANasStatus, hanas: Resource, invalid: tuple[StatusCondition, ...]) -> HANasStatus:
    """Return the status of a HANas with an invalid spec: the last one, with these conditions."""
    return structs.replace(before, observed_generation=hanas["metadata"]["generation"], conditions=invalid)


def workloads(owner: Owner, existing: Children) -> tuple[Resource | None, Resource | None]:
    """Return the StatefulSet of the workers and the Deployment of the overseers."""
    return (
        existing.get(kinds.STATEFUL_SET, names.of(owner.name, names.WORKER)),
        existing.get(kinds.DEPLOYMENT, names.of(owner.name, names.OVERSEER)),
    )


def recorded_folder(existing: Children, owner: Owner) -> str:
    """Return the id of the folder in the ConfigMap, empty if there is none."""
    recorded = existing.get(kinds.CONFIG_MAP, names.of(owner.name, names.FOLDER)) or {}
    return str(recorded.get("data", {}).get("folderId", ""))


def is_settled(status: HANasStatus) -> bool:
    """Return whether the main serves, and all pods are updated; or none runs, as the spec demands."""
    return _SETTLED.items() <= _states(status).items() or _hibernates(status)


def _hibernates(status: HANasStatus) -> bool:
    return any(
        condition.type == ConditionType.READY and condition.reason == conditions.HIBERNATED
        for condition in status.conditions
    )


def _states(status: HANasStatus) -> dict[str, str]:
    return {condition.type: condition.status for condition in status.conditions}


def _switches(status: HANasStatus) -> bool:
    return isinstance(status.switchover, SwitchoverStatus) and status.switchover.state is SwitchoverState.PENDING


def again(world: World, evaluation: Evaluation, status: HANasStatus) -> float:
    """Return the seconds until the next reconcile."""
    settled = {ConditionType.UPDATED: "True"} if _hibernates(status) else _SETTLED
    at_rest = settled | {ConditionType.DEGRADED: "False", ConditionType.STORAGE_READY: "True"}
    waits = evaluation.cuts or world.updated[1] == progress.AWAITS_TURN or _switches(status)
    wait = RESYNC_SECONDS if not waits and at_rest.items() <= _states(status).items() else UNSETTLED_SECONDS
    if evaluation.next_change is not None:
        wait = min(wait, max(0.0, (evaluation.next_change - world.now).total_seconds()))
    return wait
