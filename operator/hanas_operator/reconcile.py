"""One idempotent reconcile: read the desired and the actual state, remove the difference, report what remains.

Changes of a HANas or of its objects, new views from the overseer, and the clock request it; it never depends on which
of them did.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import msgspec
from msgspec import structs

from hanas_operator import (
    conditions,
    cut_requests,
    failures,
    kinds,
    names,
    pods,
    progress,
    report,
    storage,
    switchover,
)
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, Leaving, Resource
from hanas_operator.applying import Applied, Applier
from hanas_operator.conditions import World
from hanas_operator.cut_requests import Teller
from hanas_operator.followers import Followed, Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.observation import Observation, observe
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.report import RESYNC_SECONDS, UNSETTLED_SECONDS
from hanas_operator.rollout import Rollouts
from hanas_operator.spec import HANasSpec
from hanas_operator.status import HANasStatus
from hanas_operator.territory import Territory, refusal
from hanas_operator.view import ClusterView


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
        self._applier = Applier(api, self._recorder)
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
        self._applier.components.forget(key)
        self._rollouts.end(key)

    async def _valid(
        self, hanas: Resource, spec: HANasSpec, before: HANasStatus, now: datetime, followed: Followed
    ) -> float:
        seen = await observe(self._api, self._rollouts, hanas, spec, before, now, followed, self._home)
        if seen.existing.has_former:
            self._followers.forget(seen.key)  # their overseers tell of another folder, perhaps
        applied = await (self._applier.heal(seen) if seen.paused else self._applier.apply(seen))
        return await self._tell(seen, applied)

    async def _tell(self, seen: Observation, applied: Applied) -> float:
        """Write what was found and done into the statuses. Return the seconds until the next reconcile."""
        owner, existing, before, view = seen.owner, seen.existing, seen.before, seen.view
        evaluation = applied.evaluation
        observed = evaluation.statuses
        if not seen.paused:
            observed = failures.observe(evaluation, seen.failures, owner.members, view)
        world = World(
            owner=owner,
            generation=seen.generation,
            paused=seen.paused,
            updated=progress.finding(
                owner,
                seen.paused,
                applied.problems,
                *seen.workloads,
                seen.choice.held,
                made=progress.was_made(before, seen.generation),
            ),
            storage=storage.of_folder(seen.volume, owner.folder_id, view, seen.alerts, pods.troubles(existing.pods)),
            problems=(*seen.followed.refusals, *applied.problems, *seen.requests.refusals),
            pods=tuple(existing.pods),
            view=view,
            view_trouble=seen.followed.trouble,
            failures=observed,
            alerts=seen.alerts,
            now=seen.now,
            secret=applied.secret,
            tls=applied.tls,
        )
        status = report.describe(world, existing, before)
        if not seen.paused:
            successor = switchover.wanted(seen.hanas["metadata"].get("annotations", {}))
            ask = partial(self._followers.post, seen.key)
            state = await switchover.attend(successor, owner.members, view, before.switchover, ask)
            status = structs.replace(status, switchover=state)
        await self._write(seen.hanas, before, status, view)
        await self._teller.tell(seen.requests, observed, owner.members, view, seen.now)
        if report.is_settled(status):
            self._rollouts.end(seen.key)
        return report.again(world, evaluation, status)

    async def _write(self, hanas: Resource, before: HANasStatus, status: HANasStatus, view: ClusterView | None) -> None:
        """Post events, and write the status if it changed."""
        self._metrics.show(names.metadata(hanas), status)
        await self._recorder.post(hanas, before, status, view)
        content = plain(status)
        if content == hanas.get("status"):
            return
        await self._api.apply_status(kinds.HANAS, hanas, content)
