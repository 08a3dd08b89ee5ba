"""What one reconcile changes: the objects of a HANas, as its spec demands; of a paused one, cuts whose time is over."""

from msgspec import UNSET, Struct, UnsetType, structs

from hanas_operator import (
    claims,
    components,
    failures,
    kinds,
    lost_nodes,
    names,
    obstacles,
    referenced,
    replacing,
    rollout,
)
from hanas_operator.api import Api, ApiError
from hanas_operator.backups import bootstrap
from hanas_operator.components import Components
from hanas_operator.failures import Evaluation
from hanas_operator.objects import cluster, policies, workloads
from hanas_operator.objects.owner import Owner
from hanas_operator.observation import Observation
from hanas_operator.obstacles import Obstacle
from hanas_operator.recorder import Recorder
from hanas_operator.status import Reason, SecretStatus, TlsStatus
from hanas_operator.tls.keeping import Certificates

FORMER_PODS = Obstacle("FormerPods", "pods of a deleted HANas of this name are still there; those of this one wait")
_NO_IMAGE = Obstacle(Reason.NO_IMAGE, "name the image: spec.image, or --image of the operator")
_BARS = frozenset({Reason.NAME_TAKEN, Reason.CLAIM_IN_USE, Reason.CERTIFICATES_MISSING, Reason.CERTIFICATES_UNUSABLE})
"""The reasons why no first pods are made, and none after a hibernation."""


class Applied(Struct, frozen=True):
    """What was done. ``problems``: what keeps objects from being as they should."""

    evaluation: Evaluation
    secret: SecretStatus
    tls: TlsStatus | UnsetType
    problems: list[Obstacle]


class Applier:
    """Applies the objects of one HANas at a time."""

    def __init__(self, api: Api, recorder: Recorder) -> None:
        """``recorder``: posts Events about the components' Secret."""
        self._api = api
        self.components = Components(api, recorder)
        self._certificates = Certificates(api)

    async def apply(self, seen: Observation) -> Applied:
        """Make the objects as they should be. Raises ApiError."""
        secret, problems = await self._keep_secret(seen)
        owner = structs.replace(seen.owner, rotation=components.mark_of(secret))
        requested = seen.hanas["metadata"].get("annotations", {}).get(names.RENEW, "")
        kept = await self._certificates.keep(owner, requested, seen.now)
        problems += kept.problems
        problems += await self._objects(owner, seen, problems)
        problems += [FORMER_PODS] if seen.existing.has_former else []
        problems += await lost_nodes.replace(self._api, seen.existing.pods, seen.now)
        workers, _ = seen.workloads
        problems += await replacing.replace(self._api, owner, workers, seen.existing.pods, seen.view)
        tls = seen.before.tls if owner.tls_secret and kept.status is UNSET else kept.status
        return Applied(seen.evaluation, secret, tls, problems)

    async def heal(self, seen: Observation) -> Applied:
        """End the link failures of a paused HANas whose time is over; nothing else of its objects changes."""
        evaluation = failures.frozen(seen.recorded, seen.owner.members, seen.now)
        problems: list[Obstacle] = []
        if evaluation.statuses != seen.recorded:
            manifests = policies.policies(seen.owner, evaluation.cuts)
            present = [one for one in manifests if seen.existing.get(kinds.POLICY, one["metadata"]["name"]) is not None]
            problems = await seen.existing.apply(present)
            if problems:
                evaluation = Evaluation(seen.recorded, evaluation.cuts, evaluation.next_change)
        return Applied(evaluation, seen.before.secret, seen.before.tls, problems)

    async def _objects(self, owner: Owner, seen: Observation, before: list[Obstacle]) -> list[Obstacle]:
        """Apply all objects. Return the problems of those that could not be applied. ``before``: those so far."""
        existing = seen.existing
        problems = [*await referenced.missing(self._api, owner), *await self._rivals(owner)]
        surroundings = cluster.surroundings(owner, seen.evaluation.cuts)
        if isinstance(seen.source, Obstacle):  # the claim may have to be made from it
            surroundings = [one for one in surroundings if one["kind"] != kinds.CLAIM.kind]
        problems += await existing.apply(surroundings)
        for kind in (kinds.POLICY, kinds.SERVICE):
            problems += await existing.prune(kind, surroundings)
        if not owner.image:
            return [*problems, _NO_IMAGE]
        # Without a usable volume no first pods are made; existing ones are kept up to date.
        workers = existing.get(kinds.STATEFUL_SET, names.of(owner.name, names.WORKER))
        barred = any(problem.reason in _BARS for problem in [*before, *problems])
        if barred and (workers is None or not workers["spec"]["replicas"]):
            return problems
        if workers is None:
            if seen.volume.blocks or existing.has_former:
                return problems
            if waits := await bootstrap.restore(self._api, owner, seen.source):
                return [*problems, *waits]
        held = bool(seen.choice.held)
        manifests = (rollout.dressed(owner, existing, each, held=held) for each in workloads.workloads(owner))
        return [*problems, *await existing.apply(manifests)]

    async def _keep_secret(self, seen: Observation) -> tuple[SecretStatus, list[Obstacle]]:
        before = seen.before.secret
        try:
            return await self.components.keep(seen.hanas, seen.owner, seen.existing, before)
        except ApiError as error:
            return before, [obstacles.of(error, "the Secret of the components")]

    async def _rivals(self, owner: Owner) -> list[Obstacle]:
        try:
            return await claims.rivals(self._api, owner)
        except ApiError as error:
            return [obstacles.of(error, "reading the other HANas resources")]
