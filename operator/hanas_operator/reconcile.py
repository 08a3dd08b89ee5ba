"""One idempotent reconcile: read the desired and the actual state, remove the difference, report what remains.

Changes of a HANas or of its objects, new views from the overseer, and the clock request it; it never depends on which
of them did.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import msgspec

from hanas_operator import (
    alerts,
    children,
    claims,
    conditions,
    failures,
    kinds,
    lost_nodes,
    names,
    obstacles,
    pods,
    progress,
    report,
    rollout,
    storage,
    switchover,
)
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.children import Children
from hanas_operator.conditions import World
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.failures import Evaluation
from hanas_operator.followers import Followed, Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.objects import cluster, policies, secret, workloads
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.report import RESYNC_SECONDS, UNSETTLED_SECONDS
from hanas_operator.rollout import Rollouts
from hanas_operator.spec import HANasSpec, SecretKey
from hanas_operator.status import HANasStatus, Reason
from hanas_operator.territory import Territory, refusal
from hanas_operator.view import ClusterView

FORMER_PODS = Obstacle("FormerPods", "pods of a deleted HANas of this name are still there; those of this one wait")


class Reconciler:
    """Reconciles one cluster at a time."""

    def __init__(
        self,
        api: Api,
        followers: Followers,
        metrics: OperatorMetrics,
        image: str,
        leads: Callable[[], bool] = lambda: True,
        *,
        namespaces: tuple[str, ...] = (),
        home: str = "",
        territory: Territory | None = None,
    ) -> None:
        """``image``: the image of pods whose spec names none; empty: the spec must name one. ``namespaces``: those to
        work in; empty: all. ``home``: that of the operator's own pods.

        ``leads``: whether this operator does more than follow the main and label it. ``territory``: keeps it out of
        the namespaces of other ones; None: there are none.
        """
        self._api = api
        self._followers = followers
        self._recorder = Recorder(api)
        self._metrics = metrics
        self._rollouts = Rollouts(api, image, namespaces)
        self._home = home
        self._territory = territory
        self._uids: dict[Key, str] = {}
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
            self._forget(key)
            return None
        if self._uids.setdefault(key, hanas["metadata"]["uid"]) != hanas["metadata"]["uid"]:
            self._forget(key)  # what is known is about a deleted HANas of this name
        # First of all, also if nothing else succeeds: clients depend on the label.
        followed = await self._followers.attend(key)
        if not self._leads():
            return UNSETTLED_SECONDS if followed.refusals else RESYNC_SECONDS
        if self._territory is not None and (other := await self._territory.other(key[0])):
            await self._recorder.tell(hanas, refusal(key[0], other, self._territory.identity))
            return UNSETTLED_SECONDS
        before = statuses.read(hanas.get("status"))
        now = datetime.now(UTC)
        try:
            spec = specs.read(hanas.get("spec") or {})
        except msgspec.ValidationError as error:
            invalid = conditions.invalid(str(error), hanas["metadata"]["generation"], now, before.conditions)
            await self._write(hanas, before, msgspec.structs.replace(before, conditions=invalid), None)
            return RESYNC_SECONDS
        return await self._valid(hanas, spec, before, now, followed)

    def _forget(self, key: Key) -> None:
        """Forget a deleted cluster."""
        self._uids.pop(key, None)
        self._followers.forget(key)
        self._metrics.forget(key)
        self._recorder.forget(key)
        self._rollouts.end(key)

    async def _valid(
        self, hanas: Resource, spec: HANasSpec, before: HANasStatus, now: datetime, followed: Followed
    ) -> float:
        key = names.metadata(hanas)
        owner = Owner(
            name=key[1],
            namespace=key[0],
            uid=hanas["metadata"]["uid"],
            spec=spec,
            image="",
            operator_namespace=self._home,
            created=hanas["metadata"]["creationTimestamp"],
        )
        existing = await children.read(self._api, owner, followed.pods)
        if existing.has_former:
            self._followers.forget(key)  # their overseers tell of another folder, perhaps
        paused = hanas["metadata"].get("annotations", {}).get(names.PAUSED, "false") != "false"
        choice = await self._rollouts.choose(owner, existing, before, paused=paused)
        view = None if existing.has_former else followed.view
        folder_id = (
            before.folder_id or report.recorded_folder(existing, owner) or ("" if view is None else view.folder_id)
        )
        own_claim = existing.get(kinds.CLAIM, owner.claim)
        owner = msgspec.structs.replace(
            owner, image=choice.image, folder_id=folder_id, claim_size=storage.size(owner, own_claim)
        )
        volume = await claims.look(self._api, owner, existing)
        ready = pods.ready_members(owner.name, existing.pods)
        evaluation = failures.evaluate(spec.link_failures, before.link_failures, owner.members, ready, now)
        if paused:
            evaluation, problems = await self._heal(owner, existing, before, now)
        else:
            blocked = volume.blocks or existing.has_former
            problems = await self._apply(owner, existing, evaluation, blocked=blocked, held=bool(choice.held))
            problems += [FORMER_PODS] if existing.has_former else []
            problems += await lost_nodes.replace(self._api, existing.pods, now)
        open_alerts = alerts.of(view, before, owner.members)
        world = World(
            owner=owner,
            generation=hanas["metadata"]["generation"],
            paused=paused,
            updated=progress.finding(owner, paused, problems, *report.workloads(owner, existing), choice.held),
            storage=storage.of_folder(volume, folder_id, view, open_alerts, pods.troubles(existing.pods)),
            problems=(*followed.refusals, *problems),
            pods=tuple(existing.pods),
            view=view,
            view_trouble=followed.trouble,
            failures=evaluation.statuses,
            alerts=open_alerts,
            now=now,
        )
        if not paused:
            observed = failures.observe(evaluation, spec.link_failures, owner.members, view)
            world = msgspec.structs.replace(world, failures=observed)
        status = report.describe(world, existing, before)
        if not paused:
            wanted = switchover.wanted(hanas["metadata"].get("annotations", {}))
            ask = partial(self._followers.post, key)
            state = await switchover.attend(wanted, owner.members, view, before.switchover, ask)
            status = msgspec.structs.replace(status, switchover=state)
        await self._write(hanas, before, status, view)
        if report.is_settled(status):
            self._rollouts.end(key)
        return report.again(world, evaluation, status)

    async def _heal(
        self, owner: Owner, existing: Children, before: HANasStatus, now: datetime
    ) -> tuple[Evaluation, list[Obstacle]]:
        """End the link failures of a paused HANas whose time is over; nothing else of its objects changes."""
        evaluation = failures.frozen(before.link_failures, owner.members, now)
        if evaluation.statuses == before.link_failures:
            return evaluation, []
        manifests = policies.policies(owner, evaluation.cuts)
        there = [each for each in manifests if existing.get(kinds.POLICY, each["metadata"]["name"]) is not None]
        problems = await existing.apply(there)
        if problems:
            evaluation = Evaluation(before.link_failures, evaluation.cuts, evaluation.next_change)
        return evaluation, problems

    async def _apply(
        self, owner: Owner, existing: Children, evaluation: Evaluation, *, blocked: bool, held: bool
    ) -> list[Obstacle]:
        """Apply all objects. Return the problems of those that could not be applied."""
        problems: list[Obstacle] = []
        for what, step in (
            ("reading the tokens of clients", self._tokens),
            ("the Secret of the components", self._secret),
            ("reading the other HANas resources", lambda owner: claims.rivals(self._api, owner)),
        ):
            try:
                problems += await step(owner)
            except ApiError as error:
                problems.append(obstacles.of(error, what))
        surroundings = cluster.surroundings(owner, evaluation.cuts)
        problems += await existing.apply(surroundings)
        for kind in (kinds.POLICY, kinds.SERVICE):
            problems += await existing.prune(kind, surroundings)
        if not owner.image:
            problems.append(Obstacle(Reason.NO_IMAGE, "name the image: spec.image, or --image of the operator"))
            return problems
        # Without a usable volume no first pods are made; existing ones are kept up to date.
        running = existing.get(kinds.STATEFUL_SET, names.of(owner.name, names.WORKER)) is not None
        taken = {Reason.NAME_TAKEN, Reason.CLAIM_IN_USE}
        if running or not (blocked or any(problem.reason in taken for problem in problems)):
            manifests = (rollout.dressed(owner, existing, each, held=held) for each in workloads.workloads(owner))
            problems += await existing.apply(manifests)
        return problems

    async def _secret(self, owner: Owner) -> list[Obstacle]:
        manifest = secret.components(owner)
        name = manifest["metadata"]["name"]
        actual = await self._api.get(kinds.SECRET, owner.namespace, name)
        if actual is None:
            await self._api.create(kinds.SECRET, manifest)
            return []
        if children.is_own(owner, actual) and (actual.get("data") or {}).get(secret.KEY):
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
