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
    components,
    conditions,
    cut_requests,
    failures,
    kinds,
    lost_nodes,
    names,
    obstacles,
    pods,
    progress,
    replacing,
    report,
    rollout,
    storage,
    switchover,
)
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.backups import bootstrap
from hanas_operator.children import Children
from hanas_operator.components import Components
from hanas_operator.conditions import World
from hanas_operator.cut_requests import Teller
from hanas_operator.failures import Evaluation
from hanas_operator.followers import Followed, Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.objects import cluster, policies, workloads
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.report import RESYNC_SECONDS, UNSETTLED_SECONDS
from hanas_operator.rollout import Rollouts
from hanas_operator.spec import HANasSpec, SecretKey
from hanas_operator.status import FailureStatus, HANasStatus, Reason, SecretStatus
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
        self._components = Components(api, self._recorder)
        self._teller = Teller(api, self._recorder)
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
            return await self._without_hanas(key)
        if self._uids.setdefault(key, hanas["metadata"]["uid"]) != hanas["metadata"]["uid"]:
            self._forget(key)  # what is known is about a deleted HANas of this name
        # First of all, also if nothing else succeeds: clients depend on the label.
        followed = await self._followers.attend(key)
        if not self._leads():
            return UNSETTLED_SECONDS if followed.refusals else RESYNC_SECONDS
        if self._territory is not None and (other := await self._territory.other(key[0])):
            await self._recorder.tell(hanas, refusal(key[0], other, self._territory.identity))
            return UNSETTLED_SECONDS
        before = statuses.read(hanas, HANasStatus)
        now = datetime.now(UTC)
        try:
            spec = specs.read(hanas.get("spec") or {})
        except msgspec.ValidationError as error:
            invalid = conditions.invalid(str(error), hanas["metadata"]["generation"], now, before.conditions)
            await self._write(hanas, before, report.refused(before, hanas, invalid), None)
            return RESYNC_SECONDS
        return await self._valid(hanas, spec, before, now, followed)

    async def _without_hanas(self, key: Key) -> float | None:
        """Tell HANasLinkFailure resources that there is no such HANas; without any, nothing needs to be looked at."""
        requests = await cut_requests.read(self._api, key)
        if self._leads():
            await self._teller.without_hanas(requests, datetime.now(UTC))
        return RESYNC_SECONDS if requests.each else None

    def _forget(self, key: Key) -> None:
        """Forget a deleted cluster."""
        self._uids.pop(key, None)
        self._followers.forget(key)
        self._metrics.forget(key)
        self._recorder.forget(key)
        self._components.forget(key)
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
        requests = await cut_requests.read(self._api, key)
        wanted, recorded = (*spec.link_failures, *requests.failures), (*before.link_failures, *requests.records)
        evaluation = failures.evaluate(wanted, recorded, owner.members, ready, now)
        kept = before.secret
        if paused:
            evaluation, problems = await self._heal(owner, existing, recorded, now)
        else:
            blocked = volume.blocks or existing.has_former
            kept, problems = await self._keep_secret(hanas, owner, existing, kept)
            owner = msgspec.structs.replace(owner, rotation=components.mark_of(kept))
            problems += await self._apply(
                owner, existing, evaluation, problems, blocked=blocked, held=bool(choice.held)
            )
            problems += [FORMER_PODS] if existing.has_former else []
            problems += await lost_nodes.replace(self._api, existing.pods, now)
            workers, _ = report.workloads(owner, existing)
            problems += await replacing.replace(self._api, owner, workers, existing.pods, view)
        open_alerts = alerts.of(view, before, owner.members)
        world = World(
            owner=owner,
            generation=hanas["metadata"]["generation"],
            paused=paused,
            updated=progress.finding(
                owner,
                paused,
                problems,
                *report.workloads(owner, existing),
                choice.held,
                made=progress.was_made(before, hanas["metadata"]["generation"]),
            ),
            storage=storage.of_folder(volume, folder_id, view, open_alerts, pods.troubles(existing.pods)),
            problems=(*followed.refusals, *problems, *requests.refusals),
            pods=tuple(existing.pods),
            view=view,
            view_trouble=followed.trouble,
            failures=evaluation.statuses,
            alerts=open_alerts,
            now=now,
            secret=kept,
        )
        if not paused:
            observed = failures.observe(evaluation, wanted, owner.members, view)
            world = msgspec.structs.replace(world, failures=observed)
        status = report.describe(world, existing, before)
        if not paused:
            successor = switchover.wanted(hanas["metadata"].get("annotations", {}))
            ask = partial(self._followers.post, key)
            state = await switchover.attend(successor, owner.members, view, before.switchover, ask)
            status = msgspec.structs.replace(status, switchover=state)
        await self._write(hanas, before, status, view)
        await self._teller.tell(requests, world.failures, owner.members, view, now)
        if report.is_settled(status):
            self._rollouts.end(key)
        return report.again(world, evaluation, status)

    async def _heal(
        self, owner: Owner, existing: Children, recorded: tuple[FailureStatus, ...], now: datetime
    ) -> tuple[Evaluation, list[Obstacle]]:
        """End the link failures of a paused HANas whose time is over; nothing else of its objects changes."""
        evaluation = failures.frozen(recorded, owner.members, now)
        if evaluation.statuses == recorded:
            return evaluation, []
        manifests = policies.policies(owner, evaluation.cuts)
        there = [each for each in manifests if existing.get(kinds.POLICY, each["metadata"]["name"]) is not None]
        problems = await existing.apply(there)
        if problems:
            evaluation = Evaluation(recorded, evaluation.cuts, evaluation.next_change)
        return evaluation, problems

    async def _apply(
        self,
        owner: Owner,
        existing: Children,
        evaluation: Evaluation,
        before: list[Obstacle],
        *,
        blocked: bool,
        held: bool,
    ) -> list[Obstacle]:
        """Apply all objects. Return the problems of those that could not be applied. ``before``: those so far."""
        problems: list[Obstacle] = []
        for what, step in (
            ("reading the tokens of clients", self._tokens),
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
        if running or not (blocked or any(problem.reason in taken for problem in [*before, *problems])):
            waits = [] if running else await bootstrap.restore(self._api, owner)
            if waits:
                return [*problems, *waits]
            manifests = (rollout.dressed(owner, existing, each, held=held) for each in workloads.workloads(owner))
            problems += await existing.apply(manifests)
        return problems

    async def _keep_secret(
        self, hanas: Resource, owner: Owner, existing: Children, before: SecretStatus
    ) -> tuple[SecretStatus, list[Obstacle]]:
        try:
            return await self._components.keep(hanas, owner, existing, before)
        except ApiError as error:
            return before, [obstacles.of(error, "the Secret of the components")]

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
        await self._api.apply_status(kinds.HANAS, hanas, content)
