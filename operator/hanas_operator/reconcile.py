"""One idempotent reconcile: read what is wanted and what there is, make the difference go away, write down the rest.

It is asked for by every change of a HANas or of one of its objects, by every news of the overseer, and by the clock; it
never depends on which of them it was.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from hanas_operator import children, conditions, failures, kinds, names, pods, storage
from hanas_operator import spec as specs
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.children import Children
from hanas_operator.conditions import Problem, World
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.failures import Outcome
from hanas_operator.followers import Followers, keep_roles
from hanas_operator.metrics import Metrics
from hanas_operator.objects import cluster, secret
from hanas_operator.objects.owner import Owner
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.spec import HANasSpec, SecretKey
from hanas_operator.status import AlertStatus, HANasStatus
from hanas_operator.storage import Finding
from hanas_operator.view import ClusterView

RESYNC_SECONDS, UNSETTLED_SECONDS = 60.0, 5.0
"""A cluster is looked at this often in any case; more often while it is not as it should be."""


class Reconciler:
    """Reconciles one cluster at a time."""

    def __init__(self, api: Api, followers: Followers, metrics: Metrics, image: str) -> None:
        """``image``: what pods run if the spec does not say; empty: the spec must."""
        self._api = api
        self._followers = followers
        self._recorder = Recorder(api)
        self._metrics = metrics
        self._image = image

    async def __call__(self, key: Key) -> float | None:
        """Reconcile a cluster. Returns after how many seconds to do so again; None: it is gone. Raises ApiError."""
        try:
            with self._metrics.reconciling():
                again = await self._reconcile(key)
        except Leaving:
            # Its own deletion is news, and comes in a moment.
            return RESYNC_SECONDS
        except Exception:
            self._metrics.count("failed")
            raise
        self._metrics.count("done")
        return again

    async def _reconcile(self, key: Key) -> float | None:
        hanas = await self._api.get(kinds.HANAS, *key)
        if hanas is None or "deletionTimestamp" in hanas["metadata"]:
            # What was made goes by its owner references; the claim stays, unless it has one too.
            self._followers.forget(key)
            self._metrics.forget(key)
            self._recorder.forget(key)
            return None
        before = statuses.read(hanas.get("status"))
        now = datetime.now(UTC)
        try:
            spec = specs.read(hanas.get("spec") or {})
        except msgspec.ValidationError as error:
            found = conditions.invalid(str(error), hanas["metadata"]["generation"], now, before.conditions)
            await self._write(hanas, before, msgspec.structs.replace(before, conditions=found), None)
            return RESYNC_SECONDS
        return await self._valid(hanas, spec, before, now)

    async def _valid(self, hanas: Resource, spec: HANasSpec, before: HANasStatus, now: datetime) -> float:
        key = names.metadata(hanas)
        owner = Owner(
            name=key[1],
            namespace=key[0],
            uid=hanas["metadata"]["uid"],
            spec=spec,
            image=spec.image if isinstance(spec.image, str) else self._image,
        )
        seen = await children.see(self._api, owner)
        view, view_trouble = self._followers.seen(key)
        await keep_roles(self._api, key, seen.pods, view)
        folder_id = before.folder_id or _recorded_folder(seen, owner) or ("" if view is None else view.folder_id)
        owner = msgspec.structs.replace(owner, folder_id=folder_id)
        volume = await self._volume(owner, seen)
        ready = pods.ready_members(owner.name, seen.pods)
        outcome = failures.evaluate(spec.link_failures, before.link_failures, owner.members, ready, now)
        paused = hanas["metadata"].get("annotations", {}).get(names.PAUSED, "false") != "false"
        problems = [] if paused else await self._make(owner, seen, outcome, blocked=volume.blocks)
        self._followers.follow(key, spec.workers)
        if paused:
            outcome = Outcome(before.link_failures, frozenset(), None)
        alerts = _alerts(view, before)
        found = World(
            owner=owner,
            generation=hanas["metadata"]["generation"],
            paused=paused,
            storage=storage.of_folder(volume, folder_id, view, alerts, pods.troubles(seen.pods)),
            problems=tuple(problems),
            pods=tuple(seen.pods),
            view=view,
            view_trouble=view_trouble,
            failures=outcome.statuses,
            alerts=alerts,
            now=now,
        )
        if not paused:
            observed = failures.observe(outcome, spec.link_failures, owner.members, view)
            found = msgspec.structs.replace(found, failures=observed)
        status = describe(found, seen, before)
        await self._write(hanas, before, status, view)
        return _again(found, outcome, status)

    async def _volume(self, owner: Owner, seen: Children) -> Finding:
        claim = seen.get(kinds.CLAIM, owner.claim)
        if isinstance(owner.spec.storage.existing_claim, str):
            claim = await self._api.get(kinds.CLAIM, owner.namespace, owner.claim)
        pending = claim is not None and claim.get("status", {}).get("phase", "Pending") == "Pending"
        unknown, told = None, ""
        if claim is not None and pending:
            unknown = await self._unknown_class(claim.get("spec", {}).get("storageClassName"))
            told = await self._told(claim)
        return storage.of_claim(owner, claim, unknown_class=unknown, told=told)

    async def _unknown_class(self, name: str | None) -> str | None:
        """Return ``name`` if there is no such class; None also if that cannot be found out."""
        if not name:
            return None
        try:
            return name if await self._api.get(kinds.STORAGE_CLASS, None, name) is None else None
        except ApiError as error:
            if error.status == 403:
                return None
            raise

    async def _told(self, claim: Resource) -> str:
        """Return the newest warning about a claim."""
        chosen = f"involvedObject.uid={claim['metadata']['uid']},type=Warning"
        found = await self._api.list(kinds.CORE_EVENT, claim["metadata"]["namespace"], fields=chosen)
        newest = max(found, key=_event_time, default={})
        return str(newest.get("message", "")).strip()

    async def _make(self, owner: Owner, seen: Children, outcome: Outcome, *, blocked: bool) -> list[Problem]:
        """Make all objects; returns what kept some of them from being made."""
        problems = await self._tokens(owner)
        surroundings = cluster.surroundings(owner, outcome.cuts)
        problems += await self._secret(owner)
        problems += await seen.apply(surroundings)
        await seen.prune(kinds.POLICY, surroundings)
        workloads = cluster.workloads(owner)
        if not owner.image:
            problems.append(Problem("NoImage", "name the image: spec.image, or --image of the operator"))
            return problems
        # Without a usable volume no pods are begun; those that there are already are kept as wanted.
        running = seen.get(kinds.STATEFUL_SET, names.worker(owner.name)) is not None
        if running or not (blocked or any(problem.reason == "NameTaken" for problem in problems)):
            problems += await seen.apply(workloads)
        return problems

    async def _secret(self, owner: Owner) -> list[Problem]:
        made = secret.components(owner)
        name = made["metadata"]["name"]
        there = await self._api.get(kinds.SECRET, owner.namespace, name)
        if there is None:
            try:
                await self._api.create(kinds.SECRET, made)
            except ApiError as error:
                if not error.lasting:
                    raise
                return [Problem("Rejected", f"the Secret {name} was refused: {error}")]
            return []
        owners = [reference["uid"] for reference in there["metadata"].get("ownerReferences", [])]
        if owner.uid in owners and (there.get("data") or {}).get(secret.KEY):
            return []
        return [
            Problem(
                "NameTaken",
                f"the Secret {name} is there already and was not made for this HANas, or is empty: it is left alone; "
                "delete it and another one is made",
            )
        ]

    async def _tokens(self, owner: Owner) -> list[Problem]:
        wanted = owner.spec.client_token_secret
        if not isinstance(wanted, SecretKey):
            return []
        there = await self._api.get(kinds.SECRET, owner.namespace, wanted.name)
        if there is not None and wanted.key in (there.get("data") or {}):
            return []
        what = (
            f"there is no Secret {wanted.name}"
            if there is None
            else f"the Secret {wanted.name} has no key {wanted.key}"
        )
        return [Problem("TokensMissing", f"{what}: clientTokenSecret names it; make it, with one token a line")]

    async def _write(self, hanas: Resource, before: HANasStatus, status: HANasStatus, view: ClusterView | None) -> None:
        """Tell what happened and write the status, if it is another one."""
        self._metrics.show(names.metadata(hanas), status)
        await self._recorder.tell(hanas, before, status, view)
        content = plain(status)
        if content == hanas.get("status"):
            return
        meta = {field: hanas["metadata"][field] for field in ("name", "namespace", "uid")}
        made = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "status": content}
        await self._api.apply(kinds.HANAS, made, "status")


def describe(world: World, seen: Children, before: HANasStatus) -> HANasStatus:
    """Return the status."""
    owner, view = world.owner, world.view
    workers = seen.get(kinds.STATEFUL_SET, names.worker(owner.name)) or {}
    overseers = seen.get(kinds.DEPLOYMENT, names.overseer(owner.name)) or {}
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
    """Return the open alerts. One that was told before keeps its words, which may count the seconds."""
    known = {(alert.kind, alert.member, alert.about, alert.since): alert for alert in before.alerts}
    found = []
    for alert in () if view is None else view.alerts:
        told = AlertStatus(
            severity=alert.severity.value,
            kind=alert.kind.value,
            member=alert.member,
            about=alert.about,
            message=alert.message,
            advice=alert.advice,
            since=alert.since,
        )
        known_as = known.get((told.kind, told.member, told.about, told.since))
        same = known_as is not None and known_as.severity == told.severity
        found.append(known_as if same and known_as is not None else told)
    return tuple(found)


def _recorded_folder(seen: Children, owner: Owner) -> str:
    recorded = seen.get(kinds.CONFIG_MAP, names.folder(owner.name)) or {}
    return str(recorded.get("data", {}).get("folderId", ""))


def _event_time(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", ""))


def _again(world: World, outcome: Outcome, status: HANasStatus) -> float:
    """Return when to look again."""
    settled = (
        all(
            condition.status == ("False" if condition.type == "Degraded" else "True")
            for condition in status.conditions
            if condition.type in {"Ready", "Degraded", "StorageReady"}
        )
        and not outcome.cuts
    )
    wait = RESYNC_SECONDS if settled else UNSETTLED_SECONDS
    if outcome.next_change is not None:
        wait = min(wait, max(0.0, (outcome.next_change - world.now).total_seconds()))
    return wait
