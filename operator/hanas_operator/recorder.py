"""Kubernetes events about a cluster, which ``kubectl describe`` shows.

The previous and the present status determine the due events. The name of an event is a hash of its identity, so posting
it twice makes one event.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from hanas_core.log.claimfile import Why
from hanas_operator import durations, kinds, names
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.crd import API_VERSION
from hanas_operator.status import (
    ConditionType,
    FailureState,
    FailureStatus,
    HANasStatus,
    Reason,
    StatusCondition,
    SwitchoverState,
    SwitchoverStatus,
)
from hanas_operator.view import ClusterView, TakeoverView

MOST_TAKEOVERS = 10
"""The most takeovers that are posted at once, the newest ones."""
_LONGEST_NOTE = 1024  # bytes, the limit of the API
_log = logging.getLogger(__name__)
_TAKEOVERS: dict[str, tuple[str, str]] = {
    Why.FIRST: ("MainElected", "Normal"),
    Why.HAND_OVER: ("HandedOver", "Normal"),
    Why.COMPACTION: ("Compacted", "Normal"),
}


class Happening(NamedTuple):
    """One event to post."""

    reason: str
    kind: str
    """``Normal`` or ``Warning``."""
    action: str
    note: str
    identity: str
    """A text that distinguishes it from all other events of the HANas."""


def due(before: HANasStatus, now: HANasStatus, view: ClusterView | None, posted: int) -> list[Happening]:
    """Return the events due after ``before``. ``posted``: the last epoch whose takeover was posted."""
    return [
        *_takeovers(posted, () if view is None else view.takeovers),
        *_secrets(before, now),
        *cuts(before.link_failures, now.link_failures),
        *_switchovers(before, now),
        *_conditions(before, now),
    ]


def _takeovers(posted: int, takeovers: tuple[TakeoverView, ...]) -> Iterator[Happening]:
    # A status without an epoch belongs to a new HANas: the history of a retained volume is not posted.
    most = MOST_TAKEOVERS if posted else 1
    for takeover in [takeover for takeover in takeovers if takeover.epoch > posted][-most:]:
        reason, kind = _TAKEOVERS.get(takeover.why, ("TakenOver", "Warning"))
        note = f"epoch {takeover.epoch}: {takeover.member} is the main. {takeover.words}"
        yield Happening(reason, kind, "Takeover", note, f"epoch {takeover.epoch}")


def cuts(before: Iterable[FailureStatus], now: Iterable[FailureStatus]) -> Iterator[Happening]:
    """Return the events about link failures."""
    previous = {(status.name, status.cut): status for status in before}
    present = {(status.name, status.cut): status for status in now}
    for key, status in present.items():
        last = previous.get(key)
        identity = f"{status.name} {status.cut} {status.started_at}"
        if status.state is not FailureState.PENDING and (last is None or last.state is FailureState.PENDING):
            yield Happening("LinkCut", "Normal", "CutLink", f"{status.name}: {status.cut} is cut", f"cut {identity}")
        if status.state is FailureState.HEALED and last is not None and last.state is FailureState.ACTIVE:
            note = f"{status.name}: {status.cut} is healed; the workers saw {status.observed}"
            yield Happening("LinkHealed", "Normal", "HealLink", note, f"heal {identity}")
    for key, last in previous.items():
        if key not in present and last.state is FailureState.ACTIVE:
            note = f"{last.name}: {last.cut} is healed: the spec names it no more; the workers saw {last.observed}"
            yield Happening("LinkHealed", "Normal", "HealLink", note, f"heal {last.name} {last.cut} {last.started_at}")


def _secrets(before: HANasStatus, now: HANasStatus) -> Iterator[Happening]:
    last, present = before.secret, now.secret
    if last.hash in {"", present.hash} or (last.rotation, last.stage) != (present.rotation, present.stage):
        return
    note = (
        "the Secret of the components was changed by hand: pods read it within some two minutes, and refuse each other "
        f"until all have; the annotation {names.ROTATE} changes it without that"
    )
    yield Happening("SecretChanged", "Warning", "CheckSecret", note, f"secret {last.hash} {present.hash}")


def _switchovers(before: HANasStatus, now: HANasStatus) -> Iterator[Happening]:
    status = now.switchover
    if not isinstance(status, SwitchoverStatus) or status == before.switchover:
        return
    if status.state is SwitchoverState.REFUSED:
        identity = f"switchover {status.to} {status.message}"
        yield Happening("SwitchoverRefused", "Warning", "SwitchOver", f"{status.to}: {status.message}", identity)


def _conditions(before: HANasStatus, now: HANasStatus) -> Iterator[Happening]:
    previous = {condition.type: condition for condition in before.conditions}
    for condition in now.conditions:
        last = previous.get(condition.type)
        identity = f"{condition.type} {condition.status} {condition.reason} {condition.last_transition_time}"
        if condition.type == ConditionType.LINK_HEALTHY:
            if condition.status == "False" and (last is None or last.status != "False"):
                yield Happening("LinkFailed", "Warning", "ObserveLinks", condition.message, identity)
            if condition.status == "True" and last is not None and last.status == "False":
                yield Happening("LinkRestored", "Normal", "ObserveLinks", condition.message, identity)
        elif _is_worse(condition, last):
            yield Happening(condition.reason, "Warning", f"Check{condition.type}", condition.message, identity)


_TYPES = frozenset({ConditionType.STORAGE_READY, ConditionType.POLICY_ENFORCED})
_REASONS = frozenset[str](Reason)
"""The types and the reasons of the conditions that become events."""


def _is_worse(condition: StatusCondition, last: StatusCondition | None) -> bool:
    if condition.type not in _TYPES and condition.reason not in _REASONS:
        return False
    if condition.type in {ConditionType.DEGRADED, ConditionType.UPDATED} or condition.status != "False":
        return False
    return last is None or (last.status, last.reason) != (condition.status, condition.reason)


class Recorder:
    """Posts events."""

    def __init__(self, api: Api) -> None:
        """Post them through ``api``."""
        self._api = api
        self._instance = os.environ.get("POD_NAME") or os.uname().nodename
        # The status may hold an epoch before its history is available: only overseers report the history.
        self._posted: dict[tuple[str, str], int] = {}

    async def post(self, hanas: Resource, before: HANasStatus, now: HANasStatus, view: ClusterView | None) -> None:
        """Post the events of ``hanas`` since ``before``. An event that is refused becomes a line in the log."""
        key = names.metadata(hanas)
        posted = self._posted.setdefault(key, before.epoch)
        happenings = due(before, now, view, posted)
        if view is not None:
            self._posted[key] = max([posted, *(takeover.epoch for takeover in view.takeovers)])
        for happening in happenings:
            _log.info("%s/%s: %s: %s", *names.metadata(hanas), happening.reason, happening.note)
            await self.tell(hanas, happening)

    async def tell(self, resource: Resource, happening: Happening) -> None:
        """Post one event, if it is not there yet. One that is refused becomes a line in the log."""
        try:
            await self._api.create(kinds.EVENT, event(resource, happening, self._instance, datetime.now(UTC)))
        except ApiError as error:
            if error.status != 409 and not isinstance(error, Leaving):
                _log.warning("the event %s was not posted: %s", happening.reason, error)

    def forget(self, key: tuple[str, str]) -> None:
        """Forget a deleted cluster."""
        self._posted.pop(key, None)


def event(resource: Resource, happening: Happening, instance: str, now: datetime) -> Resource:
    """Return the Event (events.k8s.io/v1) about a resource."""
    meta = resource["metadata"]
    digest = hashlib.sha256(f"{meta['uid']} {happening.identity}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{digest}", "namespace": meta["namespace"]},
        "eventTime": durations.precisely(now),
        "type": happening.kind,
        "reason": happening.reason,
        "action": happening.action,
        "note": happening.note.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
        "reportingController": "hanas.dev/operator",
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": resource["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }
