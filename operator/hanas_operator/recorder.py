"""Events: what happened to a cluster, told where ``kubectl describe`` shows it.

Which events are due follows from what was recorded before and what is recorded now. Their names follow from what they
tell, so that telling it twice makes one event.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from hanas_operator import kinds, names
from hanas_operator.api import Api, ApiError, Leaving, Resource
from hanas_operator.crd import API_VERSION, KIND
from hanas_operator.status import Condition, FailureState, HANasStatus
from hanas_operator.view import ClusterView, TakeoverView

MOST_TAKEOVERS = 10
"""How many of the newest takeovers are told at most, if many were missed."""
_LONGEST_NOTE = 1024
_log = logging.getLogger(__name__)
_TAKEOVERS = {
    "first": ("MainElected", "Normal"),
    "hand-over": ("HandedOver", "Normal"),
    "compaction": ("Compacted", "Normal"),
}


class Happening(NamedTuple):
    """One event to be told."""

    reason: str
    kind: str
    """``Normal`` or ``Warning``."""
    action: str
    note: str
    identity: str
    """What makes it this event and no other."""


def due(before: HANasStatus, now: HANasStatus, view: ClusterView | None, told: int) -> list[Happening]:
    """Return what is to be told after ``before``. ``told``: the last epoch whose takeover has been told."""
    return [
        *_takeovers(told, () if view is None else view.takeovers),
        *_failures(before, now),
        *_conditions(before, now),
    ]


def _takeovers(told: int, takeovers: tuple[TakeoverView, ...]) -> Iterator[Happening]:
    # A status without an epoch is that of a new HANas: the history of a volume that was kept is old news.
    most = MOST_TAKEOVERS if told else 1
    for takeover in [takeover for takeover in takeovers if takeover.epoch > told][-most:]:
        reason, kind = _TAKEOVERS.get(takeover.why, ("TakenOver", "Warning"))
        note = f"epoch {takeover.epoch}: {takeover.member} is the main. {takeover.words}"
        yield Happening(reason, kind, "Takeover", note, f"epoch {takeover.epoch}")


def _failures(before: HANasStatus, now: HANasStatus) -> Iterator[Happening]:
    known = {(status.name, status.cut): status for status in before.link_failures}
    present = {(status.name, status.cut): status for status in now.link_failures}
    for key, status in present.items():
        was = known.get(key)
        identity = f"{status.name} {status.cut} {status.started_at}"
        if status.state is not FailureState.PENDING and (was is None or was.state is FailureState.PENDING):
            yield Happening("LinkCut", "Normal", "CutLink", f"{status.name}: {status.cut} is cut", f"cut {identity}")
        if status.state is FailureState.HEALED and was is not None and was.state is FailureState.ACTIVE:
            note = f"{status.name}: {status.cut} is healed; the workers saw {status.observed}"
            yield Happening("LinkHealed", "Normal", "HealLink", note, f"heal {identity}")
    for key, was in known.items():
        if key not in present and was.state is FailureState.ACTIVE:
            note = f"{was.name}: {was.cut} is healed, for it is not wanted any more; the workers saw {was.observed}"
            yield Happening("LinkHealed", "Normal", "HealLink", note, f"heal {was.name} {was.cut} {was.started_at}")


def _conditions(before: HANasStatus, now: HANasStatus) -> Iterator[Happening]:
    known = {condition.type: condition for condition in before.conditions}
    for condition in now.conditions:
        was = known.get(condition.type)
        identity = f"{condition.type} {condition.status} {condition.reason} {condition.last_transition_time}"
        if condition.type == "LinkHealthy":
            if condition.status == "False" and (was is None or was.status != "False"):
                yield Happening("LinkFailed", "Warning", "ObserveLinks", condition.message, identity)
            if condition.status == "True" and was is not None and was.status == "False":
                yield Happening("LinkRestored", "Normal", "ObserveLinks", condition.message, identity)
        elif _is_worse(condition, was):
            yield Happening(condition.reason, "Warning", f"Check{condition.type}", condition.message, identity)


def _is_worse(condition: Condition, was: Condition | None) -> bool:
    if condition.type not in {"StorageReady", "PolicyEnforced"} and condition.reason not in _OF_THE_USER:
        return False
    if condition.type == "Degraded" or condition.status != "False":
        return False
    return was is None or (was.status, was.reason) != (condition.status, condition.reason)


_OF_THE_USER = frozenset({"InvalidSpec", "NameTaken", "NoImage", "Rejected", "TokensMissing"})
"""Reasons of ``Ready`` that people must do something about."""


class Recorder:
    """Posts events."""

    def __init__(self, api: Api) -> None:
        """Post them through ``api``."""
        self._api = api
        self._instance = os.environ.get("POD_NAME") or os.uname().nodename
        # The status may know an epoch before anybody tells its history: while only workers answer, nobody does.
        self._told: dict[tuple[str, str], int] = {}

    async def tell(self, hanas: Resource, before: HANasStatus, now: HANasStatus, view: ClusterView | None) -> None:
        """Post what happened to ``hanas`` since ``before``; an event that cannot be posted is a line in the log."""
        key = names.metadata(hanas)
        told = self._told.setdefault(key, before.epoch)
        happenings = due(before, now, view, told)
        if view is not None:
            self._told[key] = max([told, *(takeover.epoch for takeover in view.takeovers)])
        for happening in happenings:
            _log.info("%s/%s: %s: %s", *names.metadata(hanas), happening.reason, happening.note)
            try:
                await self._api.create(kinds.EVENT, event(hanas, happening, self._instance, datetime.now(UTC)))
            except ApiError as error:
                if error.status != 409 and not isinstance(error, Leaving):
                    _log.warning("the event %s was not posted: %s", happening.reason, error)

    def forget(self, key: tuple[str, str]) -> None:
        """Forget a cluster that is gone."""
        self._told.pop(key, None)


def event(hanas: Resource, happening: Happening, instance: str, now: datetime) -> Resource:
    """Return the Event (events.k8s.io/v1)."""
    meta = hanas["metadata"]
    digest = hashlib.sha256(f"{meta['uid']} {happening.identity}".encode()).hexdigest()[:16]
    note = happening.note
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{digest}", "namespace": meta["namespace"]},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": happening.kind,
        "reason": happening.reason,
        "action": happening.action,
        "note": note
        if len(note.encode()) <= _LONGEST_NOTE
        else note.encode()[: _LONGEST_NOTE - 3].decode(errors="ignore"),
        "reportingController": "hanas.dev/operator",
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }
