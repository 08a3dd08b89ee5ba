"""What one reconcile of a valid HANas reads before it changes anything."""

from datetime import datetime
from typing import Any

from msgspec import Struct, structs

from hanas_operator import alerts, children, claims, cut_requests, failures, kinds, names, pods, report, storage
from hanas_operator.api import Api, Resource
from hanas_operator.backups import bootstrap
from hanas_operator.children import Children
from hanas_operator.cut_requests import CutRequests
from hanas_operator.failures import Evaluation
from hanas_operator.followers import Followed
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.queue import Key
from hanas_operator.rollout import Choice, Rollouts
from hanas_operator.spec import HANasSpec, LinkFailure
from hanas_operator.status import AlertStatus, FailureStatus, HANasStatus
from hanas_operator.storage import StorageFinding
from hanas_operator.view import ClusterView


class Observation(Struct, frozen=True, kw_only=True):
    """A HANas and its objects as they are. ``before``: the status that the last reconcile wrote."""

    hanas: Resource
    before: HANasStatus
    now: datetime
    owner: Owner
    existing: Children
    choice: Choice
    volume: StorageFinding
    source: bootstrap.Source | Obstacle | None
    """What its folder is restored from, or what that waits for."""
    followed: Followed
    view: ClusterView | None
    alerts: tuple[AlertStatus, ...]
    requests: CutRequests
    failures: tuple[LinkFailure, ...]
    """Of the spec and of HANasLinkFailure resources."""
    recorded: tuple[FailureStatus, ...]
    """What the last reconcile wrote about them."""
    evaluation: Evaluation

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return names.metadata(self.hanas)

    @property
    def generation(self) -> int:
        """The generation of the spec."""
        return int(self.hanas["metadata"]["generation"])

    @property
    def paused(self) -> bool:
        """Whether nothing but the status may change."""
        return is_paused(self.hanas)

    @property
    def workloads(self) -> tuple[Resource | None, Resource | None]:
        """The StatefulSet of the workers and the Deployment of the overseers, as they are now."""
        return report.workloads(self.owner, self.existing)


def is_paused(hanas: dict[str, Any]) -> bool:
    """Return whether a HANas has the annotation that keeps the operator from changing its objects."""
    return bool(hanas["metadata"].get("annotations", {}).get(names.PAUSED, "false") != "false")


async def observe(
    api: Api,
    rollouts: Rollouts,
    hanas: Resource,
    spec: HANasSpec,
    before: HANasStatus,
    now: datetime,
    followed: Followed,
    home: str,
) -> Observation:
    """Read what belongs to a HANas. ``home``: the namespace of the operator's own pods. Raises ApiError."""
    namespace, name = names.metadata(hanas)
    owner = Owner(
        name=name,
        namespace=namespace,
        uid=hanas["metadata"]["uid"],
        spec=spec,
        image="",
        operator_namespace=home,
        created=hanas["metadata"]["creationTimestamp"],
    )
    existing = await children.read(api, owner, followed.pods)
    choice = await rollouts.choose(owner, existing, before, paused=is_paused(hanas))
    view = None if existing.has_former else followed.view
    folder_id = before.folder_id or report.recorded_folder(existing, owner) or ("" if view is None else view.folder_id)
    owner = structs.replace(owner, image=choice.image, folder_id=folder_id)
    source = await bootstrap.source(api, owner)
    claim = existing.get(kinds.CLAIM, owner.claim)
    owner = structs.replace(
        owner, claim_size=storage.size(owner, claim), claim_source=bootstrap.claim_source(owner, claim, source)
    )
    volume = await claims.look(api, owner, existing)
    requests = await cut_requests.read(api, (namespace, name))
    wanted, recorded = (*spec.link_failures, *requests.failures), (*before.link_failures, *requests.records)
    ready = pods.ready_members(name, existing.pods)
    return Observation(
        hanas=hanas,
        before=before,
        now=now,
        owner=owner,
        existing=existing,
        choice=choice,
        volume=volume,
        source=source,
        followed=followed,
        view=view,
        alerts=alerts.of(view, before, owner.members),
        requests=requests,
        failures=wanted,
        recorded=recorded,
        evaluation=failures.evaluate(wanted, recorded, owner.members, ready, now),
    )
