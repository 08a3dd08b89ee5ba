"""The HANasLinkFailure resources about one HANas: read as link failures beside those of its spec, and told the outcome.

The record of each one is its own status, so another one of the same name is a new failure.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, Struct, structs

from hanas_core.members.verdicts import Verdict
from hanas_operator import conditions, cuts, failures, kinds, link_failure, names, recorder
from hanas_operator import status as statuses
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.crd import LINK_FAILURE
from hanas_operator.link_failure import FailureCondition, LinkFailureStatus
from hanas_operator.obstacles import Obstacle
from hanas_operator.plain import plain
from hanas_operator.queue import Key
from hanas_operator.recorder import Recorder
from hanas_operator.spec import LinkFailure
from hanas_operator.status import FailureState, FailureStatus, Finding
from hanas_operator.view import ClusterView

PREFIX = f"{LINK_FAILURE}/"
"""Before the name of a failure that is a resource; no entry of a spec is called so."""
_PAUSED = "waits: the HANas is paused"
_log = logging.getLogger(__name__)


class CutRequest(Struct, frozen=True):
    """One resource."""

    resource: Resource
    before: LinkFailureStatus
    failure: LinkFailure | None
    """None: the spec cannot be read."""
    trouble: str = ""
    """Why it cannot be read."""

    @property
    def name(self) -> str:
        """The name of the failure."""
        return PREFIX + str(self.resource["metadata"]["name"])

    @property
    def record(self) -> FailureStatus | None:
        """What an earlier reconcile wrote, None if nothing yet."""
        if not self.before.cut:
            return None
        return FailureStatus(
            name=self.name,
            state=self.before.state,
            cut=self.before.cut,
            observed=self.before.observed,
            started_at=self.before.started_at,
            heals_at=self.before.heals_at,
            message=self.before.message or UNSET,
        )


class CutRequests(Struct, frozen=True):
    """All resources about one HANas."""

    each: tuple[CutRequest, ...] = ()
    refusals: tuple[Obstacle, ...] = ()

    @property
    def failures(self) -> tuple[LinkFailure, ...]:
        """The failures that they ask for."""
        return tuple(one.failure for one in self.each if one.failure is not None)

    @property
    def records(self) -> tuple[FailureStatus, ...]:
        """What an earlier reconcile wrote about them."""
        return tuple(record for one in self.each if (record := one.record) is not None)


async def read(api: Api, key: Key) -> CutRequests:
    """Return the resources about the HANas ``key``. Raises ApiError if that may succeed later."""
    try:
        resources = await api.list(kinds.LINK_FAILURE, key[0], cached=True)
    except ApiError as error:
        if error.status not in {403, 404}:
            raise
        words = f"{LINK_FAILURE} resources cannot be read: bring the operator's definitions and rights up to date"
        return CutRequests(refusals=(Obstacle("LinkFailuresUnread", f"{words} ({error})"),))
    whole = ({**each, "apiVersion": kinds.LINK_FAILURE.api_version, "kind": LINK_FAILURE} for each in resources)
    return CutRequests(tuple(_read(each) for each in whole if each.get("spec", {}).get("hanas") == key[1]))


def _read(resource: Resource) -> CutRequest:
    before = statuses.read(resource, LinkFailureStatus)
    try:
        spec = link_failure.read_spec(resource["spec"])
    except msgspec.ValidationError as error:
        return CutRequest(resource, before, None, f"the spec cannot be used: {error}")
    failure = LinkFailure(
        name=PREFIX + str(resource["metadata"]["name"]),
        source=spec.source,
        target=spec.target,
        direction=spec.direction,
        planes=spec.planes,
        duration=spec.duration,
    )
    return CutRequest(resource, before, failure)


def without(statuses: Iterable[FailureStatus]) -> tuple[FailureStatus, ...]:
    """Return the statuses of the failures that are entries of the spec."""
    return tuple(status for status in statuses if not status.name.startswith(PREFIX))


class Teller:
    """Writes the outcome into the resources."""

    def __init__(self, api: Api, events: Recorder) -> None:
        """Write through ``api``, and post events by ``events``."""
        self._api = api
        self._recorder = events

    async def tell(
        self,
        requests: CutRequests,
        outcome: Sequence[FailureStatus],
        members: Sequence[str],
        view: ClusterView | None,
        now: datetime,
    ) -> None:
        """Write what became of each one. ``outcome``: of all failures of the HANas, also those of its spec."""
        statuses = {status.name: status for status in outcome}
        for one in requests.each:
            judged = statuses.get(one.name, _waiting(one, one.trouble or _PAUSED))
            seen = failures.seen(_cut(judged, members), view)
            await self._write(one, judged, seen, now)

    async def without_hanas(self, requests: CutRequests, now: datetime) -> None:
        """Write that there is no such HANas: what was cut is cut no more."""
        for one in requests.each:
            name = one.resource["spec"]["hanas"]
            judged = _waiting(one, f"there is no HANas {name} in this namespace")
            await self._write(one, judged, Verdict.UNKNOWN, now)

    async def _write(self, one: CutRequest, judged: FailureStatus, seen: str, now: datetime) -> None:
        """Write a status if it changed. What is refused becomes a line in the log, and is tried again."""
        meta = one.resource["metadata"]
        before = {condition.type: condition for condition in one.before.conditions}
        last = before.get(FailureCondition.LINK_LOST)
        finding = _lost(judged, seen, None if last is None else (last.status, last.reason, last.message))
        status = LinkFailureStatus(
            observed_generation=meta["generation"],
            state=judged.state,
            cut=judged.cut,
            observed=judged.observed,
            started_at=judged.started_at,
            heals_at=judged.heals_at,
            message=judged.message or "",
            conditions=conditions.stamped({FailureCondition.LINK_LOST: finding}, before, meta["generation"], now),
        )
        content = plain(status)
        if content == one.resource.get("status"):
            return
        for happening in recorder.cuts([record] if (record := one.record) else [], [judged]):
            await self._recorder.tell(one.resource, happening)
        try:
            await self._api.apply_status(kinds.LINK_FAILURE, one.resource, content)
        except Leaving:
            return  # it was deleted just now
        except ApiError as error:
            key = names.metadata(one.resource)
            _log.warning("%s/%s: the status of the %s was not written: %s", *key, LINK_FAILURE, error)


def _waiting(one: CutRequest, message: str) -> FailureStatus:
    """Return the status of a failure that is not cut: it waits, or it began once and is over."""
    words = "" if one.failure is None else cuts.words(one.failure)
    record = one.record or FailureStatus(
        name=one.name, state=FailureState.PENDING, cut=words, observed=Verdict.UNKNOWN.value
    )
    state = FailureState.PENDING if record.state is FailureState.PENDING else FailureState.HEALED
    return structs.replace(record, state=state, message=message)


def _cut(status: FailureStatus, members: Sequence[str]) -> frozenset[cuts.LinkCut]:
    return cuts.of(cuts.read(status.name, status.cut), members) if status.cut else frozenset()


def _lost(status: FailureStatus, seen: str, last: Finding | None) -> Finding:
    """Return whether the workers see the link as failed."""
    if status.state is FailureState.PENDING:
        return "Unknown", "NotCut", "the link is not cut yet"
    healed = status.state is FailureState.HEALED
    if healed and (last is None or last[0] != "True"):
        return last or ("Unknown", "NotObserved", "the operator did not see what the workers observed")
    if seen == Verdict.HEALTHY:
        if healed:
            return "False", "Restored", "keep-alives come through again"
        return "False", "Healthy", "keep-alives come through, or are not missed yet"
    if seen == failures.NOT_WATCHED:
        return "Unknown", seen, "only the main sends keep-alives: nobody watches this link"
    if seen == Verdict.UNKNOWN:
        return "Unknown", "NotObserved", "no overseer tells what the workers observe"
    words = "the link is healed, and no keep-alives come through yet" if healed else "no keep-alives come through"
    return "True", seen, f"{words}: the workers' verdict is {seen}"
