"""One idempotent reconcile: read the desired and the actual state, remove the difference, report what remains.

Changes of a HANas or of its objects, new views from the overseer, and the clock request it; it never depends on which
of them did.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from hanas_operator import children, conditions, failures, kinds, names, obstacles, pods, storage
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.children import Children
from hanas_operator.conditions import World
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.failures import Evaluation
from hanas_operator.followers import Followed, Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.objects import cluster, secret, workloads
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.spec import HANasSpec, SecretKey
from hanas_operator.status import AlertStatus, ConditionType, HANasStatus, Reason
from hanas_operator.storage import StorageFinding
from hanas_operator.view import ClusterView

RESYNC_SECONDS, UNSETTLED_SECONDS = 60.0, 5.0
"""The time between two reconciles without a change, and the time while the cluster is not in its desired state."""


class Reconciler:
    """Reconciles one cluster at a time."""

    def __init__(
        self,
        api: Api,
        followers: Followers,
        metrics: OperatorMetrics,
        image: str,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """``image``: the image of pods whose spec names none; empty: the spec must name one.

        ``leads``: whether this operator does more than follow the main and label it.
        """
        self._api = api
        self._followers = followers
        self._recorder = Recorder(api)
        self._metrics = metrics
        self._image = image
        self._leads = leads

    async def __call__(self, key: Key) -> float | None:
        """Reconcile a cluster. Return the seconds until the next time; None: it was deleted. Raises ApiError."""
        try:
            with self._metrics.reconcile_seconds.time():
                again = await self._reconcile(key)
        except Leaving:
            # The event of its deletion follows.
            return RESYNC_SECONDS
        except Exception:
            self._metrics.count("failed")
            raise
        self._metrics.count("done")
        return again

    async def _reconcile(self, key: Key) -> float | None:
        hanas = await self._api.get(kinds.HANAS, *key)
        if hanas is None or "deletionTimestamp" in hanas["metadata"]:
            # Owner references delete its objects; the claim stays, unless it has one too.
            self._followers.forget(key)
            self._metrics.forget(key)
            self._recorder.forget(key)
            return None
        # First of all, also if nothing else succeeds: clients depend on the label.
        followed = await self._followers.attend(key)
        if not self._leads():
            return UNSETTLED_SECONDS if followed.refusals else RESYNC_SECONDS
        before = statuses.read(hanas.get("status"))
        now = datetime.now(UTC)
        try:
            spec = specs.read(hanas.get("spec") or {})
        except msgspec.ValidationError as error:
            invalid = conditions.invalid(str(error), hanas["metadata"]["generation"], now, before.conditions)
            await self._write(hanas, before, msgspec.structs.replace(before, conditions=invalid), None)
            return RESYNC_SECONDS
        return await self._valid(hanas, spec, before, now, followed)

    async def _valid(
        self, hanas: Resource, spec: HANasSpec, before: HANasStatus, now: datetime, followed: Followed
    ) -> float:
        key = names.metadata(hanas)
        owner = Owner(
            name=key[1],
            namespace=key[0],
            uid=hanas["metadata"]["uid"],
            spec=spec,
            image=spec.image if isinstance(spec.image, str) else self._image,
        )
        existing = await children.read(self._api, owner, followed.pods)
        view = followed.view
        folder_id = before.folder_id or _recorded_folder(existing, owner) or ("" if view is None else view.folder_id)
        owner = msgspec.structs.replace(owner, folder_id=folder_id)
        volume = await self._volume(owner, existing)
        ready = pods.ready_members(owner.name, existing.pods)
        evaluation = failures.evaluate(spec.link_failures, before.link_failures, owner.members, ready, now)
        paused = hanas["metadata"].get("annotations", {}).get(names.PAUSED, "false") != "false"
        problems = [] if paused else await self._apply(owner, existing, evaluation, blocked=volume.blocks)
        if paused:
            evaluation = Evaluation(before.link_failures, frozenset(), None)
        alerts = _alerts(view, before)
        world = World(
            owner=owner,
            generation=hanas["metadata"]["generation"],
            paused=paused,
            storage=storage.of_folder(volume, folder_id, view, alerts, pods.troubles(existing.pods)),
            problems=(*followed.refusals, *problems),
            pods=tuple(existing.pods),
            view=view,
            view_trouble=followed.trouble,
            failures=evaluation.statuses,
            alerts=alerts,
            now=now,
        )
        if not paused:
            observed = failures.observe(evaluation, spec.link_failures, owner.members, view)
            world = msgspec.structs.replace(world, failures=observed)
        status = describe(world, existing, before)
        await self._write(hanas, before, status, view)
        return _again(world, evaluation, status)

    async def _volume(self, owner: Owner, existing: Children) -> StorageFinding:
        claim = existing.get(kinds.CLAIM, owner.claim)
        if isinstance(owner.spec.storage.existing_claim, str):
            claim = await self._api.get(kinds.CLAIM, owner.namespace, owner.claim)
        unknown, warning = None, ""
        if claim is not None and claim.get("status", {}).get("phase", "Pending") == "Pending":
            unknown = await self._unknown_class(claim.get("spec", {}).get("storageClassName"))
            warning = await self._warning(claim)
        return storage.of_claim(owner, claim, unknown_class=unknown, warning=warning)

    async def _unknown_class(self, name: str | None) -> str | None:
        """Return ``name`` if no such class exists; None also if it cannot be looked for."""
        if not name:
            return None
        try:
            return name if await self._api.get(kinds.STORAGE_CLASS, None, name) is None else None
        except ApiError:
            return None

    async def _warning(self, claim: Resource) -> str:
        """Return the newest warning about a claim; empty if there is none, or if it cannot be read."""
        selector = f"involvedObject.uid={claim['metadata']['uid']},type=Warning"
        try:
            events = await self._api.list(kinds.CORE_EVENT, claim["metadata"]["namespace"], fields=selector)
        except ApiError:
            return ""
        newest = max(events, key=_event_time, default={})
        return str(newest.get("message", "")).strip()

    async def _apply(
        self, owner: Owner, existing: Children, evaluation: Evaluation, *, blocked: bool
    ) -> list[Obstacle]:
        """Apply all objects. Return the problems of those that could not be applied."""
        problems: list[Obstacle] = []
        for what, step in (
            ("reading the tokens of clients", self._tokens),
            ("the Secret of the components", self._secret),
        ):
            try:
                problems += await step(owner)
            except ApiError as error:
                problems.append(obstacles.of(error, what))
        surroundings = cluster.surroundings(owner, evaluation.cuts)
        problems += await existing.apply(surroundings)
        problems += await existing.prune(kinds.POLICY, surroundings)
        if not owner.image:
            problems.append(Obstacle(Reason.NO_IMAGE, "name the image: spec.image, or --image of the operator"))
            return problems
        # Without a usable volume no first pods are made; existing ones are kept up to date.
        running = existing.get(kinds.STATEFUL_SET, names.of(owner.name, names.WORKER)) is not None
        if running or not (blocked or any(problem.reason == Reason.NAME_TAKEN for problem in problems)):
            problems += await existing.apply(workloads.workloads(owner))
        return problems

    async def _secret(self, owner: Owner) -> list[Obstacle]:
        manifest = secret.components(owner)
        name = manifest["metadata"]["name"]
        actual = await self._api.get(kinds.SECRET, owner.namespace, name)
        if actual is None:
            await self._api.create(kinds.SECRET, manifest)
            return []
        owners = [reference["uid"] for reference in actual["metadata"].get("ownerReferences", [])]
        if owner.uid in owners and (actual.get("data") or {}).get(secret.KEY):
            return []
        message = (
            f"the Secret {name} exists already and does not belong to this HANas, or is empty: it is left unchanged; "
            "delete it, and the operator makes another one"
        )
        return [Obstacle(Reason.NAME_TAKEN, message)]

    async def _tokens(self, owner: Owner) -> list[Obstacle]:
        reference = owner.spec.client_token_secret
        if not isinstance(reference, SecretKey):
            return []
        actual = await self._api.get(kinds.SECRET, owner.namespace, reference.name)
        if actual is not None and reference.key in (actual.get("data") or {}):
            return []
        what = f"there is no Secret {reference.name}"
        if actual is not None:
            what = f"the Secret {reference.name} has no key {reference.key}"
        return [Obstacle(Reason.TOKENS_MISSING, f"{what}: clientTokenSecret names it; make it, with one token a line")]

    async def _write(self, hanas: Resource, before: HANasStatus, status: HANasStatus, view: ClusterView | None) -> None:
        """Post events, and write the status if it changed."""
        self._metrics.show(names.metadata(hanas), status)
        await self._recorder.post(hanas, before, status, view)
        content = plain(status)
        if content == hanas.get("status"):
            return
        meta = {field: hanas["metadata"][field] for field in ("name", "namespace", "uid")}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "status": content}
        await self._api.apply(kinds.HANAS, manifest, "status")


def describe(world: World, existing: Children, before: HANasStatus) -> HANasStatus:
    """Return the status."""
    owner, view = world.owner, world.view
    workers = existing.get(kinds.STATEFUL_SET, names.of(owner.name, names.WORKER)) or {}
    overseers = existing.get(kinds.DEPLOYMENT, names.of(owner.name, names.OVERSEER)) or {}
    epoch = before.epoch if view is None else max(view.epoch, before.epoch)
    main = before.main if view is None or view.main is None else view.main.member
    return HANasStatus(
        observed_generation=world.generation,
        main=main,
        epoch=epoch,
        workers=workers.get("status", {}).get("replicas", 0),
        ready_workers=workers.get("status", {}).get("readyReplicas", 0),
        ready_overseers=overseers.get("status", {}).get("readyReplicas", 0),
        selector=names.selected(names.selector(owner.name, names.WORKER)),
        folder_id=owner.folder_id,
        claim=owner.claim,
        alerts=world.alerts,
        link_failures=world.failures,
        conditions=conditions.all_of(world, before.conditions),
    )


def _alerts(view: ClusterView | None, before: HANasStatus) -> tuple[AlertStatus, ...]:
    """Return the open alerts. One that is in ``before`` keeps its message, which may count seconds."""
    previous = {(alert.kind, alert.member, alert.about, alert.since): alert for alert in before.alerts}
    alerts = []
    for alert in () if view is None else view.alerts:
        status = msgspec.convert(plain(alert), AlertStatus)
        last = previous.get((status.kind, status.member, status.about, status.since))
        alerts.append(last if last is not None and last.severity == status.severity else status)
    return tuple(alerts)


def _recorded_folder(existing: Children, owner: Owner) -> str:
    recorded = existing.get(kinds.CONFIG_MAP, names.of(owner.name, names.FOLDER)) or {}
    return str(recorded.get("data", {}).get("folderId", ""))


def _event_time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", ""))


def _again(world: World, evaluation: Evaluation, status: HANasStatus) -> float:
    """Return the seconds until the next reconcile."""
    states = {condition.type: condition.status for condition in status.conditions}
    settled = {ConditionType.READY: "True", ConditionType.DEGRADED: "False", ConditionType.STORAGE_READY: "True"}
    wait = RESYNC_SECONDS if not evaluation.cuts and settled.items() <= states.items() else UNSETTLED_SECONDS
    if evaluation.next_change is not None:
        wait = min(wait, max(0.0, (evaluation.next_change - world.now).total_seconds()))
    return wait
